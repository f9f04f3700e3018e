"""What a prediction and a true depth map must be before a figure is taken of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import SampleError, UnusableOutputError

__all__ = ["Mask", "RealArray", "RealVector", "check_prediction", "check_same_size", "valid_depths"]

RealArray = npt.NDArray[np.floating[Any]]
"""(H, W), of any floating dtype."""

RealVector = npt.NDArray[np.float64]
"""(N,) float64."""

Mask = npt.NDArray[np.bool_]
"""(H, W) bool."""


def valid_depths(predicted: RealArray, true: RealArray, valid: Mask) -> tuple[RealVector, RealVector]:
    """The valid pixels of a prediction and of the truth.

    Args:
        predicted: (H, W); whatever stands outside `valid` is not looked at.
        true: (H, W), likewise.
        valid: (H, W) bool.

    Returns:
        Predicted and true depths, each (N,) float64 with N >= 1, finite and > 0.

    Raises:
        SampleError: sizes differ, `valid` isn't bool or holds no pixel, or a valid true depth is no depth.
        UnusableOutputError: a valid pixel's prediction is no depth.
    """
    check_same_size(predicted, true, "the true depth")
    check_same_size(predicted, valid, "the mask of valid pixels")
    if valid.dtype != np.bool_:
        raise SampleError(
            f"the mask of valid pixels is {valid.dtype}; bool is needed",  # integers would index, not select
            remedy="compare it with the value that means valid: mask > 0",
        )
    if not valid.any():
        raise SampleError(
            f"none of the {valid.size} pixels has a true depth that is valid",
            remedy="leave this sample out, or look at the limits and the crop that decide what is valid",
        )
    depths = true[valid].astype(np.float64)
    bad = _count_no_depths(depths)
    if bad:
        raise SampleError(
            f"{bad} of {depths.size} true depths are NaN, infinite or not above 0, and are marked as valid",
            remedy="mark these pixels as invalid, or leave this sample out",
        )
    predictions = predicted[valid].astype(np.float64)
    check_prediction(predictions)
    return predictions, depths


def check_same_size(predicted: npt.NDArray[Any], other: npt.NDArray[Any], name: str) -> None:
    """Raise SampleError unless both are (H, W), of one size."""
    if predicted.ndim != 2 or predicted.shape != other.shape:
        raise SampleError(
            f"the prediction is {predicted.shape} and {name} {other.shape}; one size (H, W) is needed",
            remedy="give the picture, its depth and its masks in one size",
        )


def check_prediction(depths: RealArray) -> None:
    """Raise UnusableOutputError unless every predicted depth is finite and > 0."""
    bad = _count_no_depths(depths)
    if bad:
        raise UnusableOutputError(
            f"{bad} of {depths.size} predicted depths are NaN, infinite or not above 0",
            remedy="check the bundle with 'edgedepth verify BUNDLE'",
        )


def _count_no_depths(depths: RealArray) -> int:
    return depths.size - int(np.count_nonzero(np.isfinite(depths) & (depths > 0)))
