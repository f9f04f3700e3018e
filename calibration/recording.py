"""What each stage is fed when the fp32 program sees a set's frames: written to disk once, read as often as needed.

The disk and not memory: a full-size frame's decoder inputs alone are 127 MB.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import OutputError
from edgedepth.core.forwarding import ForwardingSession
from edgedepth.core.progress import Progress, silent
from edgedepth.core.session import Array, OpenStage, Session
from edgedepth.programs.canonical import CanonicalProgram
from edgedepth.programs.frames import as_rgb

__all__ = ["Recording", "RecordingSession", "record"]

_ANSWER = "answer.npz"
_MARGIN = 1.1  # the archives' own headers


class Recording:
    """Stage inputs and the fp32 answer, frame by frame, in a folder.

    Args:
        folder: one subfolder a frame.
        frames: which of them count, by their numbers in the set.
    """

    def __init__(self, folder: Path, frames: Sequence[int]) -> None:
        self.folder = folder
        self.frames = tuple(frames)

    def calls(self, stage: str) -> list[Path]:
        """The files of every call of a stage, in order; load_feeds() reads one."""
        return [path for frame in self.frames for path in sorted(_frame_folder(self.folder, frame).glob(f"{stage}-*"))]

    def answer(self, frame: int) -> tuple[Array, float]:
        """What the fp32 program gave: depth (H, W) float32 in m, and fov_deg."""
        with np.load(_frame_folder(self.folder, frame) / _ANSWER) as archive:
            return archive["depth"], float(archive["fov_deg"])

    def only(self, frames: Sequence[int]) -> Recording:
        """The same recording, of some of its frames."""
        return Recording(self.folder, frames)

    @staticmethod
    def load_feeds(path: Path) -> dict[str, Array]:
        """One call's inputs by name."""
        with np.load(path) as archive:
            return {name: archive[name] for name in archive.files}


class RecordingSession(ForwardingSession):
    """A session that keeps what it is fed before it runs.

    Args:
        session: does the work.
        keep: told the feeds of each run.
    """

    def __init__(self, session: Session, keep: Callable[[Mapping[str, npt.NDArray[Any]]], None]) -> None:
        super().__init__(session)
        self._keep = keep

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Keep the feeds and run."""
        self._keep(feeds)
        return self._session.run(feeds, out)


def record(
    frames: Iterator[npt.NDArray[np.uint8]],
    count: int,
    *,
    open_stage: OpenStage,
    open_program: Callable[[OpenStage], CanonicalProgram],
    folder: Path,
    progress: Progress = silent,
) -> Recording:
    """Run the program over frames and keep what each stage is fed. Frames that are there already aren't run again.

    Args:
        frames: (H, W, 3) uint8 RGB.
        count: how many.
        open_stage: opens the fp32 stages.
        open_program: the program over stages that are opened so.
        folder: where it goes.
        progress: told of each frame.

    Raises:
        OutputError: the disk is too small for the frames.
    """
    folder.mkdir(parents=True, exist_ok=True)
    current: Path = folder

    def recording(stage: str) -> Session:
        def keep(feeds: Mapping[str, npt.NDArray[Any]]) -> None:
            number = len(list(current.glob(f"{stage}-*")))
            arrays: dict[str, Any] = dict(feeds)
            np.savez(current / f"{stage}-{number:04d}.npz", **arrays)

        return RecordingSession(open_stage(stage), keep)

    program = open_program(recording)
    for number, frame in enumerate(frames):
        progress(f"fp32 on frame {number + 1}", number, count)
        done = _frame_folder(folder, number)
        if done.is_dir():
            continue
        current = done.with_suffix(".new")
        shutil.rmtree(current, ignore_errors=True)
        current.mkdir()
        prediction = program.predict(as_rgb(frame, "rgb"))
        np.savez(current / _ANSWER, depth=prediction.depth, fov_deg=np.float32(prediction.fov_deg))
        current.rename(done)
        _check_space(done, count - number - 1)
    progress("fp32 on every frame", count, count)
    return Recording(folder, range(count))


def _frame_folder(folder: Path, frame: int) -> Path:
    return folder / f"frame-{frame:05d}"


def _check_space(done: Path, left: int) -> None:
    """After each frame it is known what one takes."""
    size = sum(entry.stat().st_size for entry in os.scandir(done)) * _MARGIN
    free = shutil.disk_usage(done).free
    if size * left > free:
        raise OutputError(
            f"{done.parent} has {free / 1e9:.1f} GB free; {left} more frames take {size * left / 1e9:.1f} GB",
            remedy="free space, set EDGEDEPTH_HOME to a larger disk, or use a smaller set: edgedepth calibrate --count",
        )
