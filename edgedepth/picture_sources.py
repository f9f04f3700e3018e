"""Pictures to verify on: files, a calibration set, a data set with its truth. Nothing is read until its turn comes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edgedepth.calibration.stored_set import CalibrationSet
from edgedepth.core.errors import FrameError, OptionError, PhotoError, SampleError
from edgedepth.datasets.base import DataSet
from edgedepth.photos import list_photos, read_photo
from edgedepth.programs.frames import as_rgb
from edgedepth.verify.evaluation import EvalSettings
from edgedepth.verify.pictures import LoadedPicture, PictureSource, Truth

__all__ = ["from_calibration", "from_dataset", "from_photos", "settings_for"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _PhotoSource:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    def load(self) -> LoadedPicture:
        try:
            return LoadedPicture(rgb=as_rgb(read_photo(self.path).pixels_rgb, "rgb"))
        except FrameError as error:
            raise PhotoError(f"{self.path}: {error.problem}", remedy=error.remedy) from error


@dataclass(frozen=True, slots=True)
class _SampleSource:
    data_set: DataSet
    name: str

    def load(self) -> LoadedPicture:
        sample = self.data_set.load(self.name)
        try:
            rgb = as_rgb(sample.image, "rgb")
        except FrameError as error:
            raise SampleError(f"{self.name}: {error.problem}", remedy=error.remedy) from error
        return LoadedPicture(rgb=rgb, truth=Truth(depth_m=sample.depth_m, valid=sample.valid, mask=sample.mask))


@dataclass(frozen=True, slots=True)
class _CalibrationSource:
    frames: CalibrationSet
    index: int

    @property
    def name(self) -> str:
        return self.frames.names[self.index]

    def load(self) -> LoadedPicture:
        depth = self.frames.depth(self.index)
        truth = None if depth is None or not (depth > 0).any() else Truth(depth_m=depth, valid=depth > 0)
        return LoadedPicture(rgb=as_rgb(self.frames.frame(self.index), "rgb"), truth=truth)


def from_photos(paths: Sequence[str | os.PathLike[str]], limit: int | None = None) -> list[PictureSource]:
    """Picture files, and the pictures in folders.

    Raises:
        PhotoError: a path that doesn't exist, or a folder without a picture.
        OptionError: a limit below 1.
    """
    return [_PhotoSource(path) for path in _evenly(list_photos(paths), limit)]


def from_dataset(data_set: DataSet, limit: int | None = None) -> list[PictureSource]:
    """A data set's samples with their true depth.

    Raises:
        OptionError: a limit below 1.
    """
    return [_SampleSource(data_set, name) for name in _evenly(data_set.sample_names, limit)]


def from_calibration(frames: CalibrationSet, limit: int | None = None) -> list[PictureSource]:
    """A calibration set's frames, with their true depth where the set keeps it.

    Raises:
        OptionError: a limit below 1.
    """
    return [_CalibrationSource(frames, index) for index in _evenly(range(len(frames)), limit)]


def settings_for(data_set: DataSet) -> EvalSettings:
    """How a data set's truth is scored: by its own protocol, and aligned where it knows no metres."""
    return EvalSettings(align="none" if data_set.metric else "median", max_depth_m=data_set.max_depth_m)


def _evenly(items: Sequence[T], limit: int | None) -> list[T]:
    """So many, spread evenly: neighbours are often frames of one video."""
    if limit is not None and limit < 1:
        raise OptionError(f"the limit is {limit} pictures; allowed are 1 and more", remedy="leave --limit out")
    count = len(items) if limit is None else min(limit, len(items))
    return [items[index * len(items) // count] for index in range(count)]
