"""Depth as a picture for people: near is warm, far is cold. Pure functions.

Colours go by inverse depth, in which a model's error is about even: by depth, the sky would take them all.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import OptionError
from edgedepth.core.session import Array

__all__ = ["COLORMAPS", "check_range", "color_range", "colorize", "stamp"]

COLORMAPS = {
    "turbo": cv2.COLORMAP_TURBO,
    "inferno": cv2.COLORMAP_INFERNO,
    "magma": cv2.COLORMAP_MAGMA,
    "plasma": cv2.COLORMAP_PLASMA,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "cividis": cv2.COLORMAP_CIVIDIS,
}

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PERCENTILES = (2.0, 98.0)
_NARROWEST = 1.01  # far / near: a flat wall shall be one colour and not the noise on it
_FALLBACK_RANGE = (1.0, 10.0)  # in m, where nothing is measured: any will do
_SAMPLES = 1 << 18  # percentiles of a quarter of a million pixels take some 10 ms

Picture = npt.NDArray[np.uint8]


def color_range(depth: Array) -> tuple[float, float]:
    """Nearest and farthest metres worth telling apart: the 2nd and 98th percentile of inverse depth.

    Args:
        depth: (H, W) float32 in m. NaN and what isn't above 0 is left out. Large frames are sampled on a grid.

    Returns:
        near_m and far_m, both positive and finite, far_m at least 1 % beyond near_m.
    """
    step = max(1, math.isqrt(depth.size // _SAMPLES))
    sampled = depth[::step, ::step]
    measured = sampled[(sampled > 0) & np.isfinite(sampled)]
    if not measured.size:
        return _FALLBACK_RANGE
    far_inverse, near_inverse = np.percentile(1 / measured.astype(np.float64), _PERCENTILES)
    near_m = float(1 / near_inverse)
    return near_m, max(float(1 / far_inverse), near_m * _NARROWEST)


def colorize(depth: Array, near_m: float | None = None, far_m: float | None = None, colormap: str = "turbo") -> Picture:
    """Colour a depth map by inverse depth.

    Args:
        depth: (H, W) float32 in m. NaN and what isn't above 0 becomes black.
        near_m: what gets the warmest colour, and everything nearer too. None: color_range().
        far_m: what gets the coldest colour, and everything farther too. None: color_range().
        colormap: one of COLORMAPS.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        OptionError: an unknown colormap, or a range that isn't 0 < near_m < far_m.
    """
    if colormap not in COLORMAPS:
        raise OptionError(f"colormap is {colormap!r}; allowed are {', '.join(COLORMAPS)}", remedy="colormap='turbo'")
    near, far = _resolve_range(depth, near_m, far_m)
    measured = depth > 0
    inverse = np.divide(np.float32(1), depth, out=np.zeros_like(depth), where=measured)
    warmth = (inverse - np.float32(1 / far)) * np.float32(255 / (1 / near - 1 / far))
    picture = cv2.applyColorMap(np.rint(np.clip(warmth, 0, 255)).astype(np.uint8), COLORMAPS[colormap])
    picture[~measured] = 0
    return np.asarray(picture, np.uint8)


def stamp(picture: Picture, text: str) -> None:
    """Write a word into a BGR picture's upper left corner, white on black, as large as the picture bears."""
    height, width = picture.shape[:2]
    (unit_width, unit_height), _ = cv2.getTextSize(text, _FONT, 1.0, 2)
    scale = min(0.6 * width / unit_width, 0.15 * height / unit_height)
    thickness = max(1, round(2 * scale))
    (text_width, text_height), below = cv2.getTextSize(text, _FONT, scale, thickness)
    margin = 1 + text_height // 3
    corner = (text_width + 2 * margin, text_height + below + 2 * margin)
    cv2.rectangle(picture, (0, 0), corner, (0, 0, 0), cv2.FILLED)
    cv2.putText(picture, text, (margin, margin + text_height), _FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)


def check_range(near_m: float | None, far_m: float | None) -> None:
    """Refuse a range that isn't 0 < near_m < far_m; None is an end that nobody gave.

    Raises:
        OptionError: naming it.
    """
    for name, value in (("near_m", near_m), ("far_m", far_m)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise OptionError(f"{name} is {value}; allowed are metres above 0", remedy=f"or leave {name} out")
    if near_m is not None and far_m is not None and near_m >= far_m:
        raise OptionError(f"near_m is {near_m} and far_m {far_m}; near_m must be smaller", remedy="swap them")


def _resolve_range(depth: Array, near_m: float | None, far_m: float | None) -> tuple[float, float]:
    check_range(near_m, far_m)
    if near_m is not None and far_m is not None:
        return near_m, far_m
    near, far = color_range(depth)
    if near_m is not None:
        return near_m, max(far, near_m * _NARROWEST)
    if far_m is not None:
        return min(near, far_m / _NARROWEST), far_m
    return near, far
