"""How sure a difference of two models is: a paired bootstrap over pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgedepth.core.session import Array

__all__ = ["CONFIDENCE", "RESAMPLES", "Interval", "paired_intervals"]

CONFIDENCE = 0.95
RESAMPLES = 2000
_SEED = 20241002  # the same pictures give the same interval on every machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean difference and where it would lie for other pictures of the same kind.

    Args:
        difference: mean over the pictures of candidate minus reference.
        low: end of the interval that holds it with CONFIDENCE.
        high: the other end.
        pictures: that have this figure for both.
    """

    difference: float
    low: float
    high: float
    pictures: int


def paired_intervals(
    candidate: Sequence[Mapping[str, float]], reference: Sequence[Mapping[str, float]]
) -> dict[str, Interval]:
    """Percentile bootstrap intervals of the mean difference, figure by figure.

    Pictures are drawn, and both models are looked at on the same ones: what is hard about a picture is hard for both
    and drops out of the difference (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13).

    Args:
        candidate: figures by name, picture by picture.
        reference: likewise, of the same pictures in the same order.

    Returns:
        By name; a figure that fewer than two pictures have isn't there: one picture says nothing of others.
    """
    names = dict.fromkeys(name for figures in candidate for name in figures)
    found = {}
    for name in names:
        pairs = [
            (mine[name], theirs[name])
            for mine, theirs in zip(candidate, reference, strict=True)
            if name in mine and name in theirs and math.isfinite(mine[name]) and math.isfinite(theirs[name])
        ]
        if len(pairs) >= 2:
            found[name] = _interval(np.array([mine - theirs for mine, theirs in pairs]))
    return found


def _interval(differences: Array) -> Interval:
    count = len(differences)
    generator = np.random.default_rng(_SEED)
    # A row at a time: a data set of ten thousand pictures would take 160 MB at once.
    means = [differences[generator.integers(0, count, count)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return Interval(difference=float(differences.mean()), low=float(low), high=float(high), pictures=count)
