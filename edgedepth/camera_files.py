"""Intrinsics from files: JSON, ROS's CameraInfo, OpenCV's FileStorage, a photograph's EXIF."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from edgedepth.cameras.camera_info_yaml import parse_camera_info
from edgedepth.cameras.intrinsics import Intrinsics, distortion_of
from edgedepth.core.errors import IntrinsicsError
from edgedepth.photos import PHOTO_SUFFIXES, Photo, read_photo

__all__ = ["camera_from_info", "intrinsics_from_photo", "read_intrinsics"]

_FORMS = "JSON, ROS CameraInfo YAML, OpenCV FileStorage, or a photograph with EXIF"
_FIELDS = ("fx", "fy", "cx", "cy", "width", "height")
_MAX_BYTES = 1 << 20
_MAX_SKEW = 1e-3
"""Of the focal length: a pixel at the edge of a picture. Fisheye calibrations have some 1e-5 of it."""


def read_intrinsics(path: str | os.PathLike[str]) -> Intrinsics:
    """Read a camera's description.

    Args:
        path: .json with fx, fy, cx, cy, width, height and if need be model and distortion; .yaml or .yml as ROS's
            camera_calibration writes it (image_width, camera_matrix, distortion_model, ...) or as OpenCV's FileStorage
            does (camera_matrix, distortion_coefficients, image_width, image_height, fisheye_model), .xml as the latter;
            a photograph whose EXIF tells its focal length.

    Raises:
        IntrinsicsError: it can't be read, lacks something, or describes no camera.
        PhotoError: a photograph that can't be read whole.
    """
    path = Path(path)
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return intrinsics_from_photo(read_photo(path))
    text = _text(path)
    try:
        if path.suffix.lower() == ".json":
            return _from_json(json.loads(text), path)
        if path.suffix.lower() == ".xml" or text.startswith("%YAML"):
            return _from_opencv(path)
        return camera_from_info(parse_camera_info(text), str(path))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise IntrinsicsError(f"{path} describes no camera: {reason}", remedy=f"allowed are {_FORMS}") from error


def intrinsics_from_photo(photo: Photo) -> Intrinsics:
    """A photograph's camera by its EXIF data: square pixels, the principal point in the middle, no distortion.

    Raises:
        IntrinsicsError: EXIF doesn't tell the focal length.
    """
    height, width = photo.pixels_rgb.shape[:2]
    if photo.focal_px is None:
        raise IntrinsicsError(
            f"{photo.path} doesn't tell its focal length: {photo.focal_source}", remedy="calibrate the camera"
        )
    return Intrinsics(
        fx=photo.focal_px,
        fy=photo.focal_px,
        cx=(width - 1) / 2,
        cy=(height - 1) / 2,
        width=width,
        height=height,
        source=photo.focal_source,
    )


def camera_from_info(info: Mapping[str, Any], source: str) -> Intrinsics:
    """Intrinsics from a CameraInfo's fields, as ROS's camera_calibration names them.

    Raises:
        KeyError, TypeError, ValueError: something is missing, or is no number.
        IntrinsicsError: it describes no camera.
    """
    for name in ("camera_matrix", "distortion_coefficients"):
        if not isinstance(info.get(name, {}), Mapping):
            raise TypeError(f"{name} is no matrix with rows, cols and data")
    k = _numbers(info["camera_matrix"]["data"], 9)
    model, distortion = distortion_of(
        str(info.get("distortion_model", "none")),
        _numbers(info.get("distortion_coefficients", {}).get("data", ())),
    )
    return _camera(k, (info["image_width"], info["image_height"]), model, distortion, source)


def _camera(
    k: Sequence[float], size: tuple[Any, Any], model: str, distortion: tuple[float, ...], source: str
) -> Intrinsics:
    """Of K's nine numbers, row by row."""
    if abs(k[1]) > _MAX_SKEW * abs(k[0]):
        raise ValueError(f"its axes are askew (K[1] is {k[1]:g}); pixels with a right angle are meant")
    width, height = (float(side) for side in size)
    if not (width.is_integer() and height.is_integer()):
        raise ValueError(f"its size is {width:g} x {height:g}; whole pixels are meant")
    return Intrinsics(
        fx=k[0],
        fy=k[4],
        cx=k[2],
        cy=k[5],
        width=int(width),
        height=int(height),
        model=model,
        distortion=distortion,
        source=source,
    )


def _from_json(data: Any, path: Path) -> Intrinsics:
    if not isinstance(data, dict):
        raise ValueError(f"got {type(data).__name__}, expected an object")
    if unknown := sorted(set(data) - {*_FIELDS, "model", "distortion"}):
        raise ValueError(f"unknown field {unknown[0]!r}")
    distortion = _numbers(data.get("distortion", ()))
    return Intrinsics(
        **{name: data[name] for name in _FIELDS},
        model=data.get("model", "plumb_bob" if distortion else "none"),
        distortion=distortion,
        source=str(path),
    )


def _from_opencv(path: Path) -> Intrinsics:
    try:
        matrix, coefficients, size, fisheye = _read_storage(path)
    except (cv2.error, SystemError) as error:  # OpenCV 5.0 raises the one within the other
        raise ValueError("OpenCV can't read it") from error
    if matrix is None or matrix.shape != (3, 3):
        raise KeyError("camera_matrix")
    values = () if coefficients is None else tuple(coefficients.ravel().tolist())
    name = "plumb_bob" if len(values) in (0, 4, 5) else "rational_polynomial"
    model, distortion = distortion_of("equidistant" if fisheye else name, values)
    return _camera(matrix.ravel().tolist(), size, model, distortion, str(path))


def _read_storage(path: Path) -> tuple[Any, Any, tuple[float, float], bool]:
    """K, coefficients, width and height, and whether fisheye_model says that they are of a fisheye."""
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    try:
        node = storage.getNode("distortion_coefficients")
        coefficients = None if node.empty() else node.mat()
        size = storage.getNode("image_width").real(), storage.getNode("image_height").real()
        fisheye = storage.getNode("fisheye_model")
        return (
            storage.getNode("camera_matrix").mat(), coefficients, size, not fisheye.empty() and fisheye.real() != 0
        )  # fmt: skip
    finally:
        storage.release()


def _numbers(values: Any, count: int | None = None) -> tuple[float, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"got {type(values).__name__} where a list of numbers is meant")
    if count is not None and len(values) != count:
        raise ValueError(f"got {len(values)} numbers where {count} are meant")
    return tuple(float(value) for value in values)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise IntrinsicsError(f"{path} is too large for a camera's description", remedy=f"allowed are {_FORMS}")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise IntrinsicsError(f"{path} can't be read: {error.strerror}", remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise IntrinsicsError(f"{path} is no text", remedy=f"allowed are {_FORMS}") from error
