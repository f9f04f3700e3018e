"""What is looked at of a compared picture, as small encoded pictures. Pure functions of arrays.

Colour ranges are the caller's: comparable panels share theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.coloring import COLORMAPS, colorize
from edgedepth.core.session import Array

__all__ = [
    "EDGE_RATIO",
    "ERROR_CEILING",
    "depth_edges",
    "depth_panel",
    "depth_stops",
    "edge_panel",
    "error_limit",
    "error_panel",
    "error_size",
    "error_stops",
    "photo_panel",
    "signed_error",
]

EDGE_RATIO = 1.05
"""Neighbours of which one is at least this much deeper have an edge between them: Depth Pro's lowest threshold."""

ERROR_CEILING = 0.1
"""Errors of a tenth and more have the last colour: one broken picture shall not flatten all others."""

_ERROR_FLOOR = 1e-6  # of the range: below, float32's own noise would be drawn in full colours
_DECADES = 3  # of errors that are told apart on each side of 0
_WEBP = [cv2.IMWRITE_WEBP_QUALITY, 80]
_NOISY_WEBP = [cv2.IMWRITE_WEBP_QUALITY, 55]  # rounding errors are noise, and noise is what takes the bytes
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 80]

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

# ColorBrewer's RdBu, reversed: blue is nearer than the reference, red is farther, white is equal.
_DIVERGING = np.array(
    [(5, 48, 97), (33, 102, 172), (67, 147, 195), (146, 197, 222), (209, 229, 240), (247, 247, 247),
     (253, 219, 199), (244, 165, 130), (214, 96, 77), (178, 24, 43), (103, 0, 31)], np.float32
)  # fmt: skip


def photo_panel(rgb: Pixels, side: int) -> bytes:
    """A JPEG, its longest side at most `side`.

    Args:
        rgb: (H, W, 3).
        side: pixels.
    """
    return _encoded(".jpg", _shrunk(rgb[..., ::-1], side), _JPEG)


def depth_panel(depth: Array, near_m: float, far_m: float, side: int) -> bytes:
    """Depth by colour as a WebP; holes are transparent.

    Args:
        depth: (H, W) in m, NaN for holes.
        near_m: gets the warmest colour.
        far_m: gets the coldest.
        side: pixels of the longest side.
    """
    measured = np.isfinite(depth)
    return _with_holes(colorize(np.where(measured, depth, np.float32(0)), near_m, far_m), measured, side)


def depth_stops(count: int = 12) -> list[str]:
    """CSS colours of depth_panel() from near to far, evenly in inverse depth."""
    ramp = np.linspace(255, 0, count).astype(np.uint8)[None]
    return [f"rgb({r} {g} {b})" for b, g, r in cv2.applyColorMap(ramp, COLORMAPS["turbo"])[0].tolist()]


def signed_error(candidate: Array, reference: Array) -> Array:
    """(d - r) / r of two (H, W) depths in m: positive is farther than the reference; NaN where either is a hole."""
    return (candidate - reference) / reference


def error_size(error: Array) -> float:
    """The 99th percentile of |error|; 0 where all is holes."""
    seen = np.abs(error[np.isfinite(error)])
    return float(np.percentile(seen, 99)) if seen.size else 0.0


def error_limit(sizes: Sequence[float]) -> float:
    """One end of the colours for errors of all these sizes: the largest, at most ERROR_CEILING.

    Rounded up to 1, 2 or 5 times a power of ten, so that a legend can be read.
    """
    largest = min(max([*sizes, _ERROR_FLOOR]), ERROR_CEILING)
    power = 10.0 ** math.floor(math.log10(largest))
    # 1e-9: 0.1 / 0.1 may be a hair above 1.
    return min(next(step for step in (1, 2, 5, 10) if largest <= step * power * (1 + 1e-9)) * power, ERROR_CEILING)


def error_panel(error: Array, limit: float, side: int) -> bytes:
    """Signed error by colour as a WebP; holes are transparent.

    The scale is linear up to a thousandth of the limit and logarithmic beyond.

    Args:
        error: (H, W), relative; NaN for holes.
        limit: what gets the last colour.
        side: pixels of the longest side.
    """
    measured = np.isfinite(error)
    colors = _diverging(_squeezed(np.where(measured, error, np.float32(0)), limit))
    return _with_holes(colors, measured, side, _NOISY_WEBP)


def error_stops(limit: float, ticks: Sequence[float]) -> tuple[list[str], list[float]]:
    """CSS colours from -limit to limit, and where between 0 and 1 the ticks lie on them."""
    ramp = _diverging(np.linspace(-1, 1, 21, dtype=np.float32)[None])[0]
    places = (_squeezed(np.array(ticks, np.float32), limit) + 1) / 2
    return [f"rgb({r} {g} {b})" for b, g, r in ramp.tolist()], places.tolist()


def depth_edges(depth: Array) -> Mask:
    """(H, W): the pixels whose right or lower neighbour is EDGE_RATIO times as deep, or as near. Holes have no edge."""
    edges = np.zeros(depth.shape, np.bool_)
    edges[:, :-1] |= _apart(depth[:, :-1], depth[:, 1:])
    edges[:-1] |= _apart(depth[:-1], depth[1:])
    return edges


def edge_panel(edges: Mask, rgb: tuple[int, int, int], side: int) -> bytes:
    """Edges of one colour on nothing, as a WebP; three pixels wide, to be seen when they are shrunk."""
    wide = np.asarray(cv2.dilate(edges.astype(np.uint8), np.ones((3, 3), np.uint8)), np.uint8)
    picture = np.empty((*wide.shape, 4), np.uint8)
    picture[..., :3] = rgb[::-1]
    picture[..., 3] = wide * np.uint8(255)
    return _encoded(".webp", _shrunk(picture, side), _WEBP)


def _apart(here: Array, there: Array) -> Mask:
    """False beside a NaN."""
    return np.asarray(np.maximum(here, there) > EDGE_RATIO * np.minimum(here, there))


def _squeezed(error: Array, limit: float) -> Array:
    """-limit..limit to -1..1."""
    scale = 10**_DECADES
    sizes = np.log1p(np.abs(error) * (scale / limit)) / math.log1p(scale)
    return np.asarray(np.clip(np.copysign(sizes, error), -1, 1), np.float32)


def _diverging(values: Array) -> Pixels:
    """-1..1 to BGR."""
    steps = np.linspace(-1, 1, len(_DIVERGING))
    channels = [np.interp(values, steps, _DIVERGING[:, channel]) for channel in (2, 1, 0)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def _with_holes(bgr: Pixels, measured: Mask, side: int, options: Sequence[int] = _WEBP) -> bytes:
    if measured.all():
        return _encoded(".webp", _shrunk(bgr, side), options)
    return _encoded(".webp", _shrunk(np.dstack([bgr, measured * np.uint8(255)]), side), options)


def _shrunk(picture: npt.NDArray[np.uint8], side: int) -> Pixels:
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _encoded(suffix: str, picture: Pixels, options: Sequence[int]) -> bytes:
    _, content = cv2.imencode(suffix, picture, options)
    return content.tobytes()
