"""ETH3D, high-resolution multi-view: www.eth3d.net/documentation, the training scenes' original JPEGs with their depth.

Layout; the folder is a scene or holds scenes::

    courtyard/images/dslr_images/DSC_0286.JPG
    courtyard/ground_truth_depth/dslr_images/DSC_0286.JPG       no picture: float32 metres row by row, inf: unknown
    courtyard/dslr_calibration_jpg/cameras.txt, images.txt      COLMAP's text format

The pictures are distorted a little (THIN_PRISM_FISHEYE), and depth is rendered for them as they are; the focal length
is fx, which holds at the picture's centre. Depth lies on the pixels as they are stored, so pictures are not turned
upright.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import SampleError
from edgedepth.core.optional import require
from edgedepth.datasets.base import DataSet, FrameSet, Sample, make_sample, unique_frames
from edgedepth.datasets.files import folders_with, label, pictures_in, read_bytes, read_floats, read_picture, read_text

__all__ = ["fits", "open_set"]

_PICTURES, _CALIBRATION = "images/dslr_images", "dslr_calibration_jpg"
_ORIENTATION = 0x0112
_QUARTER_TURNS_BACK = {3: 2, 6: 1, 8: 3}  # counter-clockwise, from upright to as stored, by EXIF orientation
_REMEDY = "take the file as the publishers made it"


@dataclass(frozen=True, slots=True)
class _Frame:
    scene: Path
    picture: Path


def fits(folder: Path) -> bool:
    """Whether a scene with the calibration of the JPEGs is there."""
    return bool(folders_with(folder, _CALIBRATION))


def open_set(folder: Path) -> DataSet:
    """The pictures of each scene, called like "courtyard/DSC_0286".

    Raises:
        DataSetError: no pictures.
    """
    scenes = folders_with(folder, _PICTURES)
    found = (frame for scene in scenes for frame in _frames(scene, label(scene, folder)))
    frames = unique_frames(found, source=str(folder), expected=f"{_PICTURES}, ground_truth_depth and {_CALIBRATION}")
    return FrameSet(name="eth3d", frames=frames, read=_read)


def _frames(scene: Path, name: str) -> Iterator[tuple[str, _Frame]]:
    for picture in pictures_in(scene / _PICTURES):
        yield f"{name}/{picture.stem}", _Frame(scene, picture)


def _read(name: str, frame: _Frame) -> Sample:
    depth = frame.scene / "ground_truth_depth" / "dslr_images" / frame.picture.name
    image = _as_stored(frame.picture)
    depth_m = read_floats(depth, read_bytes(depth), (image.shape[0], image.shape[1]))
    return make_sample(name, image=image, depth_m=depth_m, focal_px=_focal_px(frame))


def _as_stored(path: Path) -> npt.NDArray[np.uint8]:
    upright = read_picture(path)
    with require("PIL.Image", extra="cli", purpose="to read pictures").open(path) as image:
        orientation = image.getexif().get(_ORIENTATION, 1)
    return np.ascontiguousarray(np.rot90(upright, _QUARTER_TURNS_BACK.get(orientation, 0)))


def _focal_px(frame: _Frame) -> float:
    """The first parameter of the picture's camera, which is fx or f in all of COLMAP's models."""
    calibration = frame.scene / _CALIBRATION
    cameras = {words[0]: words for words in _rows(calibration / "cameras.txt")}
    if len(cameras) == 1:
        (words,) = cameras.values()
    else:
        words = cameras.get(_camera_of(frame, calibration / "images.txt"), [])
    try:
        return float(words[4])  # CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]
    except (IndexError, ValueError) as error:
        raise SampleError(
            f"{calibration / 'cameras.txt'} has no camera for {frame.picture.name}", remedy=_REMEDY
        ) from error


def _camera_of(frame: _Frame, path: Path) -> str:
    """CAMERA_ID of images.txt's "IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", or nothing."""
    rows = (words for words in _rows(path) if len(words) == 10)
    return next((words[8] for words in rows if words[9] == f"dslr_images/{frame.picture.name}"), "")


def _rows(path: Path) -> Iterator[list[str]]:
    return (line.split() for line in read_text(path).splitlines() if line.strip() and not line.startswith("#"))
