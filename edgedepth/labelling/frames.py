"""Which frames are meant, without reading one; and reading one, on whatever machine."""

from __future__ import annotations

import glob
import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgedepth.calibration.video_frames import VIDEO_SUFFIXES, open_video
from edgedepth.core.errors import CalibrationError, OptionError, PhotoError
from edgedepth.core.reading import read_plain
from edgedepth.labelling.parquet_rows import ParquetRows
from edgedepth.photos import PHOTO_SUFFIXES, decode_photo
from edgedepth.video import ForwardVideo

__all__ = ["Frame", "FrameReader", "FrameRef", "list_frames"]

_LARGEST = 1 << 30  # bytes of an encoded picture: uncompressed, the largest that is decoded has half of them
_LEAST, _MOST = 8, 10_000_000  # bytes that a frame takes in a video's table of contents, and frames of one file


@dataclass(frozen=True, slots=True)
class FrameRef:
    """A frame that can be read anywhere where its file can.

    Args:
        path: of the picture, the video or the shard.
        place: in the file: a video frame's or a parquet row's number, the offset of a tar member; -1 for a picture, and
            for a video or a shard whose frames can't be listed, so that reading it tells why.
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
    """Every frame of the sources, in a fixed order, each once. A video or a shard that is damaged is a frame, too.

    Args:
        sources: folders (searched with their subfolders, without hidden ones), globs of all these, pictures, videos,
            and shards: .tar as WebDataset writes them, .parquet with the encoded picture in a column image, jpg, png
            or bytes.

    Raises:
        OptionError: a source that isn't there, holds nothing, or is of no known kind.
        MissingExtraError: parquet without pyarrow.
    """
    found: dict[FrameRef, None] = {}
    for source in sources:
        frames = [frame for path in _files_of(source) for frame in _frames_in(path)]
        if not frames:
            raise OptionError(
                f"{source} holds no frames; looked for are {', '.join(PHOTO_SUFFIXES)}, .tar, .parquet and videos",
                remedy="name a folder, a glob, a picture, a video or a shard",
            )
        found.update(dict.fromkeys(frames))
    return list(found)


def _files_of(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        return _files_below(path)
    if path.is_file():
        if not _kind(path):
            raise OptionError(
                f"{path} is of no known kind", remedy=f"allowed are {', '.join(PHOTO_SUFFIXES)}, videos, .tar, .parquet"
            )
        return [path]
    if not glob.has_magic(source):
        raise OptionError(f"there is no {source}", remedy=f"check the path; the working folder is {Path.cwd()}")
    matches = sorted(map(Path, glob.glob(source, recursive=True)))  # noqa: PTH207 (Path.glob: no absolute patterns)
    return [file for match in matches for file in (_files_below(match) if match.is_dir() else _known([match]))]


def _files_below(folder: Path) -> list[Path]:
    return sorted(_known(entry for entry in folder.rglob("*") if not _is_hidden(entry.relative_to(folder))))


def _known(entries: Iterable[Path]) -> Iterator[Path]:
    return (entry for entry in entries if _kind(entry) and entry.is_file())


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    kinds = {".tar": "tar", ".parquet": "parquet"}
    if suffix in PHOTO_SUFFIXES:
        return "picture"
    return "video" if suffix in VIDEO_SUFFIXES else kinds.get(suffix, "")


def _frames_in(path: Path) -> Iterator[FrameRef]:
    """A file's frames; where it is damaged, those before the damage, and one that stands for the rest."""
    try:
        yield from _listed(path)
    except PhotoError:
        yield FrameRef(str(path), -1, "", _version(path))


def _listed(path: Path) -> Iterator[FrameRef]:
    version = _version(path)
    kind, place = _kind(path), str(path)
    if kind == "picture":
        yield FrameRef(place, -1, "", version)
    elif kind == "tar":
        yield from _members_of(path, version)
    else:
        count = len(ParquetRows(path)) if kind == "parquet" else _frames_of(path)
        most = min(_MOST, path.stat().st_size // _LEAST)
        if count > most:
            raise PhotoError(
                f"{path} announces {count} frames; a file of its size has up to {most}",
                remedy="check how it was written",
            )
        yield from (FrameRef(place, number, "", version) for number in range(count))


def _version(path: Path) -> str:
    try:
        facts = path.stat()
    except OSError:  # reading it will tell
        return ""
    return f"{facts.st_size}-{facts.st_mtime_ns}"


def _members_of(path: Path, version: str) -> Iterator[FrameRef]:
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.isfile() and Path(member.name).suffix.lower() in PHOTO_SUFFIXES:
                    yield FrameRef(str(path), member.offset_data, member.name, f"{version}-{member.size}")
            if not _ends_at(path, archive.offset):
                raise tarfile.ReadError(f"it is damaged or cut short at byte {archive.offset}")
    except (tarfile.TarError, OSError, ValueError) as error:  # ValueError: of damaged headers
        raise PhotoError(f"{path} is not a tar shard: {error}", remedy="WebDataset shards are plain .tar") from error


def _ends_at(path: Path, offset: int) -> bool:
    """Whether a tar's end mark stands there: over a damaged header tarfile stops as if it were the end."""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _frames_of(path: Path) -> int:
    try:
        return len(open_video(path))
    except CalibrationError as error:
        raise PhotoError(error.problem, remedy=error.remedy) from error


class FrameReader:
    """Reads frames; of videos and parquet shards fastest in ascending order: they are decoded from their beginning."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._video: ForwardVideo | None = None
        self._rows: tuple[str, str, ParquetRows] | None = None

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
            if kind != "picture" and ref.place < 0:
                raise _why_not(path)
            if kind == "video":
                return self._video_frame(path, ref.place)
            content = self._row(ref) if kind == "parquet" else _bytes(path, ref)
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

    def _row(self, ref: FrameRef) -> bytes:
        """The picture of a row; the shard stays open for the next one."""
        if self._rows is None or self._rows[:2] != (ref.path, ref.version):
            self._rows = ref.path, ref.version, ParquetRows(Path(ref.path))
        return self._rows[2].picture(ref.place)


def _why_not(path: Path) -> PhotoError:
    """Why a video's or a shard's frames could not be listed."""
    try:
        for _ in _listed(path):
            pass
    except PhotoError as error:
        return error
    return PhotoError(f"{path} could not be listed, and now it can", remedy="run the command again")


def _bytes(path: Path, ref: FrameRef) -> bytes:
    """A picture's file, or the member of a shard."""
    if not ref.member:
        return read_plain(path, limit=_LARGEST)
    size = int(ref.version.rpartition("-")[2])
    if size > _LARGEST:
        raise PhotoError(f"{ref.name} has {size} bytes; no picture has more than {_LARGEST}", remedy="leave it out")
    with path.open("rb") as file:
        file.seek(ref.place)
        return file.read(size)
