"""Which frames are meant, without reading one; and reading one, on whatever machine."""

from __future__ import annotations

import glob
import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.calibration.video_frames import VIDEO_SUFFIXES, open_video
from edgedepth.core.errors import CalibrationError, OptionError, PhotoError
from edgedepth.core.optional import require
from edgedepth.photos import PHOTO_SUFFIXES, decode_photo
from edgedepth.video import ForwardVideo

__all__ = ["Frame", "FrameReader", "FrameRef", "list_frames"]

_PARQUET_IMAGE = ("image", "jpg", "png", "bytes")
"""Columns of a parquet shard that pictures are looked for in, in this order."""


@dataclass(frozen=True, slots=True)
class FrameRef:
    """A frame that can be read anywhere where its file can.

    Args:
        path: of the picture, the video or the shard.
        place: in the file: a video frame's or a parquet row's number, the offset of a tar member; -1 for a picture.
        member: of a tar: its name; else "".
        version: changes with the file: its size and time.
    """

    path: str
    place: int
    member: str
    version: str

    @property
    def name(self) -> str:
        """For people and the index."""
        inside = self.member or (str(self.place) if self.place >= 0 else "")
        return f"{self.path}#{inside}" if inside else self.path


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What was read.

    Args:
        pixels_rgb: (H, W, 3) uint8, upright.
        focal_px: None where nothing tells it.
        focal_source: where it came from, for people.
        sha256: of the file's bytes, or of a video frame's pixels.
    """

    pixels_rgb: npt.NDArray[np.uint8]
    focal_px: float | None
    focal_source: str
    sha256: str


def list_frames(sources: Sequence[str]) -> list[FrameRef]:
    """Every frame of the sources, in a fixed order, each once.

    Args:
        sources: folders (searched with their subfolders, without hidden ones), globs, pictures, videos, and shards:
            .tar as WebDataset writes them, .parquet with the encoded picture in a column image, jpg, png or bytes.

    Raises:
        OptionError: a source that isn't there, holds nothing, or is of no known kind.
        MissingExtraError: parquet without pyarrow.
    """
    found: dict[FrameRef, None] = {}
    for source in sources:
        paths = _files_of(source)
        if not paths:
            raise OptionError(
                f"{source} holds no frames; looked for are {', '.join(PHOTO_SUFFIXES)}, .tar, .parquet and videos",
                remedy="name a folder, a glob, a picture, a video or a shard",
            )
        for path in paths:
            found.update(dict.fromkeys(_frames_in(path)))
    return list(found)


def _files_of(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        shown = (entry for entry in path.rglob("*") if entry.is_file() and not _is_hidden(entry.relative_to(path)))
        return sorted(entry for entry in shown if _kind(entry))
    if path.is_file():
        if not _kind(path):
            raise OptionError(
                f"{path} is of no known kind", remedy=f"allowed are {', '.join(PHOTO_SUFFIXES)}, videos, .tar, .parquet"
            )
        return [path]
    if not glob.has_magic(source):
        raise OptionError(f"there is no {source}", remedy=f"check the path; the working folder is {Path.cwd()}")
    matches = map(Path, glob.glob(source, recursive=True))  # noqa: PTH207 (Path.glob takes no absolute patterns)
    return sorted(entry for entry in matches if entry.is_file() and _kind(entry))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    kinds = {".tar": "tar", ".parquet": "parquet"}
    if suffix in PHOTO_SUFFIXES:
        return "picture"
    return "video" if suffix in VIDEO_SUFFIXES else kinds.get(suffix, "")


def _frames_in(path: Path) -> Iterator[FrameRef]:
    facts = path.stat()
    version = f"{facts.st_size}-{facts.st_mtime_ns}"
    kind, place = _kind(path), str(path)
    if kind == "picture":
        yield FrameRef(place, -1, "", version)
    elif kind == "tar":
        yield from _members_of(path, version)
    else:
        count = _rows_of(path) if kind == "parquet" else _frames_of(path)
        yield from (FrameRef(place, number, "", version) for number in range(count))


def _members_of(path: Path, version: str) -> Iterator[FrameRef]:
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile() and Path(member.name).suffix.lower() in PHOTO_SUFFIXES:
                    yield FrameRef(str(path), member.offset_data, member.name, f"{version}-{member.size}")
    except (tarfile.TarError, OSError) as error:
        raise OptionError(f"{path} is not a tar shard: {error}", remedy="WebDataset shards are plain .tar") from error


def _frames_of(path: Path) -> int:
    try:
        return len(open_video(path))
    except CalibrationError as error:
        raise OptionError(error.problem, remedy=error.remedy) from error


def _rows_of(path: Path) -> int:
    return int(_parquet(path).metadata.num_rows)


def _parquet(path: Path) -> Any:
    parquet = require("pyarrow.parquet", extra="label", purpose="for parquet shards")
    try:
        return parquet.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise OptionError(f"{path} is not a parquet file: {error}", remedy="check how it was written") from error


class FrameReader:
    """Reads frames; of videos fastest in ascending order, since they are decoded from their beginning."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._video: ForwardVideo | None = None

    def read(self, ref: FrameRef) -> Frame:
        """Read one frame.

        Raises:
            PhotoError: it can't be read, or isn't a picture; or its file has changed since it was listed.
            MissingExtraError: Pillow or pyarrow isn't installed.
        """
        path = Path(ref.path)
        try:
            facts = path.stat()
            if not ref.version.startswith(f"{facts.st_size}-{facts.st_mtime_ns}"):
                raise PhotoError(f"{path} has changed since it was listed", remedy="run the command again")
            kind = _kind(path)
            if kind == "video":
                return self._video_frame(path, ref.place)
            content = _row(path, ref.place) if kind == "parquet" else _bytes(path, ref)
        except OSError as error:
            raise PhotoError(
                f"{ref.name} can't be read: {error.strerror}", remedy="check it and its permissions"
            ) from error
        photo = decode_photo(content, name=ref.name)
        return Frame(photo.pixels_rgb, photo.focal_px, photo.focal_source, hashlib.sha256(content).hexdigest())

    def _video_frame(self, path: Path, number: int) -> Frame:
        pixels = self._video_at(path, number).frame(number)
        if pixels is None:
            raise PhotoError(
                f"{path}: frame {number} can't be decoded", remedy="convert the video again, or leave it out"
            )
        digest = hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
        return Frame(pixels, None, "a video tells no focal length", digest)

    def _video_at(self, path: Path, number: int) -> ForwardVideo:
        """The video, before a frame."""
        if self._video is None or self._path != path or self._video.position > number:
            if self._video is not None:
                self._video.close()
            self._path, self._video = path, ForwardVideo(path)
        return self._video


def _bytes(path: Path, ref: FrameRef) -> bytes:
    """A picture's file, or the member of a shard."""
    if not ref.member:
        return path.read_bytes()
    return _member(path, ref)


def _member(path: Path, ref: FrameRef) -> bytes:
    size = int(ref.version.rpartition("-")[2])
    with path.open("rb") as file:
        file.seek(ref.place)
        return file.read(size)


def _row(path: Path, number: int) -> bytes:
    """The encoded picture of a row: bytes, or a struct with bytes as Hugging Face's data sets have it."""
    file = _parquet(path)
    column = next((name for name in _PARQUET_IMAGE if name in file.schema_arrow.names), None)
    if column is None:
        raise PhotoError(
            f"{path} has the columns {', '.join(file.schema_arrow.names)}, and no picture",
            remedy=f"call the column of encoded pictures {' or '.join(_PARQUET_IMAGE)}",
        )
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if number < rows:
            value = file.read_row_group(group, [column]).column(0)[number].as_py()
            content = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(content, bytes):
                raise PhotoError(f"{path} has no bytes in row {number}", remedy="store encoded pictures")
            return content
        number -= rows
    raise PhotoError(f"{path} has no row {number}", remedy="run the command again")
