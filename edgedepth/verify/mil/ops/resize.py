"""Resizing of the last two axes."""

from __future__ import annotations

import math

import numpy as np

from edgedepth.verify.mil.ops.registry import Array, op

__all__ = ["resize_bilinear", "resize_nearest_neighbor", "upsample_bilinear", "upsample_nearest_neighbor"]


@op("upsample_bilinear")
def upsample_bilinear(
    x: Array,
    scale_factor_height: Array | float = 1,
    scale_factor_width: Array | float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Array:
    """By factors. The step between samples is taken from the sizes, so a factor that was rounded doesn't show."""
    half_pixels = not align_corners if half_pixel_centers is None else bool(half_pixel_centers)
    if align_corners and half_pixels:
        raise ValueError("align_corners together with half_pixel_centers")
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half_pixels else "DEFAULT"
    sizes = _scaled(x, scale_factor_height, scale_factor_width)
    return _interpolate(_interpolate(x, sizes[0], -2, mode), sizes[1], -1, mode)


@op("resize_bilinear")
def resize_bilinear(
    x: Array, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Array:
    """To sizes."""
    rows = _interpolate(x, int(target_size_height), -2, sampling_mode)
    return _interpolate(rows, int(target_size_width), -1, sampling_mode)


@op("upsample_nearest_neighbor", moves=True)
def upsample_nearest_neighbor(
    x: Array, scale_factor_height: Array | float = 1, scale_factor_width: Array | float = 1
) -> Array:
    """By factors, each pixel repeated."""
    height, width = _scaled(x, scale_factor_height, scale_factor_width)
    return resize_nearest_neighbor(x, height, width)


@op("resize_nearest_neighbor", moves=True)
def resize_nearest_neighbor(x: Array, target_size_height: int, target_size_width: int) -> Array:
    """To sizes, each pixel repeated."""
    rows = np.take(x, _nearest(x.shape[-2], int(target_size_height)), -2)
    return np.take(rows, _nearest(x.shape[-1], int(target_size_width)), -1)


def _scaled(x: Array, height: Array | float, width: Array | float) -> tuple[int, int]:
    return math.floor(x.shape[-2] * float(height)), math.floor(x.shape[-1] * float(width))


def _nearest(size: int, target: int) -> Array:
    return np.arange(target) * size // target


def _interpolate(x: Array, target: int, axis: int, mode: str) -> Array:
    size = x.shape[axis]
    position = np.clip(_positions(size, target, mode), 0, size - 1)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, size - 1)
    weight = (position - below).astype(np.float32).reshape(-1, *[1] * (-1 - axis))
    lower = np.take(x, below, axis)
    mixed: Array = lower + (np.take(x, above, axis) - lower) * weight
    return mixed


def _positions(size: int, target: int, mode: str) -> Array:
    """Where the samples lie in the input, in pixels from the first one's centre (MIL's resize_bilinear)."""
    steps = np.arange(target, dtype=np.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if target == 1:
            return np.array([(size - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0])
        return steps * ((size - 1) / (target - 1))
    if mode == "UNALIGN_CORNERS":
        return (steps + 0.5) * (size / target) - 0.5
    if mode == "DEFAULT":
        return steps * (size / target)
    if mode == "OFFSET_CORNERS":
        return (steps + 0.5) * (max(1, size - 1) / target)
    raise ValueError(f"sampling mode {mode!r}")
