"""NYU Depth v2, the labelled frames: cs.nyu.edu/~silberman/datasets/nyu_depth_v2.html.

Layout::

    nyu_depth_v2_labeled.mat     HDF5: images (N, 3, W, H) uint8 and rawDepths (N, W, H) float32 in metres
    splits.mat                   optional: testNdxs, the official test split, counted from 1

The truth is `rawDepths`, what the Kinect measured projected onto the picture, inside of Eigen's crop, between 1 mm and
10 m: the protocol of Eigen et al. 2014 as github.com/cleinc/bts evaluates it. `depths`, the in-painted map, is a guess
where nothing was measured. The focal length is fx_rgb of the publishers' toolbox (camera_params.m).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedepth.core.errors import DataSetError, SampleError
from edgedepth.core.optional import require
from edgedepth.datasets.base import DataSet, FrameSet, Sample, make_sample, unique_frames

__all__ = ["fits", "open_set"]

_FRAMES, _SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
_FOCAL_PX = 518.85790117450188
_SIZE = (480, 640)
_EIGEN_CROP = np.s_[45:471, 41:601]  # rows, columns
_RANGE_M = (1e-3, 10.0)
_GET_AGAIN = "download it again"


@dataclass(frozen=True, slots=True)
class _Frame:
    file: Path
    index: int


def fits(folder: Path) -> bool:
    """Whether the publishers' file lies in the folder."""
    return (folder / _FRAMES).exists()


def open_set(folder: Path) -> DataSet:
    """The official test split ("nyuv2") if splits.mat lies beside, else all frames ("nyuv2:all").

    Samples are called by the frame's number counted from 1, "0001".

    Raises:
        DataSetError: a file is missing, damaged or another one.
        MissingExtraError: h5py isn't installed, or scipy is needed for the split and isn't.
    """
    file = folder / _FRAMES
    if not file.exists():
        raise DataSetError(
            f"there is no {file}", remedy="download it from the page that docs/how-to/data-sets.md names"
        )
    h5py = require("h5py", extra="datasets", purpose="to read NYU Depth v2")
    try:
        with h5py.File(file, "r") as content:
            count, counts = content["images"].shape[0], content["rawDepths"].shape[0]
    except (OSError, KeyError) as error:
        raise DataSetError(f"{file} is not NYU Depth v2, or is damaged: {error}", remedy=_GET_AGAIN) from error
    if count != counts:
        raise DataSetError(f"{file} has {count} pictures and {counts} depth maps", remedy=_GET_AGAIN)
    split = folder / _SPLITS
    numbers = _test_numbers(split, count) if split.exists() else range(1, count + 1)
    found = ((f"{number:04d}", _Frame(file, number - 1)) for number in numbers)
    frames = unique_frames(found, source=str(split if split.exists() else file), expected="frames")
    name = "nyuv2" if split.exists() else "nyuv2:all"
    return FrameSet(name=name, frames=frames, read=_read, max_depth_m=_RANGE_M[1])


def _test_numbers(split: Path, count: int) -> Sequence[int]:
    scipy_io = require("scipy.io", extra="datasets", purpose="to read NYU Depth v2's official split")
    try:
        numbers = [int(number) for number in np.ravel(scipy_io.loadmat(split)["testNdxs"])]
    except Exception as error:  # scipy raises anything over a damaged file
        raise DataSetError(f"{split} is not the official split, or is damaged: {error}", remedy=_GET_AGAIN) from error
    if outside := [number for number in numbers if not 1 <= number <= count]:
        raise DataSetError(f"{split} names frame {outside[0]}; there are {count}", remedy=_GET_AGAIN)
    return numbers


def _read(name: str, frame: _Frame) -> Sample:
    h5py = require("h5py", extra="datasets", purpose="to read NYU Depth v2")
    try:
        with h5py.File(frame.file, "r") as content:
            # MATLAB stores columns first: (3, W, H) and (W, H).
            image = np.ascontiguousarray(content["images"][frame.index].transpose(2, 1, 0))
            depth_m = content["rawDepths"][frame.index].T
    except OSError as error:
        raise SampleError(f"frame {name} of {frame.file} can't be read: {error}", remedy=_GET_AGAIN) from error
    if image.shape != (*_SIZE, 3):
        raise SampleError(
            f"frame {name} is of shape {image.shape}; Eigen's crop is defined for {_SIZE[1]} x {_SIZE[0]} pixels",
            remedy=_GET_AGAIN,
        )
    inside = np.zeros(_SIZE, np.bool_)
    inside[_EIGEN_CROP] = True
    counted = inside & (depth_m > _RANGE_M[0]) & (depth_m < _RANGE_M[1])
    return make_sample(name, image=image, depth_m=depth_m, focal_px=_FOCAL_PX, counted=counted)
