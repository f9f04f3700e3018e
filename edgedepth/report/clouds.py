"""Depth as a browser draws points of it: 12 bits a pixel in a picture that a shader reads. Pure functions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edgedepth.core.session import Array

__all__ = ["CODES", "CloudRange", "cloud_range", "depth_codes"]

CODES = 4095
"""Codes of depths, from 1 on; 0 is a hole, or what lies out of the range."""

_LOSSLESS = 101  # above 100; a quarter smaller than PNG
_MARGIN = 1.25  # a candidate may lie nearer or farther than the reference, and shall be seen to


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudRange:
    """Depths that are drawn, in m; codes are even in their logarithm."""

    near_m: float
    far_m: float
    middle_m: float


def cloud_range(reference: Array) -> CloudRange | None:
    """What to draw of a picture: all but the farthest twentieth of the reference, with a margin; None of nothing.

    Args:
        reference: (H, W) in m, NaN for holes.
    """
    measured = reference[np.isfinite(reference)]
    if not measured.size:
        return None
    near, middle, far = np.percentile(measured.astype(np.float64), (0, 40, 95)).tolist()
    return CloudRange(near_m=near / _MARGIN, far_m=far * _MARGIN, middle_m=middle)


def depth_codes(depth: Array, drawn: CloudRange, side: int) -> tuple[bytes, tuple[int, int]]:
    """A lossless WebP whose red byte holds the upper 8 bits of a pixel's code, and whose green byte the lower 4.

    Args:
        depth: (H, W) in m, NaN for holes.
        drawn: the depths of codes 1 and CODES.
        side: pixels of the longest side; sampled, for a mean over an edge would be a point in the air.

    Returns:
        The WebP, and its width and height.
    """
    height, width = depth.shape
    scale = min(1.0, side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    sampled = cv2.resize(depth, size, interpolation=cv2.INTER_NEAREST)
    with np.errstate(invalid="ignore"):
        inside = (sampled >= drawn.near_m) & (sampled <= drawn.far_m)
    safe = np.where(inside, sampled, drawn.near_m).astype(np.float64)
    part = np.log(safe / drawn.near_m) / np.log(drawn.far_m / drawn.near_m)
    code = np.where(inside, 1 + np.rint(part * (CODES - 1)), 0).astype(np.uint16)
    picture = np.zeros((*code.shape, 3), np.uint8)  # BGR
    picture[..., 2], picture[..., 1] = code >> 4, code & 15
    _, content = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS])
    return content.tobytes(), (size[0], size[1])
