"""Resizing as torch.nn.functional.interpolate(mode="bicubic", align_corners=False, antialias=False) does it.

Keys' kernel with a = -0.75, which OpenCV's INTER_CUBIC has too; OpenCV rounds the sampling positions otherwise.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgedepth.core.session import Array

__all__ = ["resize_bicubic"]

_A = -0.75


def resize_bicubic(image: Array, size: tuple[int, int]) -> Array:
    """Resize with half-pixel centres and clamped edges, without antialiasing. Values overshoot at edges.

    Args:
        image: (H, W) or (H, W, C) float32, finite.
        size: (height, width) of the result.

    Returns:
        (height, width) or (height, width, C) float32, C-contiguous. Never a view of `image`.
    """
    resized = image
    # The cheaper order: rows that are fewer are made first.
    for axis in (0, 1) if size[0] <= image.shape[0] else (1, 0):
        if resized.shape[axis] != size[axis]:
            resized = _resize_axis(resized, size[axis], axis)
    return np.array(resized, order="C") if resized is image else np.ascontiguousarray(resized)


def _resize_axis(image: Array, new: int, axis: int) -> Array:
    taps, weights = _kernel(image.shape[axis], new)
    shape = [1] * image.ndim
    shape[axis] = new
    out: Array = np.take(image, taps[0], axis=axis)
    out *= weights[0].reshape(shape)
    for tap, weight in zip(taps[1:], weights[1:], strict=True):
        part = np.take(image, tap, axis=axis)
        part *= weight.reshape(shape)
        out += part
    return out


def _kernel(old: int, new: int) -> tuple[npt.NDArray[np.intp], Array]:
    """The four places that each new one is made of, and their weights: both (4, new)."""
    # In float32, as torch computes it: the weights follow its rounding.
    position = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * np.float32(old / new) - np.float32(0.5)
    first = np.floor(position)
    distance = np.abs((position - first)[None] - np.arange(-1, 3, dtype=np.float32)[:, None])
    near = ((_A + 2) * distance - (_A + 3)) * distance * distance + 1
    far = ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A
    places = first.astype(np.intp)[None] + np.arange(-1, 3)[:, None]
    return np.clip(places, 0, old - 1), np.where(distance <= 1, near, far).astype(np.float32)
