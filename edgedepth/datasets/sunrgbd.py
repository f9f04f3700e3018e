"""SUN RGB-D: rgbd.cs.princeton.edu, Song et al. 2015.

Layout; SUNRGBD or any folder of it is the data set::

    kv1/NYUdata/NYU0001/image/NYU0001.jpg
    kv1/NYUdata/NYU0001/depth_bfx/NYU0001.png       16-bit grey, bits turned left by three: millimetres; holes filled
    kv1/NYUdata/NYU0001/depth/NYU0001.png           the same as measured
    kv1/NYUdata/NYU0001/intrinsics.txt              3 x 3

The truth is what was measured, depth/, up to 10 m: what RSA's evaluation (arXiv 2410.02924) takes for rooms.
depth_bfx is read where there is no other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgedepth.core.errors import SampleError
from edgedepth.datasets.base import DataSet, FrameSet, Sample, make_sample, unique_frames
from edgedepth.datasets.files import pictures_in, read_picture, read_png16, read_text

__all__ = ["fits", "open_set"]

_RANGE_M = (1e-3, 10.0)
_INTRINSICS = "intrinsics.txt"
_DEEPEST = 7  # SUNRGBD/xtion/sun3ddata/mit_32_d507/d507_2/0000000-...
_DEPTHS = ("depth", "depth_bfx")


def fits(folder: Path) -> bool:
    """Whether a frame with its intrinsics and depth lies in the folder or below."""
    return bool(_frames(folder))


def open_set(folder: Path) -> DataSet:
    """Every frame, called by its folder: "kv1/NYUdata/NYU0001".

    Raises:
        DataSetError: no frames.
    """
    found = ((frame.relative_to(folder).as_posix(), frame) for frame in _frames(folder))
    frames = unique_frames(found, source=str(folder), expected="*/image, */depth and */intrinsics.txt")
    return FrameSet(name="sunrgbd", frames=frames, read=_read, max_depth_m=_RANGE_M[1])


def _frames(folder: Path) -> list[Path]:
    places = (path.parent for depth in range(1, _DEEPEST) for path in folder.glob("*/" * depth + "image"))
    return sorted(place for place in places if any((place / name).exists() for name in (_INTRINSICS, *_DEPTHS)))


def _read(name: str, frame: Path) -> Sample:
    pictures = pictures_in(frame / "image")
    if len(pictures) != 1:
        raise SampleError(
            f"{name} has {len(pictures)} pictures; one is needed", remedy="unpack it again, or take the sample out"
        )
    depths = [path for folder in _DEPTHS for path in pictures_in(frame / folder)]
    depth = depths[0] if depths else frame / _DEPTHS[0] / f"{pictures[0].stem}.png"
    turned = read_png16(depth, metres_per_unit=1).astype(np.uint16)
    # As the publishers' toolbox reads it (read3dPoints.m): the file's bits were turned left by three.
    depth_m = ((turned >> 3) | (turned << 13)).astype(np.float64) / 1000
    counted = (depth_m > _RANGE_M[0]) & (depth_m < _RANGE_M[1])
    image, focal_px = read_picture(pictures[0]), _focal_px(frame / _INTRINSICS)
    return make_sample(name, image=image, depth_m=depth_m, focal_px=focal_px, counted=counted)


def _focal_px(path: Path) -> float:
    try:
        values = np.array(read_text(path).split(), np.float64)
    except ValueError as error:
        raise SampleError(f"{path} holds no numbers", remedy="take it as the publishers made it") from error
    if values.size != 9:
        raise SampleError(f"{path} holds {values.size} numbers instead of 9", remedy="unpack it again")
    return float(values[0])
