"""A photograph and its depth, side by side in one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgedepth.result import DepthResult, write_picture

__all__ = ["save_side_by_side"]


def save_side_by_side(pixels_rgb: npt.NDArray[np.uint8], result: DepthResult, path: Path) -> None:
    """Write a PNG of twice the frame's width.

    Args:
        pixels_rgb: (H, W, 3) uint8, the frame.
        result: its depth, of the same height and width.
        path: ends in .png.

    Raises:
        OutputError: it can't be written.
    """
    write_picture(path, np.hstack([pixels_rgb[..., ::-1], result.colorize()]))
