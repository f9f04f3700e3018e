"""Depth Pro's training losses on canonical inverse depth.

Source: Depth Pro (arXiv 2410.02073), section 3.2; the normalisation is MiDaS's (arXiv 1907.01341, section 5).

Every map is (N, 1, H, W), every mask bool of the same shape, and N images give one scalar: the mean over the images of
each image's own mean over its valid pixels. An image without a valid pixel is refused. What stands under an invalid
pixel, NaN included, changes neither a loss nor a gradient. All is computed in float32 or, if a map is float64, in
float64; autocast is off inside.

What the paper leaves open is settled so:

* ∇_S is Scharr's pair of 3×3 kernels, scaled so that a slope of one per pixel gives one (3, 10, 3 over 32);
  |∇_S|^p is |∂x|^p + |∂y|^p. ∇_L is the Laplacian of the four neighbours (1, 1, -4, 1, 1).
* A scale is blurred with (1, 2, 1)/4 along both axes, the border mirrored without its outermost pixel, and every second
  pixel kept from the first on: a side of n becomes ceil(n / 2). The first scale is the map itself. Derivatives are
  per pixel of their own scale.
* A blurred pixel is valid where every pixel it was blurred from is valid, and a derivative counts where all of its 3×3
  window is valid and inside the picture. A scale of an image at which nothing counts adds zero to that image's mean
  over the scales.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from edgedepth.training.derivatives import derivative_pyramid, laplace, scharr

__all__ = [
    "SCALES",
    "TRIM",
    "fov_loss",
    "mae_loss",
    "mage_loss",
    "male_loss",
    "mse_loss",
    "msge_loss",
    "multi_scale_derivative_loss",
    "normalise",
    "sharpening_loss",
    "ssi_mage_loss",
    "stage_one_loss",
]

SCALES = 6
"""M of the published shorthands MAGE, MALE and MSGE."""

TRIM = 0.2
"""The share of each real image's pixels, those with the largest errors, that the paper discards."""

_SMALLEST_DEVIATION = 1e-6

_OPERATORS: dict[str, Callable[[Tensor], tuple[Tensor, ...]]] = {"scharr": scharr, "laplace": laplace}


def mae_loss(predicted: Tensor, true: Tensor, valid: Tensor, *, trim: float = 0.0) -> Tensor:
    """L_MAE: the mean absolute error.

    Args:
        predicted: canonical inverse depth, (N, 1, H, W).
        true: likewise.
        valid: (N, 1, H, W) bool.
        trim: the share of each image's valid pixels, those with the largest errors, left out (rounded down to whole
            pixels); TRIM for real data, as published.

    Raises:
        ValueError: shapes or dtypes that don't go together, an image without a valid pixel, a trim outside [0, 1).
    """
    if not 0.0 <= trim < 1.0:
        raise ValueError(f"trim is {trim}: a share in [0, 1) is needed")
    with _no_autocast(predicted):
        magnitude = _error(predicted, true, valid).abs()
        return _mean_per_image(magnitude, valid) if trim == 0.0 else _trimmed_mean(magnitude, valid, trim)


def mse_loss(predicted: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """L_MSE: the mean squared error. Arguments and errors as mae_loss."""
    with _no_autocast(predicted):
        return _mean_per_image(_error(predicted, true, valid).square(), valid)


def normalise(inverse_depth: Tensor, valid: Tensor) -> Tensor:
    """(map - median) / mean absolute deviation from the median, for each image over its valid pixels.

    The result doesn't change when the map is multiplied by a positive number or has a number added. Of an even count
    the median is the lower of the two middle values. A deviation under 1e-6 counts as 1e-6: a constant map gives zeros.

    Args:
        inverse_depth: (N, 1, H, W).
        valid: (N, 1, H, W) bool.

    Returns:
        (N, 1, H, W), zero where invalid.

    Raises:
        ValueError: as mae_loss.
    """
    with _no_autocast(inverse_depth):
        _check(inverse_depth, inverse_depth, valid)
        values = _promote(inverse_depth)
        # Filled with NaN, which nanmedian passes over: gathering the valid pixels of each image would be a loop.
        median = values.masked_fill(~valid, math.nan).flatten(1).nanmedian(dim=1).values
        centred = (values - median[:, None, None, None]).masked_fill(~valid, 0.0)
        deviation = _image_sums(centred.abs()) / _image_counts(valid)
        return centred / deviation.clamp(min=_SMALLEST_DEVIATION)[:, None, None, None]


def multi_scale_derivative_loss(
    predicted: Tensor,
    true: Tensor,
    valid: Tensor,
    *,
    derivative: Literal["scharr", "laplace"],
    power: Literal[1, 2],
    scales: int = SCALES,
) -> Tensor:
    """L_{*,p,M}: the mean over M scales of the mean of |∇(predicted) - ∇(true)|^p over the scale's pixels.

    Args:
        predicted: inverse depth, (N, 1, H, W).
        true: likewise.
        valid: (N, 1, H, W) bool.
        derivative: "scharr" for the gradient, "laplace" for the Laplacian.
        power: p, 1 or 2.
        scales: M, 1 or more.

    Raises:
        ValueError: as mae_loss, an unknown derivative or power, or maps too small for so many scales (65 pixels a side
            is the least for 6): scales are never left out unasked.
    """
    if derivative not in _OPERATORS:
        raise ValueError(f"derivative is {derivative!r}: {' or '.join(_OPERATORS)} is needed")
    if power not in (1, 2):
        raise ValueError(f"power is {power}: 1 or 2 is needed")
    with _no_autocast(predicted):
        errors, windows = derivative_pyramid(_error(predicted, true, valid), valid, scales)
        return _mean_over_scales([_OPERATORS[derivative](error) for error in errors], windows, power)


def mage_loss(predicted: Tensor, true: Tensor, valid: Tensor, *, scales: int = SCALES) -> Tensor:
    """L_MAGE = L_{S,1,6}: the mean absolute gradient error. Arguments and errors as multi_scale_derivative_loss."""
    return multi_scale_derivative_loss(predicted, true, valid, derivative="scharr", power=1, scales=scales)


def male_loss(predicted: Tensor, true: Tensor, valid: Tensor, *, scales: int = SCALES) -> Tensor:
    """L_MALE = L_{L,1,6}: the mean absolute Laplace error. Arguments and errors as multi_scale_derivative_loss."""
    return multi_scale_derivative_loss(predicted, true, valid, derivative="laplace", power=1, scales=scales)


def msge_loss(predicted: Tensor, true: Tensor, valid: Tensor, *, scales: int = SCALES) -> Tensor:
    """L_MSGE = L_{S,2,6}: the mean squared gradient error. Arguments and errors as multi_scale_derivative_loss."""
    return multi_scale_derivative_loss(predicted, true, valid, derivative="scharr", power=2, scales=scales)


def ssi_mage_loss(predicted: Tensor, true: Tensor, valid: Tensor, *, scales: int = SCALES) -> Tensor:
    """MAGE of the normalised maps, blind to scale and shift. Arguments and errors as multi_scale_derivative_loss."""
    _check(predicted, true, valid)
    return mage_loss(normalise(predicted, valid), normalise(true, valid), valid, scales=scales)


def fov_loss(predicted_deg: Tensor, true_deg: Tensor) -> Tensor:
    """The mean squared error of the horizontal field of view, in square degrees.

    Args:
        predicted_deg: degrees, one number an image, in any shape.
        true_deg: degrees, the same shape.

    Raises:
        ValueError: shapes that differ, or nothing in them.
    """
    if predicted_deg.shape != true_deg.shape or not predicted_deg.numel():
        raise ValueError(
            f"fields of view of shapes {tuple(predicted_deg.shape)} and {tuple(true_deg.shape)}: "
            "one shape with one number an image is needed"
        )
    with _no_autocast(predicted_deg):
        return (_promote(predicted_deg) - _promote(true_deg)).square().mean()


def stage_one_loss(predicted: Tensor, true: Tensor, valid: Tensor, *, synthetic: bool, scales: int = SCALES) -> Tensor:
    """The first stage's loss for metric data, which is of one kind within a batch.

    Synthetic: MAE + SSI-MAGE. Real, whose ground truth is inaccurate at the edges: MAE without each image's worst 20 %.

    Args:
        predicted: canonical inverse depth, (N, 1, H, W).
        true: likewise.
        valid: (N, 1, H, W) bool.
        synthetic: whether the batch is rendered.
        scales: M of SSI-MAGE; without meaning for real data.

    Raises:
        ValueError: as mae_loss and multi_scale_derivative_loss.
    """
    if not synthetic:
        return mae_loss(predicted, true, valid, trim=TRIM)
    return mae_loss(predicted, true, valid) + ssi_mage_loss(predicted, true, valid, scales=scales)


def sharpening_loss(predicted: Tensor, true: Tensor, valid: Tensor, *, scales: int = SCALES) -> Tensor:
    """The second stage's loss, for synthetic metric data: MAE + MSE + MAGE + MALE + MSGE.

    It is the sum of the five functions of those names; they share one pyramid here, which halves the time.
    Arguments and errors as multi_scale_derivative_loss.
    """
    with _no_autocast(predicted):
        error = _error(predicted, true, valid)
        errors, windows = derivative_pyramid(error, valid, scales)
        gradients = [scharr(level) for level in errors]
        return (
            _mean_per_image(error.abs(), valid)
            + _mean_per_image(error.square(), valid)
            + _mean_over_scales(gradients, windows, 1)
            + _mean_over_scales([laplace(level) for level in errors], windows, 1)
            + _mean_over_scales(gradients, windows, 2)
        )


def _no_autocast(like: Tensor) -> torch.autocast:
    return torch.autocast(like.device.type, enabled=False)


def _promote(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _check(predicted: Tensor, true: Tensor, valid: Tensor) -> None:
    shapes = [tuple(tensor.shape) for tensor in (predicted, true, valid)]
    if len(set(shapes)) != 1 or predicted.ndim != 4 or predicted.shape[1] != 1 or not predicted.shape[0]:
        raise ValueError(f"predicted, true and valid have shapes {shapes}: one shape (N, 1, H, W) is needed")
    if valid.dtype != torch.bool:
        raise ValueError(f"valid has dtype {valid.dtype}: torch.bool is needed")
    if valid.is_cuda and torch.cuda.is_current_stream_capturing():
        return  # Values can't be looked at while a graph is recorded; the steps before it were looked at.
    empty = (~valid.flatten(1).any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"images {empty} of the batch have no valid pixel: leave them out of the batch")


def _error(predicted: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """Predicted - true, zero where invalid. Derivatives and blur are linear, so this one map serves all the losses."""
    _check(predicted, true, valid)
    return (_promote(predicted) - _promote(true)).masked_fill(~valid, 0.0)


def _image_sums(values: Tensor) -> Tensor:
    return values.sum(dim=(1, 2, 3))


def _image_counts(mask: Tensor) -> Tensor:
    return mask.sum(dim=(1, 2, 3)).clamp(min=1)


def _mean_per_image(values: Tensor, valid: Tensor) -> Tensor:
    """The batch's mean of the images' means; values are zero where invalid."""
    return (_image_sums(values) / _image_counts(valid)).mean()


def _trimmed_mean(magnitude: Tensor, valid: Tensor, trim: float) -> Tensor:
    means = []
    for image, mask in zip(magnitude, valid, strict=True):
        errors = image[mask]
        dropped = math.floor(trim * errors.numel() + 1e-6)  # 0.29 * 100 is 28.999999999999996 in binary
        means.append(errors.topk(errors.numel() - dropped, largest=False, sorted=False).values.mean())
    return torch.stack(means).mean()


def _mean_over_scales(derivatives: Sequence[tuple[Tensor, ...]], windows: Sequence[Tensor], power: int) -> Tensor:
    means = []
    for components, window in zip(derivatives, windows, strict=True):
        raised = [part.abs() if power == 1 else part.square() for part in components]
        counted = sum(raised[1:], start=raised[0]).masked_fill(~window, 0.0)
        means.append(_mean_per_image(counted, window))
    return torch.stack(means).mean()
