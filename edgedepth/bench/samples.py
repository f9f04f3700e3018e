"""Pure functions of timed frames: quantiles, whether they have settled, whether they drift."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

import numpy as np

from edgedepth.core.runs import Quantiles

__all__ = ["STEADY", "drift", "is_steady", "quantiles", "unsteadiness"]

STEADY = 0.05
"""Medians of neighbouring frames that are nearer than this are the same."""

_WINDOW = 3
_SLOW_MS = 5e3  # of these, one frame says as much as three of the others


def quantiles(samples_ms: Sequence[float]) -> Quantiles:
    """Of one sample or more; between samples it is interpolated."""
    p50, p90, p99 = np.quantile(samples_ms, (0.5, 0.9, 0.99))
    return Quantiles(p50_ms=float(p50), p90_ms=float(p90), p99_ms=float(p99), mean_ms=float(np.mean(samples_ms)))


def unsteadiness(samples_ms: Sequence[float]) -> float | None:
    """By how much the last frames' median differs from that of those before; None while there are too few."""
    window = 1 if samples_ms and min(samples_ms) > _SLOW_MS else _WINDOW
    if len(samples_ms) < 2 * window:
        return None
    before, last = median(samples_ms[-2 * window : -window]), median(samples_ms[-window:])
    return abs(last / before - 1)


def is_steady(samples_ms: Sequence[float]) -> bool:
    """Whether warming up is over."""
    moved = unsteadiness(samples_ms)
    return moved is not None and moved <= STEADY


def drift(samples_ms: Sequence[float]) -> float:
    """How much slower the second half is than the first, by their medians: 0.1 is 10 %; 0 for fewer than six frames."""
    half = len(samples_ms) // 2
    return median(samples_ms[-half:]) / median(samples_ms[:half]) - 1 if half >= _WINDOW else 0.0
