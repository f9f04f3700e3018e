"""calibrate: what a user names as a source of frames in, a calibration set out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedepth.calibration.frame_source import FrameSource, SourceFrame, Unreadable
from edgedepth.calibration.picture_folder import open_picture_folder
from edgedepth.calibration.sets import CalibrationSet, build_calibration_set
from edgedepth.core.errors import SampleError
from edgedepth.core.progress import Progress, silent
from edgedepth.datasets import DataSet, open_dataset
from edgedepth.datasets.synthetic import SyntheticSet
from edgedepth.models.registry import DEFAULT_MODEL, model_entry
from edgedepth.training.scenes import CALIBRATION_SEED

__all__ = ["calibrate", "open_frame_source"]


def calibrate(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    count: int = 64,
    seed: int = 0,
    model: str = DEFAULT_MODEL,
    progress: Progress = silent,
) -> CalibrationSet:
    """Make a calibration set.

    Args:
        source: a folder of pictures, or synthetic:N.
        out: the set's folder; a set that is there is replaced.
        count: how many frames at most.
        seed: of what is drawn.
        model: that will be calibrated: the set is for all models that take frames as it does.
        progress: told of each step.

    Raises:
        CalibrationError: the frames can't calibrate.
        PhotoError, DataSetError: there is no such source, or nothing in it.
        OptionError: an unknown model, or a count or a seed that isn't allowed.
        OutputError, BundleBusyError: `out` can't be written. What was done is kept.
    """
    preprocessing = model_entry(model).family
    frames = open_frame_source(source)
    return build_calibration_set(frames, out, count=count, seed=seed, preprocessing=preprocessing, progress=progress)


def open_frame_source(source: str | os.PathLike[str]) -> FrameSource:
    """Open what a user names; no frame is read yet.

    Raises:
        PhotoError, DataSetError: there is no such source, or nothing in it.
    """
    text = os.fspath(source)
    if text.startswith("synthetic:"):
        scenes = open_dataset(text)
        return _DataSetFrames(SyntheticSet(len(scenes.sample_names), CALIBRATION_SEED), "")
    return open_picture_folder(Path(text))


@dataclass(frozen=True, slots=True)
class _DataSetFrames:
    """A data set as calibration frames.

    Args:
        data_set: the set.
        place: where it lies.
    """

    data_set: DataSet
    place: str

    @property
    def name(self) -> str:
        """As of FrameSource."""
        return self.data_set.name

    @property
    def identity(self) -> str:
        """As of FrameSource."""
        return f"{self.data_set.name} {len(self)} {self.place}"

    @property
    def repeatable(self) -> bool:
        """As of FrameSource."""
        return True

    def __len__(self) -> int:
        return len(self.data_set.sample_names)

    def read(self, numbers: Sequence[int]) -> Iterator[SourceFrame | Unreadable]:
        """As of FrameSource."""
        for number in numbers:
            name = self.data_set.sample_names[number]
            try:
                sample = self.data_set.load(name)
            except SampleError as error:
                yield Unreadable(number=number, name=name, reason=error.problem)
                continue
            depth = np.where(sample.valid, sample.depth_m, np.float32(0)) if self.data_set.metric else None
            yield SourceFrame(number=number, name=name, image=sample.image, focal_px=sample.focal_px, depth_m=depth)
