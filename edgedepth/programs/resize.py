"""Resizing as torch.nn.functional.interpolate(mode="bilinear", align_corners=False, antialias=False) does it.

cv2.resize with INTER_LINEAR means the same and is ten times faster than numpy, but it rounds the sampling
positions otherwise, and its accelerated variants (IPP, others on ARM) each in their own way: at a side of 7680
that is 3e-4 of the range on noise. Where the ratio of the sizes makes every position exact in float32 there is
nothing to round (1080p, 4K and 8K to 1536; VGA, 1080p to 512): cv2 does those, numpy the others.
"""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.session import Array

__all__ = ["resize_bilinear", "shrink"]

# Rows that are worked on together: small enough for the intermediate results to stay in the cache.
_BLOCK = 16


def resize_bilinear(image: Array, size: tuple[int, int], *, align_corners: bool = False) -> Array:
    """Resize with half-pixel centres and clamped edges, without antialiasing.

    Args:
        image: (H, W) or (H, W, C) float32, finite.
        size: (height, width) of the result.
        align_corners: corner pixels become corner pixels instead, as torch's align_corners=True has it.

    Returns:
        (height, width) or (height, width, C) float32, C-contiguous, within 1e-5 of the range of torch's result.
        Never a view of `image`.
    """
    height, width = size
    if image.shape[:2] == (height, width):
        return np.array(image, order="C")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if not align_corners and _exact(image.shape[0], height) and _exact(image.shape[1], width) and channels <= 4:
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        return resized.reshape(height, width, *image.shape[2:])  # type: ignore[return-value]  # cv2 drops an axis of 1
    pixels = image if image.ndim == 3 else image[..., None]
    # The cheaper order: shrink the rows before the columns are touched, and grow them after.
    if height <= image.shape[0]:
        resized = _resize_columns(_resize_rows(pixels, height, align_corners), width, align_corners)
    else:
        resized = _resize_rows(_resize_columns(pixels, width, align_corners), height, align_corners)
    return resized if image.ndim == 3 else resized[..., 0]


def shrink(planes: Array, out: Array) -> None:
    """Write planes at a half or a quarter of their size, as torch's interpolate(scale_factor=...) does.

    Each result is the mean of the two by two pixels in the middle of its block: of all four at a half, of the
    inner four of sixteen at a quarter.

    Args:
        planes: (C, S, S) float32.
        out: (C, S / 2, S / 2) or (C, S / 4, S / 4) float32, C-contiguous.
    """
    for plane, smaller in zip(planes, out, strict=True):
        cv2.resize(plane, smaller.shape[::-1], dst=smaller, interpolation=cv2.INTER_LINEAR)


def _exact(old: int, new: int) -> bool:
    """Whether every sampling position (i + 1/2) * old / new - 1/2 is a float32 without rounding."""
    denominator = Fraction(old, new).denominator
    dyadic = denominator & (denominator - 1) == 0
    return dyadic and 2 * denominator * max(old, new) <= 2**24


def _positions(old: int, new: int, align_corners: bool) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Array]:
    """For each new pixel its two old neighbours and the weight of the second.

    torch computes the position in float32 with one rounding (a fused multiply-add) from a ratio that is itself
    rounded to float32. At a side of 7680 one more rounding shows as 3e-4 of the range, so this follows it.
    """
    if align_corners:
        position = np.arange(new, dtype=np.float32) * (np.float32(old - 1) / np.float32(max(new - 1, 1)))
    else:
        ratio = np.float64(np.float32(old) / np.float32(new))
        position = np.maximum(((np.arange(new) + 0.5) * ratio - 0.5).astype(np.float32), 0)
    first = np.minimum(position.astype(np.intp), old - 1)
    second = np.minimum(first + 1, old - 1)
    return first, second, position - first.astype(np.float32)


def _resize_rows(image: Array, height: int, align_corners: bool) -> Array:
    first, second, weight = _positions(image.shape[0], height, align_corners)
    out = np.empty((height, *image.shape[1:]), np.float32)
    scratch = np.empty((_BLOCK, *image.shape[1:]), np.float32)
    for start in range(0, height, _BLOCK):
        block = slice(start, min(start + _BLOCK, height))
        near, far = out[block], scratch[: block.stop - start]
        # mode="clip" spares a buffered copy; the indices are inside as it is.
        np.take(image, first[block], axis=0, out=near, mode="clip")
        np.take(image, second[block], axis=0, out=far, mode="clip")
        _blend(near, far, weight[block, None, None])
    return out


def _resize_columns(image: Array, width: int, align_corners: bool) -> Array:
    first, second, weight = _positions(image.shape[1], width, align_corners)
    weights = np.repeat(weight[:, None], image.shape[2], axis=1)
    out = np.empty((image.shape[0], width, image.shape[2]), np.float32)
    scratch = np.empty((_BLOCK, *out.shape[1:]), np.float32)
    for start in range(0, image.shape[0], _BLOCK):
        block = slice(start, min(start + _BLOCK, image.shape[0]))
        near, far = out[block], scratch[: block.stop - start]
        np.take(image[block], first, axis=1, out=near, mode="clip")
        np.take(image[block], second, axis=1, out=far, mode="clip")
        _blend(near, far, weights)
    return out


def _blend(near: Array, far: Array, weight: Array) -> None:
    """near += (far - near) * weight, in place; far is used up."""
    far -= near
    far *= weight
    near += far
