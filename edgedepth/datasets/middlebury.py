"""Middlebury stereo 2014: vision.middlebury.edu/stereo/data/scenes2014 and the evaluation's copy, /stereo/submit3.

Layout of a scene; a folder of scenes is one set::

    Motorcycle-perfect/im0.png
    Motorcycle-perfect/disp0.pfm          disparity of im0 in pixels, inf: unknown; disp0GT.pfm in the evaluation's copy
    Motorcycle-perfect/calib.txt          cam0=[f 0 cx; 0 f cy; 0 0 1], doffs= in pixels, baseline= in millimetres

Depth is Z = f * baseline / (disparity + doffs), as the page of the data set defines it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgedepth.core.errors import SampleError
from edgedepth.datasets.base import DataSet, FrameSet, Sample, make_sample, unique_frames
from edgedepth.datasets.files import folders_with, label, read_pfm, read_picture, read_text

__all__ = ["fits", "open_set"]

_PICTURE, _CALIBRATION, _DISPARITIES = "im0.png", "calib.txt", ("disp0.pfm", "disp0GT.pfm")
_BELOW: Sequence[str] = (".", "*")
_NUMBER = r"([-+.\deE]+)"
_FIELDS = {"cam0": rf"^cam0=\[{_NUMBER}\s", "doffs": rf"^doffs={_NUMBER}\s*$", "baseline": rf"^baseline={_NUMBER}\s*$"}


def fits(folder: Path) -> bool:
    """Whether a scene has a calib.txt and a picture im0.png."""
    return any((scene / _PICTURE).exists() for scene in folders_with(folder, _CALIBRATION, below=_BELOW))


def open_set(folder: Path) -> DataSet:
    """The left picture of each scene, called by the scene's folder.

    Raises:
        DataSetError: no scene.
    """
    found = ((label(scene, folder), scene) for scene in folders_with(folder, _PICTURE, below=_BELOW))
    frames = unique_frames(found, source=str(folder), expected=f"{_PICTURE}, {_DISPARITIES[0]} and {_CALIBRATION}")
    return FrameSet(name="middlebury", frames=frames, read=_read)


def _read(name: str, scene: Path) -> Sample:
    focal_px, doffs_px, baseline_m = _calibration(scene / _CALIBRATION)
    candidates = [scene / file for file in _DISPARITIES]
    disparity = read_pfm(next((path for path in candidates if path.exists()), candidates[0])).astype(np.float64)
    with np.errstate(divide="ignore"):  # infinitely far is unknown, as is an unknown disparity: inf gives 0 m
        depth_m = focal_px * baseline_m / (disparity + doffs_px)
    return make_sample(name, image=read_picture(scene / _PICTURE), depth_m=depth_m, focal_px=focal_px)


def _calibration(path: Path) -> tuple[float, float, float]:
    """Focal length and offset of the principal points in pixels, baseline in metres."""
    text = read_text(path)
    found = {field: re.search(pattern, text, re.MULTILINE) for field, pattern in _FIELDS.items()}
    values = {field: float(match[1]) for field, match in found.items() if match}
    if missing := _FIELDS.keys() - values.keys():
        raise SampleError(f"{path} has no {min(missing)}=", remedy="take it as the publishers made it")
    return values["cam0"], values["doffs"], values["baseline"] / 1000
