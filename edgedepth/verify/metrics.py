"""The figures that papers judge a depth map and a focal length by. Pure functions of numpy arrays.

Sources: Eigen et al. 2014 (arXiv 1406.2283), section 4.3, and the evaluation code that later papers share, for
delta, AbsRel, SqRel, RMSE and log-RMSE; the KITTI depth benchmark for SILog; MiDaS (arXiv 1907.01341), section 5,
for the alignment in inverse depth; Depth Pro (arXiv 2410.02073), section 4, for the focal length.

A data set's figure is the mean of its pictures' figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgedepth.core.errors import SampleError, UnusableOutputError
from edgedepth.programs.metric import MAX_INVERSE_DEPTH, MIN_INVERSE_DEPTH
from edgedepth.verify.depth_checks import Mask, RealArray, RealVector, valid_depths

__all__ = [
    "DELTA_RATIO",
    "DEPTH_RANGE_M",
    "DepthMetrics",
    "abs_rel",
    "align_linear",
    "align_median",
    "delta",
    "depth_metrics",
    "fit_linear",
    "focal_delta",
    "focal_error",
]

DELTA_RATIO = 1.25

DEPTH_RANGE_M = (1 / MAX_INVERSE_DEPTH, 1 / MIN_INVERSE_DEPTH)
"""The depths in m that an alignment is clamped to unless told otherwise: those that the models are clamped to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthMetrics:
    """One picture's figures; p is the predicted and t the true depth of a valid pixel, in m.

    Args:
        delta1: fraction of pixels with max(p / t, t / p) < 1.25.
        delta2: likewise < 1.25².
        delta3: likewise < 1.25³.
        abs_rel: mean of |p - t| / t.
        sq_rel: mean of (p - t)² / t, in m, as Eigen's evaluation has it (KITTI's benchmark divides by t²).
        log10: mean of |log10 p - log10 t|.
        rmse: root of the mean of (p - t)², in m.
        rmse_log: root of the mean of (ln p - ln t)².
        silog: 100 times the standard deviation of ln p - ln t, as KITTI's benchmark has it: blind to scale.
    """

    delta1: float
    delta2: float
    delta3: float
    abs_rel: float
    sq_rel: float
    log10: float
    rmse: float
    rmse_log: float
    silog: float


def depth_metrics(predicted_m: RealArray, true_m: RealArray, valid: Mask) -> DepthMetrics:
    """One picture's figures over its valid pixels.

    Args:
        predicted_m: (H, W) in m.
        true_m: (H, W) in m.
        valid: (H, W) bool: where both count.

    Raises:
        SampleError: sizes differ, no pixel is valid, or a valid true depth isn't finite and > 0.
        UnusableOutputError: a valid pixel's prediction isn't finite and > 0.
    """
    predicted, true = valid_depths(predicted_m, true_m, valid)
    difference = predicted - true
    log_ratio = np.log(predicted) - np.log(true)
    return DepthMetrics(
        delta1=delta(predicted, true, 1),
        delta2=delta(predicted, true, 2),
        delta3=delta(predicted, true, 3),
        abs_rel=abs_rel(predicted, true),
        sq_rel=float((difference**2 / true).mean()),
        log10=float(np.abs(log_ratio).mean()) / math.log(10),
        rmse=math.sqrt((difference**2).mean()),
        rmse_log=math.sqrt((log_ratio**2).mean()),
        silog=100 * float(log_ratio.std()),
    )


def abs_rel(predicted: RealArray, true: RealArray) -> float:
    """Mean of |p - t| / t over arrays of one shape, float64, finite and > 0."""
    return float((np.abs(predicted - true) / true).mean())


def delta(predicted: RealArray, true: RealArray, power: int = 1) -> float:
    """Fraction with max(p / t, t / p) < 1.25 ** power; arrays of one shape, float64, finite and > 0."""
    return float((np.maximum(predicted / true, true / predicted) < DELTA_RATIO**power).mean())


def align_median(predicted: RealArray, true_m: RealArray, valid: Mask) -> RealArray:
    """A prediction scaled so that its median over the valid pixels is the truth's.

    Args:
        predicted: (H, W) depth in any unit.
        true_m: (H, W) in m.
        valid: (H, W) bool.

    Returns:
        (H, W) float64 in m, outside `valid` too.

    Raises:
        SampleError, UnusableOutputError: as depth_metrics.
    """
    predictions, depths = valid_depths(predicted, true_m, valid)
    return predicted.astype(np.float64) * (np.median(depths) / np.median(predictions))


def align_linear(
    predicted: RealArray,
    true_m: RealArray,
    valid: Mask,
    *,
    inverse: bool = False,
    depth_range_m: tuple[float, float] = DEPTH_RANGE_M,
) -> RealArray:
    """A prediction with the scale and shift that bring it nearest to the truth, by least squares.

    A line can lead to depths of nothing or less, and beyond the horizon; so the result is clamped, as MiDaS does.

    Args:
        predicted: (H, W) depth in any unit.
        true_m: (H, W) in m.
        valid: (H, W) bool.
        inverse: fit 1 / predicted to 1 / true, as MiDaS does, instead of the depths.
        depth_range_m: nearest and farthest depth of the result. Papers take the data set's: 80 m for KITTI, 10 m for
            NYUv2.

    Returns:
        (H, W) float64 in m, outside `valid` too; NaN stays NaN there.

    Raises:
        SampleError, UnusableOutputError: as depth_metrics.
    """
    predictions, depths = valid_depths(predicted, true_m, valid)
    nearest_m, farthest_m = depth_range_m
    # What lies outside `valid` may be 0 or infinite, and is nobody's figure.
    with np.errstate(divide="ignore", invalid="ignore"):
        if not inverse:
            scale, shift = fit_linear(predictions, depths)
            return np.clip(scale * predicted.astype(np.float64) + shift, nearest_m, farthest_m)
        scale, shift = fit_linear(1 / predictions, 1 / depths)
        return 1 / np.clip(scale / predicted.astype(np.float64) + shift, 1 / farthest_m, 1 / nearest_m)


def fit_linear(values: RealVector, targets: RealVector) -> tuple[float, float]:
    """(scale, shift) with the least sum of (scale * value + shift - target)².

    Values that are all the same have no scale: it is 0, and the shift is the targets' mean.

    Args:
        values: (N,) float64, N >= 1.
        targets: (N,) float64.
    """
    mean, target_mean = float(values.mean()), float(targets.mean())
    # Asked of the values themselves: a rounded mean would leave a constant a variance of its own, and a wild scale.
    if values.min() == values.max():
        return 0.0, target_mean
    centred = values - mean
    scale = float(centred @ (targets - target_mean)) / float(centred @ centred)
    return scale, target_mean - scale * mean


def focal_error(predicted_px: float, true_px: float) -> float:
    """Relative error of a focal length: |predicted / true - 1|.

    Raises:
        SampleError: the true focal length isn't finite and > 0.
        UnusableOutputError: the predicted one isn't.
    """
    if not (math.isfinite(true_px) and true_px > 0):
        raise SampleError(
            f"the true focal length is {true_px:g} px; finite and above 0 is needed",
            remedy="correct the camera's intrinsics, or leave them out",
        )
    if not (math.isfinite(predicted_px) and predicted_px > 0):
        raise UnusableOutputError(
            f"the predicted focal length is {predicted_px:g} px; finite and above 0 is needed",
            remedy="check the bundle with 'edgedepth verify BUNDLE'",
        )
    return abs(predicted_px / true_px - 1)


def focal_delta(errors: Sequence[float], threshold: float) -> float:
    """Fraction of pictures whose focal_error lies below a threshold: 0.25 gives δ25 %, 0.5 gives δ50 %.

    Raises:
        SampleError: there are no errors to count.
    """
    if len(errors) == 0:
        raise SampleError(
            "no picture has a known focal length to compare with",
            remedy="leave this figure out, or give the camera's intrinsics",
        )
    return sum(error < threshold for error in errors) / len(errors)
