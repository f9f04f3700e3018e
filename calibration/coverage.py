"""What a calibration set covers: bright and dark, flat and contrasty, near and far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.calibration.set_index import FrameEntry

__all__ = ["Coverage", "Spread", "coverage_of", "luma_figures"]


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the frames of a set."""

    least: float
    median: float
    most: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Summary of a set's frames.

    Args:
        frames: how many.
        brightness: of the frames' mean luma, 0..1.
        contrast: of the standard deviation of their luma, 0..1.
        near_m: of the depth that 5 % of a frame lie before, in metres; None where no truth is known.
        far_m: of the depth that 5 % of a frame lie behind, in metres.
        with_depth: how many frames have a true depth.
    """

    frames: int
    brightness: Spread
    contrast: Spread
    near_m: Spread | None
    far_m: Spread | None
    with_depth: int


def luma_figures(image: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """Mean and standard deviation of a frame's luma, 0..1, rounded so that they are the same everywhere."""
    mean, deviation = cv2.meanStdDev(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
    return round(float(mean[0, 0]) / 255, 4), round(float(deviation[0, 0]) / 255, 4)


def coverage_of(frames: Sequence[FrameEntry]) -> Coverage:
    """Summarise frames, at least one."""
    depths = [entry.depth for entry in frames if entry.depth is not None]
    return Coverage(
        frames=len(frames),
        brightness=_spread([entry.brightness for entry in frames]),
        contrast=_spread([entry.contrast for entry in frames]),
        near_m=_spread([depth.near_m for depth in depths]) if depths else None,
        far_m=_spread([depth.far_m for depth in depths]) if depths else None,
        with_depth=len(depths),
    )


def _spread(values: Sequence[float]) -> Spread:
    return Spread(min(values), round(float(np.median(values)), 4), max(values))
