"""How well a depth map's edges lie where the true ones do: Depth Pro's boundary metrics. Pure functions.

Source: Depth Pro (arXiv 2410.02073), section 3.3, and src/depth_pro/eval/boundary_metrics.py of
github.com/apple/ml-depth-pro. Where the two differ, the code is followed, since published figures come from it:

- precision and recall are the mean of those of the four directions, and not taken over all pairs at once. A
  direction without a contour counts as 0, so that even the truth itself scores below 1 in a picture that lacks
  one, and 0 in a picture without any;
- the weights are proportional to the ratios 1.05 to 1.25, and not to 5 to 25 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import SampleError
from edgedepth.verify.depth_checks import Mask, RealArray, check_prediction, check_same_size, valid_depths

__all__ = ["ALPHA_THRESHOLD", "RATIOS", "boundary_f1", "boundary_recall", "boundary_share"]

RATIOS = np.linspace(1.05, 1.25, 10)
"""Ratios of neighbouring depths from which on a contour is seen: 5 to 25 %."""

WEIGHTS = RATIOS / RATIOS.sum()

ALPHA_THRESHOLD = 0.1
"""Alpha above which a pixel of a matte belongs to the foreground."""

_Scalar = TypeVar("_Scalar", bound=np.generic)


def boundary_f1(predicted_m: RealArray, true_m: RealArray, valid: Mask) -> float:
    """Scale-invariant boundary F1 of a prediction against true depth.

    Between two neighbours lies an occluding contour if one is deeper than the other by more than t; which of them
    is the near one counts, so there are four directions. F1 is taken for ten t from 5 to 25 %, and averaged with
    more weight on the larger. Invalid pixels belong to no pair.

    Args:
        predicted_m: (H, W) in m, or in any unit.
        true_m: (H, W) in m.
        valid: (H, W) bool.

    Returns:
        0 to 1. 0 also for a picture that has no contour.

    Raises:
        SampleError: sizes differ, no pixel is valid, or a valid true depth isn't finite and > 0.
        UnusableOutputError: a valid pixel's prediction isn't finite and > 0.
    """
    valid_depths(predicted_m, true_m, valid)  # for its checks
    pairs = [near & far for near, far in _neighbours(valid)]
    predicted = [ratio[pair] for ratio, pair in zip(_ratios(predicted_m, valid), pairs, strict=True)]
    true = [ratio[pair] for ratio, pair in zip(_ratios(true_m, valid), pairs, strict=True)]
    # Both ratios are above a threshold if the smaller one is.
    agreeing = [np.minimum(p, t) for p, t in zip(predicted, true, strict=True)]
    found = _count_above(agreeing)
    precision = _mean_fraction(found, _count_above(predicted))
    recall = _mean_fraction(found, _count_above(true))
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(np.float64).tiny)  # 0 / 0 is 0
    return float(WEIGHTS @ f1)


def boundary_share(depth: RealArray, reference: RealArray) -> float:
    """Boundary F1 of a depth map against the reference's own edges, over the reference's F1 against itself.

    The reference alone scores below 1 where a picture has no edge in one of the four directions.

    Args:
        depth: (H, W) in m.
        reference: (H, W) in m.

    Returns:
        0 to 1; NaN for a reference without an edge.
    """
    if not np.isfinite(depth).all() or (depth <= 0).any():
        return 0.0
    everywhere = np.ones(depth.shape, np.bool_)
    best = boundary_f1(reference, reference, everywhere)
    return boundary_f1(depth, reference, everywhere) / best if best > 0 else math.nan


def boundary_recall(predicted_m: RealArray, mask: npt.NDArray[Any]) -> float:
    """Boundary recall of a prediction against the outline of a foreground mask.

    A mask tells of some contours only, so there is no precision. To charge for blurred edges all the same, of each
    run of predicted contours along a direction only the steepest counts (non-maximum suppression).

    Args:
        predicted_m: (H, W) in m, or in any unit.
        mask: (H, W): bool, or an alpha matte of 0 to 1, of which above 0.1 is foreground.

    Returns:
        0 to 1. 0 also for a mask that has no outline.

    Raises:
        SampleError: sizes differ, or the matte isn't within 0 to 1.
        UnusableOutputError: a prediction isn't finite and > 0.
    """
    check_same_size(predicted_m, mask, "the mask")
    check_prediction(predicted_m)
    outlines = [near & ~far for near, far in _neighbours(_foreground(mask))]
    ratios = list(_ratios(predicted_m, np.ones(predicted_m.shape, np.bool_)))
    found = np.array(
        [
            [np.count_nonzero(_steepest_of_runs(ratio, threshold) & outline) for threshold in RATIOS]
            for ratio, outline in zip(ratios, outlines, strict=True)
        ]
    )
    total = np.array([[np.count_nonzero(outline)] for outline in outlines])
    return float(WEIGHTS @ _mean_fraction(found, total))


def _neighbours(picture: npt.NDArray[_Scalar]) -> Iterator[tuple[npt.NDArray[_Scalar], npt.NDArray[_Scalar]]]:
    """(near, far) for each of four directions, where far is the right, left, lower, upper neighbour of near.

    The last axis runs along the direction: the vertical ones are transposed.
    """
    for rows in (picture, picture.T):
        yield rows[:, :-1], rows[:, 1:]
        yield rows[:, 1:], rows[:, :-1]


def _ratios(depth: RealArray, valid: Mask) -> Iterator[npt.NDArray[np.float64]]:
    """Far over near depth in the four directions; without meaning where a pixel isn't valid."""
    harmless = np.where(valid, depth.astype(np.float64), 1.0)
    return (far / near for near, far in _neighbours(harmless))


def _count_above(ratios: Iterable[npt.NDArray[np.float64]]) -> npt.NDArray[np.int64]:
    """(4, 10): by direction, how many ratios lie above each threshold."""
    return np.array([[np.count_nonzero(ratio > threshold) for threshold in RATIOS] for ratio in ratios])


def _mean_fraction(found: npt.NDArray[np.int64], total: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(10,): the mean over the directions of found / total, where 0 / 0 is 0."""
    return (found / np.maximum(total, 1)).mean(axis=0)  # type: ignore[no-any-return]


def _foreground(mask: npt.NDArray[Any]) -> Mask:
    if mask.dtype == np.bool_:
        return mask
    if not ((mask >= 0) & (mask <= 1)).all():  # False for NaN too
        raise SampleError(
            f"the matte ({mask.dtype}) has values outside 0 to 1",
            remedy="scale it to 0 to 1 (an 8-bit matte: divide by 255), or give a bool mask",
        )
    return np.asarray(mask > ALPHA_THRESHOLD)


def _steepest_of_runs(ratio: npt.NDArray[np.float64], threshold: float) -> Mask:
    """Of each run of ratios above a threshold along the last axis, the first largest one. (H, W) bool."""
    above = ratio > threshold
    starts = above.copy()
    starts[:, 1:] &= ~above[:, :-1]
    first = np.flatnonzero(starts[above])
    values, run = ratio[above], np.cumsum(starts[above])  # row by row, so that a run's values lie side by side
    # Sorted by run and then from the largest down; stable, so that the first of equals stays first.
    steepest = np.lexsort((-values, run))[first]
    kept = np.zeros(values.shape, np.bool_)
    kept[steepest] = True
    result = np.zeros(ratio.shape, np.bool_)
    result[above] = kept
    return result
