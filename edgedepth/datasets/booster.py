"""Booster: cvlab-unibo.github.io/booster-web, Ramirez et al. 2022 (arXiv:2206.04671), the scenes with truth.

Layout; the folder is a scene, one that holds scenes, or the unpacked archive::

    train/balanced/Bathroom/camera_00/im0.png       im1.png, ...: the same view under other lights
    train/balanced/Bathroom/disp_00.npy             (H, W) float32 disparity of camera_00 in pixels, 0: unknown
    train/balanced/Bathroom/calib_00-02.xml         proj_matL (3 x 4, pixels), baselineLR (millimetres)

Depth is Z = f * baselineLR / disparity, with the units of read_calib_xml in github.com/CVLAB-Unibo/Depth4ToM-code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgedepth.core.errors import SampleError
from edgedepth.datasets.base import DataSet, FrameSet, Sample, make_sample, unique_frames
from edgedepth.datasets.files import folders_with, label, pictures_in, read_npy, read_picture, read_text

__all__ = ["fits", "open_set"]

_CALIBRATION, _CAMERA, _DISPARITY = "calib_00-02.xml", "camera_00", "disp_00.npy"
_BELOW = (".", "*", "balanced/*", "train/balanced/*")


@dataclass(frozen=True, slots=True)
class _Frame:
    scene: Path
    picture: Path


def fits(folder: Path) -> bool:
    """Whether a scene with the calibration of cameras 00 and 02 is there."""
    return bool(folders_with(folder, _CALIBRATION, below=_BELOW))


def open_set(folder: Path) -> DataSet:
    """The left pictures of each scene, under every light: "train/balanced/Bathroom/camera_00/im0".

    Raises:
        DataSetError: no pictures.
    """
    scenes = folders_with(folder, _CAMERA, below=_BELOW)
    found = (frame for scene in scenes for frame in _frames(scene, label(scene, folder)))
    frames = unique_frames(found, source=str(folder), expected=f"{_CAMERA}/*.png, {_DISPARITY} and {_CALIBRATION}")
    return FrameSet(name="booster", frames=frames, read=_read)


def _frames(scene: Path, name: str) -> Iterator[tuple[str, _Frame]]:
    for picture in pictures_in(scene / _CAMERA):
        yield f"{name}/{_CAMERA}/{picture.stem}", _Frame(scene, picture)


def _read(name: str, frame: _Frame) -> Sample:
    focal_px, baseline_m = _calibration(frame.scene / _CALIBRATION)
    disparity = read_npy(frame.scene / _DISPARITY).astype(np.float64)
    with np.errstate(divide="ignore"):  # no disparity gives infinity: unknown
        depth_m = focal_px * baseline_m / disparity
    return make_sample(name, image=read_picture(frame.picture), depth_m=depth_m, focal_px=focal_px)


def _calibration(path: Path) -> tuple[float, float]:
    """Focal length in pixels and baseline in metres."""
    remedy = "take it as the publishers made it"
    text = read_text(path)
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        projection, baseline = storage.getNode("proj_matL").mat(), storage.getNode("baselineLR")
    except (cv2.error, SystemError) as error:  # OpenCV's constructors raise the second
        raise SampleError(f"{path} is no calibration that OpenCV can read", remedy=remedy) from error
    if projection is None or not (baseline.isReal() or baseline.isInt()):
        raise SampleError(f"{path} has no proj_matL or no baselineLR", remedy=remedy)
    return float(projection[0, 0]), baseline.real() / 1000
