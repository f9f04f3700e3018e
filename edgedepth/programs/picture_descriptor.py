"""A picture in a few numbers, for the baseline that reads scale and shift off the picture instead of a caption."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.session import Array

__all__ = ["DESCRIPTOR", "picture_descriptor"]

_CELLS = 8

DESCRIPTOR = _CELLS * _CELLS * 4
"""Numbers of a picture."""


def picture_descriptor(rgb: npt.NDArray[np.uint8], relative: Array) -> Array:
    """8 x 8 means of red, green, blue and relative inverse depth.

    Args:
        rgb: (H, W, 3) uint8.
        relative: (h, w) float32, raw; of the same view at any size.

    Returns:
        (256,) float32.
    """
    small = cv2.resize(np.ascontiguousarray(rgb), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    depth = cv2.resize(np.ascontiguousarray(relative), (_CELLS, _CELLS), interpolation=cv2.INTER_AREA)
    return np.concatenate((np.asarray(small, np.float32).ravel() / np.float32(255), np.ravel(depth)))
