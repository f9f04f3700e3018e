"""DIODE: diode-dataset.org, Vasiljevic et al. 2019 (arXiv:1908.00463).

Layout; any of these folders can be the data set::

    val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010.png
    val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010_depth.npy         (768, 1024, 1) float32 metres
    val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010_depth_mask.npy    (768, 1024), 1 where depth is known
    val/outdoor/...

All pictures are crops by one computed camera: intrinsics.txt of github.com/diode-dataset/diode-devkit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgedepth.datasets.base import DataSet, FrameSet, Sample, make_sample, unique_frames
from edgedepth.datasets.files import read_npy, read_picture

__all__ = ["fits", "open_set"]

_FOCAL_PX = 886.81  # fx; fy is 927.06
_SCAN_BELOW = ("scan_*", "scene_*/scan_*", "*/scene_*/scan_*", "*/*/scene_*/scan_*")


def fits(folder: Path) -> bool:
    """Whether a scan lies in the folder or below."""
    return any(path.is_dir() for path in _scans(folder))


def open_set(folder: Path) -> DataSet:
    """Every picture, called by its path: "val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010".

    Raises:
        DataSetError: no pictures.
    """
    pictures = (picture for scan in sorted(_scans(folder)) for picture in sorted(scan.glob("*.png")))
    found = ((picture.relative_to(folder).with_suffix("").as_posix(), picture) for picture in pictures)
    frames = unique_frames(found, source=str(folder), expected="scene_*/scan_*/*.png")
    return FrameSet(name="diode", frames=frames, read=_read)


def _scans(folder: Path) -> Iterator[Path]:
    return (path for pattern in _SCAN_BELOW for path in folder.glob(pattern))


def _read(name: str, picture: Path) -> Sample:
    depth_m = read_npy(picture.with_name(f"{picture.stem}_depth.npy")).astype(np.float64)
    known = read_npy(picture.with_name(f"{picture.stem}_depth_mask.npy")) > 0
    return make_sample(name, image=read_picture(picture), depth_m=depth_m, focal_px=_FOCAL_PX, counted=known)
