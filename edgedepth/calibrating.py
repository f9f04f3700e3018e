"""calibrate: what a user names as a source of frames in, a calibration set out."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedepth.calibration.frame_source import FrameSource, SourceFrame, Unreadable
from edgedepth.calibration.picture_folder import open_picture_folder
from edgedepth.calibration.sets import CalibrationSet, build_calibration_set
from edgedepth.calibration.video_frames import VIDEO_SUFFIXES, open_camera, open_video
from edgedepth.core.errors import CalibrationError, OptionError, SampleError
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.datasets import LAYOUTS, DataSet, open_dataset
from edgedepth.datasets.synthetic import SyntheticSet
from edgedepth.models.registry import DEFAULT_MODEL, model_entry
from edgedepth.photos import PHOTO_SUFFIXES
from edgedepth.training.scenes import CALIBRATION_SEED

__all__ = ["PICTURES", "calibrate", "open_frame_source"]

PICTURES = "pictures"
"""The layout of a folder whose pictures are taken, and nothing else of it."""

_SYNTHETIC = "synthetic:"
_CAMERA_LOOKS = 2
"""Frames that a camera gives for each that is wanted."""


def calibrate(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    count: int = 64,
    seed: int = 0,
    model: str = DEFAULT_MODEL,
    layout: str | None = None,
    interval_s: float = 0.5,
    progress: Progress = silent,
    announce: Announce = unheard,
) -> CalibrationSet:
    """Make a calibration set.

    The frames that are looked at are spread over the source; of those that can calibrate, the most different ones are
    taken. An interrupted call goes on where it stopped when it is made again.

    Args:
        source: a folder of pictures or of a data set, a video file, a camera's index, or synthetic:N.
        out: the set's folder; a set that is there is replaced.
        count: how many frames at most. The source may have fewer that differ.
        seed: draws which frames are looked at, and the first of the chosen.
        model: that will be calibrated; the set is for all models that take frames as it does.
        layout: of a folder: a data set's, or "pictures"; None: told by what is in it.
        interval_s: seconds from one frame of a camera to the next.
        progress: told of each step.
        announce: told, in one line each, what is replaced, gone on with, or little.

    Raises:
        CalibrationError: the frames can't calibrate: random noise, one frame, duplicates, nothing readable; or the
            source is none.
        PhotoError, DataSetError: there is nothing in the folder.
        DeviceError: there is no such camera, or it stopped.
        OptionError: an unknown model or layout, or a number that isn't allowed.
        OutputError, BundleBusyError: `out` can't be written. What was done is kept.
    """
    preprocessing = model_entry(model).family
    frames = open_frame_source(source, layout=layout, camera_frames=_CAMERA_LOOKS * count, interval_s=interval_s)
    return build_calibration_set(
        frames, out, count=count, seed=seed, preprocessing=preprocessing, progress=progress, announce=announce
    )


def open_frame_source(
    source: str | os.PathLike[str], *, layout: str | None = None, camera_frames: int = 128, interval_s: float = 0.5
) -> FrameSource:
    """Open what a user names. No picture is decoded, no scene rendered, no camera opened yet.

    Args:
        source: as of calibrate.
        layout: as of calibrate.
        camera_frames: how many frames a camera gives.
        interval_s: as of calibrate.

    Raises:
        CalibrationError, PhotoError, DataSetError, OptionError: as calibrate.
    """
    text = os.fspath(source)
    if text.startswith(_SYNTHETIC):
        held_out = open_dataset(text, layout=layout)
        return _DataSetFrames(SyntheticSet(len(held_out.sample_names), CALIBRATION_SEED), "")
    if re.fullmatch(r"[0-9]{1,3}", text):
        return open_camera(int(text), count=camera_frames, interval_s=interval_s)
    path = Path(text)
    if path.is_dir() or layout is not None:
        return _open_folder(path, layout)
    return _open_file(path)


def _open_folder(folder: Path, layout: str | None) -> FrameSource:
    """A data set where the folder looks like one, so that its true depth comes along; else the pictures in it."""
    known = [known.name for known in LAYOUTS]
    if layout not in (None, PICTURES, *known):
        raise OptionError(
            f"there is no layout {layout!r}; allowed are {PICTURES}, {', '.join(known)}", remedy=f"--layout {PICTURES}"
        )
    try:
        is_set = layout in known or (layout is None and any(known.fits(folder) for known in LAYOUTS))
    except OSError as error:
        raise CalibrationError(
            f"{folder} can't be looked into: {error.strerror}", remedy="check it and its permissions"
        ) from error
    if is_set:
        return _DataSetFrames(open_dataset(folder, layout=layout), str(folder.resolve()))
    return open_picture_folder(folder)


def _open_file(path: Path) -> FrameSource:
    suffix = path.suffix.lower()
    if not path.exists():
        raise CalibrationError(
            f"there is no {path}; a source is a folder, a video file, a camera's index or synthetic:N",
            remedy=f"check the path; the working folder is {Path.cwd()}",
        )
    if suffix in PHOTO_SUFFIXES:
        raise CalibrationError(
            f"{path} is one picture; scales found on one are wrong on others", remedy="name a folder of pictures"
        )
    if suffix not in VIDEO_SUFFIXES:
        raise CalibrationError(
            f"{path} is no video by its name; known are {', '.join(VIDEO_SUFFIXES)}",
            remedy="convert it to one of them, or name a folder of pictures (of a ROS bag: of its extracted frames)",
        )
    return open_video(path)


@dataclass(frozen=True, slots=True)
class _DataSetFrames:
    """A data set as calibration frames, with its true depth where that is in metres.

    Args:
        data_set: the set.
        place: where it lies; "" for rendered scenes.
    """

    data_set: DataSet
    place: str

    @property
    def name(self) -> str:
        """As of FrameSource: the set's name."""
        return self.data_set.name

    @property
    def identity(self) -> str:
        """As of FrameSource: changes with the set's place and the names of its samples."""
        listing = "\n".join((self.place, self.data_set.name, *self.data_set.sample_names))
        return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()

    @property
    def repeatable(self) -> bool:
        """As of FrameSource."""
        return True

    def __len__(self) -> int:
        return len(self.data_set.sample_names)

    def read(self, numbers: Sequence[int]) -> Iterator[SourceFrame | Unreadable]:
        """As of FrameSource."""
        names = self.data_set.sample_names
        for number in numbers:
            name = names[number].encode("utf-8", "backslashreplace").decode()  # file names needn't be UTF-8
            try:
                sample = self.data_set.load(names[number])
            except SampleError as error:
                yield Unreadable(number=number, name=name, reason=error.problem)
                continue
            depth = np.where(sample.valid, sample.depth_m, np.float32(0)) if self.data_set.metric else None
            yield SourceFrame(number=number, name=name, image=sample.image, focal_px=sample.focal_px, depth_m=depth)
