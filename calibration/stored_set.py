"""A calibration set as it lies on the disk: opened, checked, and gone over as often as needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.calibration.coverage import Coverage, coverage_of
from edgedepth.calibration.set_index import INDEX, FrameEntry, SetIndex, fingerprint_of
from edgedepth.core.errors import CalibrationError, OptionError
from edgedepth.core.hashing import sha256_files

__all__ = ["CalibrationSet", "open_calibration_set"]

_BUILD_AGAIN = "build it again: edgedepth calibrate SOURCE --out SET"


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """An opened set, or a part of one. It holds no file open and may be gone over any number of times.

    Args:
        path: its folder.
        index: of the whole set.
        entries: the frames that belong to this part.
    """

    path: Path
    index: SetIndex
    entries: tuple[FrameEntry, ...]

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """What the source calls the frames, in their order."""
        return tuple(entry.name for entry in self.entries)

    @property
    def preprocessing(self) -> str:
        """The name of how a model takes the frames: "depth-pro"."""
        return self.index.preprocessing

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the frames' content, their order and the name of the pre-processing."""
        return fingerprint_of(self.preprocessing, self.entries)

    @property
    def coverage(self) -> Coverage:
        """What the frames cover."""
        return coverage_of(self.entries)

    def frames(self) -> Iterator[npt.NDArray[np.uint8]]:
        """The frames, (H, W, 3) uint8 RGB each, sizes as they come, read one by one; a new iterator each time.

        Raises:
            CalibrationError: a file is gone or damaged.
        """
        return (self.frame(i) for i in range(len(self)))

    def frame(self, i: int) -> npt.NDArray[np.uint8]:
        """The i-th frame, (H, W, 3) uint8 RGB.

        Raises:
            IndexError: there is none.
            CalibrationError: its file is gone or damaged.
        """
        path = self.path / self.entries[i].picture_file
        try:
            bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        except (OSError, cv2.error) as error:
            raise _damaged(self.path, f"{path} can't be read: {error}") from error
        if bgr is None:
            raise _damaged(self.path, f"{path} is no picture")
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)

    def focal_px(self, i: int) -> float | None:
        """Horizontal focal length of the i-th frame in its pixels, or None where the source didn't tell."""
        return self.entries[i].focal_px

    def depth(self, i: int) -> npt.NDArray[np.float32] | None:
        """True depth of the i-th frame, (H, W) float32 metres, 0 where unknown; None where the source had no truth.

        Raises:
            IndexError: there is no such frame.
            CalibrationError: its file is gone or damaged.
        """
        entry = self.entries[i]
        if entry.depth is None:
            return None
        path = self.path / entry.depth_file
        try:
            with np.load(path, allow_pickle=False) as packed:
                return np.asarray(packed["depth_m"], np.float32)
        except Exception as error:  # what a broken archive raises has no common base class
            raise _damaged(self.path, f"{path} can't be read: {error}") from error

    def first(self, count: int) -> CalibrationSet:
        """The first frames: the most telling ones of the set, for where memory or time allows no more.

        Raises:
            OptionError: none, or more than there are.
        """
        if not 1 <= count <= len(self):
            raise OptionError(
                f"{count} frames were asked for; {self.path} has 1 to {len(self)}",
                remedy="ask for as many as there are",
            )
        return CalibrationSet(self.path, self.index, self.entries[:count])

    def require_preprocessing(self, name: str) -> None:
        """Refuse to calibrate a model that takes frames in another way.

        Args:
            name: of how the model takes them.

        Raises:
            CalibrationError: the set was made for another way.
        """
        if name != self.preprocessing:
            raise CalibrationError(
                f"{self.path} was made for models that take frames as {self.preprocessing} does; "
                f"this one takes them as {name} does",
                remedy="make one for it: edgedepth calibrate SOURCE --model MODEL --out SET",
            )

    def require_fingerprint(self, fingerprint: str, *, of: str) -> None:
        """Refuse frames other than those that something was made with.

        Args:
            fingerprint: that it was made with.
            of: what was made: "the bundle b".

        Raises:
            CalibrationError: these frames are others.
        """
        if fingerprint != self.fingerprint:
            raise CalibrationError(
                f"{of} was calibrated with the set {fingerprint[:12]}; {self.path} is {self.fingerprint[:12]}",
                remedy="give the set of then, or begin anew with this one in another folder",
            )

    def split(self, held_back: float = 0.25) -> tuple[CalibrationSet, CalibrationSet]:
        """Two parts without a common frame, the same every time: one to calibrate on, one to measure on.

        Args:
            held_back: share of the frames that the second gets; both get one at least.

        Raises:
            OptionError: a share that isn't between 0 and 1.
            CalibrationError: a single frame can't be split.
        """
        if not 0 < held_back < 1:
            raise OptionError(f"a share of {held_back} can't be held back", remedy="held_back=0.25")
        if len(self) < 2:
            raise CalibrationError(f"{self.path} has {len(self)} frame here; two parts need 2", remedy=_BUILD_AGAIN)
        wanted = min(max(round(len(self) * held_back), 1), len(self) - 1)
        # Spread over the set: its order is by how much each frame adds.
        held = {(2 * part + 1) * len(self) // (2 * wanted) for part in range(wanted)}
        kept = tuple(entry for i, entry in enumerate(self.entries) if i not in held)
        back = tuple(entry for i, entry in enumerate(self.entries) if i in held)
        return CalibrationSet(self.path, self.index, kept), CalibrationSet(self.path, self.index, back)


def open_calibration_set(path: str | os.PathLike[str]) -> CalibrationSet:
    """Open a set, and check every file of it.

    Raises:
        CalibrationError: there is none, or it isn't as it was written.
    """
    folder = Path(path)
    try:
        index = SetIndex.parse((folder / INDEX).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CalibrationError(
            f"{folder} is no calibration set: there is no {folder / INDEX}",
            remedy=f"make one: edgedepth calibrate SOURCE --out {folder}",
        ) from error
    except (OSError, ValueError) as error:
        raise _damaged(folder, f"{folder / INDEX} can't be used: {error}") from error
    _check_files(folder, index)
    return CalibrationSet(folder, index, index.frames)


def _check_files(folder: Path, index: SetIndex) -> None:
    expected = {folder / file: digest for entry in index.frames for file, digest in entry.files.items()}
    try:
        digests = sha256_files(expected)
    except OSError as error:
        raise _damaged(folder, f"{error.filename} can't be read: {error.strerror}") from error
    for (path, digest), found in zip(expected.items(), digests, strict=True):
        if found != digest:
            raise _damaged(folder, f"{path} is not the file that the set was written with")


def _damaged(folder: Path, problem: str) -> CalibrationError:
    return CalibrationError(f"the calibration set {folder} is damaged: {problem}", remedy=_BUILD_AGAIN)
