"""Calibration sets: frames on disk that INT8 is made of and measured on, in the same order every time.

A set is a folder: calibration.json, frames/NNNNN.png and, where the truth is known, depth/NNNNN.npz. Frames are kept
as their source has them; how a model takes them is named, and done when they are used.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.calibration.coverage import Coverage, coverage_of
from edgedepth.calibration.frame_source import FrameSource, SourceFrame, Unreadable
from edgedepth.calibration.sampling import choose_diverse, spread_numbers, thumbnail
from edgedepth.calibration.set_index import (
    INDEX,
    SCHEMA_VERSION,
    FrameEntry,
    LeftOut,
    SetIndex,
    fingerprint_of,
)
from edgedepth.calibration.set_workshop import Look, Workshop, partial_folder
from edgedepth.core.errors import CalibrationError, OptionError
from edgedepth.core.files import write_file
from edgedepth.core.folders import replace_folder
from edgedepth.core.hashing import sha256_files
from edgedepth.core.progress import Progress, silent

__all__ = ["MIN_FRAMES", "CalibrationSet", "build_calibration_set", "open_calibration_set"]

MIN_FRAMES = 4
"""Fewer distinct frames are refused: there has to be one to hold back for each three that calibrate."""

_POOL = 8
"""Candidates that are looked at for each frame that is wanted."""

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


def build_calibration_set(
    source: FrameSource,
    out: str | os.PathLike[str],
    *,
    count: int = 64,
    seed: int = 0,
    preprocessing: str = "depth-pro",
    progress: Progress = silent,
) -> CalibrationSet:
    """Choose frames and store them as a set.

    The frames that are looked at are spread over the source; of those that can calibrate, the most different ones are
    taken. An interrupted build goes on where it stopped when it is called again.

    Args:
        source: of the frames; edgedepth.calibrating opens what a user names.
        out: the set's folder; a set that is there is replaced.
        count: how many frames at most. The source may have fewer that differ.
        seed: draws which frames are looked at, and the first of the chosen.
        preprocessing: the name of how the model will take the frames.
        progress: told of each step.

    Raises:
        CalibrationError: the frames can't calibrate: random noise, one frame, duplicates, nothing readable.
        OptionError: a count or a seed that isn't allowed.
        OutputError, BundleBusyError: `out` can't be written. What was done is kept.
    """
    if count < MIN_FRAMES or seed < 0:
        raise OptionError(
            f"{count} frames and seed {seed} were asked for; allowed are {MIN_FRAMES} or more, and seeds from 0 on",
            remedy="--count 64 --seed 0",
        )
    target = Path(os.path.realpath(out))
    header = {"source": source.identity, "count": count, "seed": seed, "schema_version": SCHEMA_VERSION}
    with replace_folder(target, ours=lambda folder: (folder / INDEX).is_file()) as work:
        shop = Workshop(partial_folder(target), header)
        finished = False
        try:
            numbers = spread_numbers(len(source), count * _POOL, seed)
            _look_at(source, numbers, shop, count, progress)
            chosen, left_out = _choose(source, [shop.looks[number] for number in numbers], count, seed)
            _store(source, chosen, shop, progress)
            entries = shop.move_into(work, chosen)
            index = SetIndex(
                schema_version=SCHEMA_VERSION,
                preprocessing=preprocessing,
                fingerprint=fingerprint_of(preprocessing, entries),
                source=source.name,
                seed=seed,
                asked_for=count,
                candidates=len(numbers),
                frames=entries,
                left_out=left_out,
            )
            write_file(work / INDEX, index.render())
            finished = True
        finally:
            shop.close(remove=finished)
    progress("done", 1, 1)
    return CalibrationSet(Path(out), index, entries)


def _look_at(source: FrameSource, numbers: tuple[int, ...], shop: Workshop, count: int, progress: Progress) -> None:
    """Look at the candidates; store them at once where most will be wanted, or can't be had again."""
    at_once = len(numbers) <= count or not source.repeatable
    missing = [
        n
        for n in numbers
        if n not in shop.looks or (at_once and shop.looks[n].thumbnail is not None and n not in shop.stored)
    ]
    for frame in source.read(missing):
        progress(f"look at {frame.name}", len(shop.looks), len(numbers))
        if isinstance(frame, Unreadable):
            shop.keep_look(Look(number=frame.number, name=frame.name, thumbnail=None, fault=frame.reason))
            continue
        look = _look(frame)
        if at_once and not look.fault:
            shop.store(frame)
        shop.keep_look(look)


def _look(frame: SourceFrame) -> Look:
    return Look(number=frame.number, name=frame.name, thumbnail=thumbnail(frame.image))


def _choose(source: FrameSource, looks: list[Look], count: int, seed: int) -> tuple[list[int], tuple[LeftOut, ...]]:
    """Numbers of the frames to take, and what can't be."""
    usable = [(look, look.thumbnail) for look in looks if look.thumbnail is not None]
    left_out = [LeftOut(name=look.name, reason=look.fault) for look in looks if look.fault]
    choice = choose_diverse([small for _, small in usable], count, seed) if usable else None
    if choice is None or len(choice.chosen) < MIN_FRAMES:
        raise CalibrationError(f"{source.name} has too few frames that differ", remedy="give more pictures")
    left_out += [LeftOut(name=usable[i][0].name, reason="near-duplicate") for i in choice.near_duplicates]
    return [usable[i][0].number for i in choice.chosen], tuple(left_out)


def _store(source: FrameSource, chosen: list[int], shop: Workshop, progress: Progress) -> None:
    """Store the chosen frames that aren't yet."""
    missing = sorted(set(chosen) - set(shop.stored))
    for done, frame in enumerate(source.read(missing)):
        progress(f"store {frame.name}", done, len(missing))
        if isinstance(frame, Unreadable):
            raise CalibrationError(
                f"{frame.name} could be read before and can't be now: {frame.reason}",
                remedy="run the same command again",
            )
        shop.store(frame)


def _check_files(folder: Path, index: SetIndex) -> None:
    expected = {folder / entry.picture_file: entry.file_sha256 for entry in index.frames}
    expected |= {folder / entry.depth_file: entry.depth.file_sha256 for entry in index.frames if entry.depth}
    try:
        digests = sha256_files(expected)
    except OSError as error:
        raise _damaged(folder, f"{error.filename} can't be read: {error.strerror}") from error
    for (path, digest), found in zip(expected.items(), digests, strict=True):
        if found != digest:
            raise _damaged(folder, f"{path} is not the file that the set was written with")


def _damaged(folder: Path, problem: str) -> CalibrationError:
    return CalibrationError(f"the calibration set {folder} is damaged: {problem}", remedy=_BUILD_AGAIN)
