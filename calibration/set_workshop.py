"""Where a calibration set is made: a hidden folder beside its place that an interrupted build goes on in.

`.NAME.partial` holds a journal of the frames that were looked at and stored, and the stored frames by their number
in the source. When all is there, the chosen ones are moved into the set.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.calibration.coverage import luma_figures
from edgedepth.calibration.frame_source import SourceFrame
from edgedepth.calibration.set_index import INDEX, DepthEntry, FrameEntry, SetIndex
from edgedepth.core.errors import CalibrationError, OutputError
from edgedepth.core.files import write_file
from edgedepth.core.hashing import sha256_file
from edgedepth.core.journal import Journal
from edgedepth.core.plain import from_plain, to_plain

__all__ = ["Look", "Workshop", "partial_folder"]

_PNG_LEVEL = 3  # of zlib: 9 takes several times as long for a few per cent


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one look at a candidate told.

    Args:
        number: of the frame in its source.
        name: of the frame.
        thumbnail: (16, 16, 3) uint8 that it is compared by; None where it can't calibrate.
        fault: why it can't; "" where it can.
    """

    number: int
    name: str
    thumbnail: npt.NDArray[np.uint8] | None
    fault: str = ""


def partial_folder(target: Path) -> Path:
    """Where the set `target` is made."""
    return target.parent / f".{target.name}.partial"


class Workshop:
    """An open workshop. What an interrupted build left is in `looks` and `stored`.

    Args:
        folder: of it; made if it isn't there.
        header: what is built; what was left of another build is thrown away.

    Raises:
        OutputError: the folder can't be written.
    """

    def __init__(self, folder: Path, header: Mapping[str, Any]) -> None:
        self.folder = folder
        self.looks: dict[int, Look] = {}
        self.stored: dict[int, FrameEntry] = {}
        self._finished = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._journal = Journal(folder / "journal.jsonl", header)
            for kind in ("frames", "depth"):
                if not self._journal.entries:  # what lies there belongs to another build
                    shutil.rmtree(folder / kind, ignore_errors=True)
                (folder / kind).mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{folder} can't be made: {error.strerror or error}", remedy="choose another folder with --out"
            ) from error
        for entry in self._journal.entries:
            self._recall(entry)

    def keep_look(self, look: Look) -> None:
        """Remember a look at a candidate."""
        encoded = None if look.thumbnail is None else base64.b85encode(look.thumbnail.tobytes()).decode("ascii")
        with self._kept():
            self._journal.add({"look": [look.number, look.name, encoded, look.fault]})
        self.looks[look.number] = look

    def store(self, frame: SourceFrame) -> None:
        """Write a frame to the disk, lossless.

        Raises:
            OutputError: the disk is full.
        """
        picture = _png(frame.image)
        brightness, contrast = luma_figures(frame.image)
        entry = FrameEntry(
            number=frame.number,
            name=frame.name,
            file_sha256=hashlib.sha256(picture).hexdigest(),
            pixels_sha256=hashlib.sha256(np.ascontiguousarray(frame.image).data).hexdigest(),
            width=frame.image.shape[1],
            height=frame.image.shape[0],
            focal_px=frame.focal_px,
            brightness=brightness,
            contrast=contrast,
            depth=None,
        )
        with self._kept():
            write_file(self.folder / entry.picture_file, picture)
            if frame.depth_m is not None:
                entry = replace(entry, depth=_store_depth(self.folder / entry.depth_file, frame.depth_m))
            self._journal.add({"stored": to_plain(entry)})
        self.stored[frame.number] = entry

    def numbered(self, chosen: Sequence[int]) -> tuple[FrameEntry, ...]:
        """The entries of stored frames, by their numbers in the source, with their numbers in the set."""
        return tuple(replace(self.stored[source], number=number) for number, source in enumerate(chosen))

    def hand_over(self, target: Path, index: SetIndex, chosen: Sequence[int]) -> None:
        """Write a set's index into its empty folder and move its frames there.

        The index comes first: what can fail for lack of space fails while the frames are still here.

        Args:
            target: an empty folder on the same disk.
            index: of the set.
            chosen: numbers in the source of the frames that it lists.

        Raises:
            OutputError: the disk is full.
        """
        with self._kept():
            write_file(target / INDEX, index.render())
        for kind in {Path(file).parent for entry in index.frames for file in entry.files}:
            (target / kind).mkdir()
        for source, entry in zip(chosen, index.frames, strict=True):
            for old, new in zip(self.stored[source].files, entry.files, strict=True):
                (self.folder / old).rename(target / new)
        self._finished = True

    def __enter__(self) -> Workshop:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it. It is taken down when the set was handed over, and stays for the next try otherwise."""
        self._journal.close()
        if self._finished or isinstance(error, CalibrationError):
            shutil.rmtree(self.folder, ignore_errors=True)

    @contextlib.contextmanager
    def _kept(self) -> Iterator[None]:
        """Tell whom the disk stops that nothing is lost."""
        try:
            yield
        except OutputError as error:
            raise OutputError(
                f"{error.problem}; the frames so far are kept in {self.folder}",
                remedy="free space, then run the same command again: it goes on",
            ) from error

    def _recall(self, entry: Mapping[str, Any]) -> None:
        """Take up one line of the journal. A line that another version wrote is work to do again."""
        try:
            ((kind, content),) = entry.items()
            if kind == "look":
                number, name, encoded, fault = content
                thumbnail = None
                if encoded is not None:
                    thumbnail = np.frombuffer(base64.b85decode(encoded), np.uint8).reshape(16, 16, 3)
                self.looks[number] = Look(number=number, name=name, thumbnail=thumbnail, fault=fault)
            elif kind == "stored":
                stored = from_plain(FrameEntry, content, where=kind)
                if self._is_whole(stored):
                    self.stored[stored.number] = stored
        except (ValueError, TypeError):
            return

    def _is_whole(self, entry: FrameEntry) -> bool:
        """Whether a stored frame is on the disk as the journal tells: a power cut leaves hollow files."""
        paths = ((self.folder / file, digest) for file, digest in entry.files.items())
        return all(path.is_file() and sha256_file(path) == digest for path, digest in paths)


def _png(image: npt.NDArray[np.uint8]) -> bytes:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".png", bgr, (cv2.IMWRITE_PNG_COMPRESSION, _PNG_LEVEL))
    return encoded.tobytes()


def _store_depth(path: Path, depth_m: npt.NDArray[np.float32]) -> DepthEntry:
    values = np.ascontiguousarray(depth_m, "<f4")
    packed = io.BytesIO()
    np.savez_compressed(packed, depth_m=values)
    write_file(path, packed.getvalue())
    near, far = np.percentile(values[values > 0], (5, 95))
    return DepthEntry(
        file_sha256=hashlib.sha256(packed.getvalue()).hexdigest(),
        values_sha256=hashlib.sha256(values.data).hexdigest(),
        near_m=round(float(near), 3),
        far_m=round(float(far), 3),
    )
