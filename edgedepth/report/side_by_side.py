"""A photograph and its depth, side by side in one picture; and beside the true depth, where that is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.coloring import color_range, colorize, stamp
from edgedepth.core.session import Array
from edgedepth.result import DepthResult, write_picture

__all__ = ["beside_truth", "save_beside_truth", "save_overview", "save_side_by_side"]

_OVERVIEW_HEIGHT = 320
_WIDEST = 640  # pixels of one of three: a gallery is for looking at


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


def save_overview(pictures: Sequence[tuple[npt.NDArray[np.uint8], DepthResult]], path: Path) -> None:
    """Write several frames, each followed by its depth, in one row of one height.

    Args:
        pictures: (H, W, 3) uint8 RGB frames and their results, of any sizes.
        path: ends in .jpg or .png.

    Raises:
        OutputError: it can't be written.
    """
    panels = [panel for pixels_rgb, result in pictures for panel in (pixels_rgb[..., ::-1], result.colorize())]
    write_picture(path, np.hstack([_of_height(np.asarray(panel, np.uint8), _OVERVIEW_HEIGHT) for panel in panels]))


def beside_truth(pixels_rgb: npt.NDArray[np.uint8], true_m: Array, result: DepthResult) -> npt.NDArray[np.uint8]:
    """Frame, true depth and predicted depth side by side, both depths in one range of colours.

    The range is that of both together: a prediction of the wrong scale shows its shape, and in other colours.

    Args:
        pixels_rgb: (H, W, 3) uint8, the frame.
        true_m: (H, W) float32 in m; 0 where it isn't known, which becomes black.
        result: the prediction, of the same height and width.

    Returns:
        uint8 BGR; each of the three is at most 640 pixels wide.
    """
    near_m, far_m = color_range(np.hstack([true_m, result.depth]))
    truth, predicted = colorize(true_m, near_m, far_m), result.colorize(near_m, far_m)
    upper = slice(0, max(1, true_m.shape[0] // 3))  # a smaller word than on the whole picture
    stamp(truth[upper], "true")
    if result.trained:  # colorize() has stamped UNTRAINED there otherwise
        stamp(predicted[upper], "predicted")
    panels = [_shrunk(np.asarray(panel, np.uint8)) for panel in (pixels_rgb[..., ::-1], truth, predicted)]
    return np.hstack(panels)


def save_beside_truth(pixels_rgb: npt.NDArray[np.uint8], true_m: Array, result: DepthResult, path: Path) -> None:
    """Write what beside_truth() gives.

    Args:
        pixels_rgb: as of beside_truth.
        true_m: likewise.
        result: likewise.
        path: ends in .jpg or .png.

    Raises:
        OutputError: it can't be written.
    """
    write_picture(path, beside_truth(pixels_rgb, true_m, result))


def _shrunk(panel: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    height, width = panel.shape[:2]
    if width <= _WIDEST:
        return panel
    size = (_WIDEST, max(1, round(height * _WIDEST / width)))
    return np.asarray(cv2.resize(panel, size, interpolation=cv2.INTER_AREA), np.uint8)


def _of_height(panel: npt.NDArray[np.uint8], height: int) -> npt.NDArray[np.uint8]:
    size = (max(1, round(panel.shape[1] * height / panel.shape[0])), height)
    return np.asarray(cv2.resize(panel, size, interpolation=cv2.INTER_AREA), np.uint8)
