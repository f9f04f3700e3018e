"""From canonical inverse depth to metres: focal lengths and the pinhole camera. Pure functions.

Source: Depth Pro (arXiv 2410.02073), section 3.2, and infer() of github.com/apple/ml-depth-pro.
"""

from __future__ import annotations

import math
from numbers import Real

import numpy as np

from edgedepth.core.errors import OptionError, UnusableOutputError
from edgedepth.core.session import Array

__all__ = [
    "MAX_FOV_DEG",
    "MAX_INVERSE_DEPTH",
    "MIN_FOV_DEG",
    "MIN_INVERSE_DEPTH",
    "check_focal_px",
    "check_fov_deg",
    "check_positive_focal",
    "depth_from_inverse",
    "focal_px_from_fov",
    "fov_deg_from_focal",
    "metric_inverse_depth",
]

MIN_INVERSE_DEPTH = 1e-4
MAX_INVERSE_DEPTH = 1e4
"""Inverse depths in 1/m that the reference clamps to: depths lie in 0.1 mm to 10 km."""

MIN_FOV_DEG = 1.0
MAX_FOV_DEG = 170.0
"""Horizontal fields of view that a pinhole camera may have, given or predicted.

1 degree is a lens of 2000 mm on a 36 mm sensor. Rectilinear lenses end near 120 degrees; beyond 170 it is a mistake,
most often a focal length in millimetres.
"""

_ENDLESS = 1e9  # pixels; float() of a larger int may overflow, and its field of view is none anyway

_FOCAL_REMEDY = "pass the focal length in pixels of this frame, or None to let the model predict it"


def check_positive_focal(focal_px: object) -> float:
    """A caller's focal length in pixels, of a frame whose width isn't known yet.

    Raises:
        OptionError: not a positive number.
    """
    # bool is a number to Python; focal_px=True is a mistake to everybody else.
    number = isinstance(focal_px, Real) and not isinstance(focal_px, bool)
    # Compared before it is converted: float() of a huge int overflows.
    if not (number and 0 < focal_px < float("inf")):  # type: ignore[operator]
        raise OptionError(f"focal_px is {focal_px!r}; allowed are positive numbers, in pixels", remedy=_FOCAL_REMEDY)
    return float(min(focal_px, _ENDLESS))  # type: ignore[call-overload]


def check_focal_px(focal_px: object, width: int) -> float:
    """A caller's focal length in pixels of a frame `width` pixels wide.

    Raises:
        OptionError: not a positive number, or its field of view is outside MIN_FOV_DEG..MAX_FOV_DEG.
    """
    focal = check_positive_focal(focal_px)
    fov_deg = fov_deg_from_focal(focal, width)
    if not MIN_FOV_DEG <= fov_deg <= MAX_FOV_DEG:
        raise OptionError(
            f"focal_px is {focal_px!r}: on a frame {width} pixels wide that is a view of {fov_deg:.1f} degrees; "
            f"{MIN_FOV_DEG:g} to {MAX_FOV_DEG:g} are allowed (is it in millimetres?)",
            remedy=_FOCAL_REMEDY,
        )
    return focal


def check_fov_deg(fov_deg: float) -> float:
    """A predicted horizontal field of view in degrees.

    Raises:
        UnusableOutputError: NaN, infinite, or outside MIN_FOV_DEG..MAX_FOV_DEG.
    """
    if MIN_FOV_DEG <= fov_deg <= MAX_FOV_DEG:
        return float(fov_deg)
    raise UnusableOutputError(
        f"the model predicts a field of view of {fov_deg:g} degrees; usable are {MIN_FOV_DEG:g} to {MAX_FOV_DEG:g}",
        remedy="pass focal_px, the camera's focal length in pixels",
    )


def focal_px_from_fov(fov_deg: float, width: int) -> float:
    """Focal length in pixels of a frame `width` pixels wide with a horizontal field of view in degrees."""
    return 0.5 * width / math.tan(0.5 * math.radians(fov_deg))


def fov_deg_from_focal(focal_px: float, width: int) -> float:
    """Horizontal field of view in degrees of a frame `width` pixels wide with a focal length in pixels."""
    return math.degrees(2 * math.atan2(0.5 * width, focal_px))


def metric_inverse_depth(canonical: Array, focal_px: float, width: int) -> Array:
    """Scale canonical inverse depth to 1/m: canonical * width / focal_px.

    Args:
        canonical: float32, any shape: the inverse depth as if the focal length were the frame's width.
        focal_px: in pixels of the frame.
        width: of the frame, in pixels: of the original one, not of the model's input.

    Returns:
        A new float32 array of the same shape, all of it finite.

    Raises:
        UnusableOutputError: there are NaN or infinite values in it; told how many.
    """
    with np.errstate(over="ignore"):  # an overflow is infinite, and told as that
        inverse_depth = canonical * np.float32(width / focal_px)
    if math.isfinite(inverse_depth.min()) and math.isfinite(inverse_depth.max()):
        return inverse_depth
    bad = inverse_depth.size - int(np.isfinite(inverse_depth).sum())
    raise UnusableOutputError(
        f"{bad} of {inverse_depth.size} values of the model's inverse depth are NaN or infinite",
        remedy="check the bundle with 'edgedepth verify BUNDLE', or export it with --fp32",
    )


def depth_from_inverse(inverse_depth: Array) -> Array:
    """Depth in metres from inverse depth in 1/m, which is clamped to 1e-4..1e4 first, as the reference does.

    Returns:
        A new float32 array of the same shape.
    """
    depth = np.clip(inverse_depth, np.float32(MIN_INVERSE_DEPTH), np.float32(MAX_INVERSE_DEPTH))
    return np.reciprocal(depth, out=depth)
