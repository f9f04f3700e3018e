"""How a calibration set is made: look at candidates, choose the most different, store them, put them in place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from edgedepth.calibration.fitness import MIN_FRAMES, NEAR_DUPLICATE, UNREADABLE, fault_of, refuse_too_few
from edgedepth.calibration.frame_source import FrameSource, SourceFrame, Unreadable
from edgedepth.calibration.sampling import choose_diverse, spread_numbers, thumbnail
from edgedepth.calibration.set_index import INDEX, SCHEMA_VERSION, LeftOut, SetIndex, fingerprint_of
from edgedepth.calibration.set_workshop import Look, Workshop, partial_folder
from edgedepth.calibration.stored_set import CalibrationSet
from edgedepth.core.errors import CalibrationError, OptionError
from edgedepth.core.folders import replace_folder
from edgedepth.core.progress import Announce, Progress, silent, unheard

__all__ = ["build_calibration_set", "is_calibration_set"]

_LOOKS = 8
"""Candidates that are looked at for each frame that is wanted."""

_FEW = 16


def build_calibration_set(
    source: FrameSource,
    out: str | os.PathLike[str],
    *,
    count: int = 64,
    seed: int = 0,
    preprocessing: str = "depth-pro",
    progress: Progress = silent,
    announce: Announce = unheard,
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
        announce: told, in one line each, what is replaced, gone on with, or little.

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
    build = {"source": source.identity, "count": count, "seed": seed, "schema_version": SCHEMA_VERSION}
    with replace_folder(target, ours=is_calibration_set) as work, Workshop(partial_folder(target), build) as shop:
        _tell_what_is_there(target, shop, announce)
        numbers = spread_numbers(len(source), count * _LOOKS, seed)
        _look_at(source, numbers, shop, at_once=len(numbers) <= count or not source.repeatable, progress=progress)
        chosen, left_out = _choose(source, [shop.looks[number] for number in numbers], count, seed)
        _store(source, chosen, shop, progress)
        entries = shop.numbered(chosen)
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
        shop.hand_over(work, index, chosen)
    progress(f"{len(entries)} frames", len(numbers), len(numbers))
    if len(entries) < _FEW:
        announce(f"{len(entries)} frames are few: scales found on them are rough; {_FEW} and more are usual")
    return CalibrationSet(Path(out), index, entries)


def _tell_what_is_there(target: Path, shop: Workshop, announce: Announce) -> None:
    if is_calibration_set(target):
        announce(f"{target} is replaced")
    if shop.looks:
        announce(f"going on with an interrupted build: {len(shop.looks)} frames were looked at")


def is_calibration_set(folder: Path) -> bool:
    """Whether a folder looks like a calibration set (it has an index)."""
    return (folder / INDEX).is_file()


def _look_at(source: FrameSource, numbers: Sequence[int], shop: Workshop, *, at_once: bool, progress: Progress) -> None:
    """Look at the candidates that haven't been; with at_once, store them in the same go."""
    missing = [
        number
        for number in numbers
        if (look := shop.looks.get(number)) is None or (at_once and not look.fault and number not in shop.stored)
    ]
    for done, frame in enumerate(source.read(missing), start=len(numbers) - len(missing)):
        progress(f"look at {frame.name}", done, len(numbers))
        look = _look(frame)
        if at_once and not look.fault and isinstance(frame, SourceFrame):
            shop.store(frame)
        shop.keep_look(look)


def _look(frame: SourceFrame | Unreadable) -> Look:
    if isinstance(frame, Unreadable):
        fault, small = f"{UNREADABLE}: {frame.reason}", None
    else:
        fault = fault_of(frame.image)
        small = None if fault else thumbnail(frame.image)
    return Look(number=frame.number, name=frame.name, thumbnail=small, fault=fault)


def _choose(
    source: FrameSource, looks: Sequence[Look], count: int, seed: int
) -> tuple[tuple[int, ...], tuple[LeftOut, ...]]:
    """Numbers of the frames to take, and what couldn't be taken and why."""
    usable = [(look, look.thumbnail) for look in looks if look.thumbnail is not None]
    choice = choose_diverse([small for _, small in usable], count, seed)
    alike = {usable[i][0].number for i in choice.near_duplicates}
    faults = ((look.name, NEAR_DUPLICATE if look.number in alike else look.fault) for look in looks)
    left_out = tuple(LeftOut(name=name, reason=fault) for name, fault in faults if fault)
    if len(choice.chosen) < MIN_FRAMES:
        raise refuse_too_few(source.name, len(looks), len(choice.chosen), left_out)
    return tuple(usable[i][0].number for i in choice.chosen), left_out


def _store(source: FrameSource, chosen: Sequence[int], shop: Workshop, progress: Progress) -> None:
    """Store the chosen frames that aren't yet."""
    missing = sorted(set(chosen) - set(shop.stored))
    for done, frame in enumerate(source.read(missing)):
        progress(f"store {frame.name}", done, len(missing))
        if isinstance(frame, Unreadable):
            raise CalibrationError(
                f"{frame.name} could be read a moment ago and can't be now: {frame.reason}",
                remedy="look at the source, and run the same command again",
            )
        shop.store(frame)
