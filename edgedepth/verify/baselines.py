"""Predictors that never look at the picture: what a model has to beat.

They are fitted on the very set that they are scored on, so they are flattered: no camera knows its test set's median.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.session import Array

__all__ = [
    "BASELINES",
    "CONSTANT_DEPTH",
    "CONSTANT_FOV",
    "GRID",
    "MEAN_DEPTH_MAP",
    "BaselineFit",
    "Baselines",
    "SampleDepths",
    "depths_of",
]

CONSTANT_DEPTH = "constant_depth"
MEAN_DEPTH_MAP = "mean_depth_map"
CONSTANT_FOV = "constant_fov"
BASELINES = (CONSTANT_DEPTH, MEAN_DEPTH_MAP, CONSTANT_FOV)
"""In the order in which they are shown."""

GRID = (24, 32)
"""Rows and columns of the mean depth map: pictures of every size are brought to it."""

# The median of a set that doesn't fit in memory: of a histogram of log depth, in bins 0.1 % wide.
_LOG_NEAREST = math.log(1e-6)
_LOG_BIN = 1e-3
_BINS = round((math.log(1e6) - _LOG_NEAREST) / _LOG_BIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baselines:
    """What was fitted on a set.

    Args:
        constant_m: median of all valid depths of the set in m, to 0.1 %.
        mean_map_m: mean of the valid depths in each cell of a coarse grid over the picture (GRID), in m.
        focal_per_width: median of focal length over picture width (1 / (2 tan(FOV / 2))); None where no sample knows
            its focal length.
    """

    constant_m: float
    mean_map_m: tuple[tuple[float, ...], ...]
    focal_per_width: float | None

    def depths(self, height: int, width: int) -> dict[str, Array]:
        """What they say for a picture: (H, W) float32 in m, by name."""
        grid = np.asarray(self.mean_map_m, np.float32)
        return {
            CONSTANT_DEPTH: np.full((height, width), self.constant_m, np.float32),
            MEAN_DEPTH_MAP: cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR),  # type: ignore[dict-item]
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampleDepths:
    """What a fit needs of one sample: some kilobytes, that may come from another machine.

    Args:
        bins: (N,) int64, the bins of log depth that occur.
        counts: (N,) int64, how often.
        total: GRID float64, sum of depth in each cell, in m.
        weight: GRID float64, share of valid pixels.
        focal_per_width: None if unknown.
    """

    bins: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    total: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    focal_per_width: float | None


def depths_of(depth_m: Array, valid: npt.NDArray[np.bool_], focal_px: float | None) -> SampleDepths:
    """Count one sample.

    Args:
        depth_m: (H, W) float32 in m, positive where valid.
        valid: (H, W) bool; one pixel at least.
        focal_px: horizontal, in pixels; None if unknown.
    """
    bins = ((np.log(depth_m[valid].astype(np.float64)) - _LOG_NEAREST) / _LOG_BIN).astype(np.int64)
    counts = np.bincount(np.clip(bins, 0, _BINS - 1), minlength=_BINS)
    present = np.flatnonzero(counts)
    return SampleDepths(
        bins=present,
        counts=counts[present],
        total=_shrink(np.where(valid, depth_m, 0).astype(np.float64)),
        weight=_shrink(valid.astype(np.float64)),
        focal_per_width=None if focal_px is None else focal_px / depth_m.shape[1],
    )


class BaselineFit:
    """Gathers a set sample by sample; memory doesn't grow with it. The order decides the last bits of the sums."""

    def __init__(self) -> None:
        self._histogram = np.zeros(_BINS, np.int64)
        self._sum = np.zeros(GRID, np.float64)
        self._weight = np.zeros(GRID, np.float64)
        self._focal_per_width: list[float] = []

    def add(self, sample: SampleDepths) -> None:
        """Count one sample."""
        self._histogram[sample.bins] += sample.counts
        self._sum += sample.total
        self._weight += sample.weight
        if sample.focal_per_width is not None:
            self._focal_per_width.append(sample.focal_per_width)

    def finish(self) -> Baselines | None:
        """What came out; None if nothing was added."""
        counts = np.cumsum(self._histogram)
        if not counts[-1]:
            return None
        median_bin = int(np.searchsorted(counts, (counts[-1] + 1) // 2))
        constant = math.exp(_LOG_NEAREST + (median_bin + 0.5) * _LOG_BIN)
        # A cell that is valid in no sample is never scored; the constant stands in for it.
        grid = np.divide(self._sum, self._weight, out=np.full(GRID, constant), where=self._weight > 0)
        return Baselines(
            constant_m=constant,
            mean_map_m=tuple(tuple(row) for row in grid.tolist()),
            focal_per_width=_median(self._focal_per_width),
        )


def _shrink(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """To the grid, each cell the mean of what it covers."""
    rows, columns = GRID
    return np.asarray(cv2.resize(values, (columns, rows), interpolation=cv2.INTER_AREA), np.float64)


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
