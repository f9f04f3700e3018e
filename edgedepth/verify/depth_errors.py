"""How far one depth map, or one tensor, is from another. Pure functions of numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgedepth.core.session import Array
from edgedepth.verify.metrics import abs_rel, delta

__all__ = ["DepthError", "TensorError", "compare_depth", "compare_tensors"]

_QUANTILE_VALUES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthError:
    """A depth map against the reference's.

    Args:
        abs_rel: mean of |d - r| / r.
        delta1: fraction of pixels with max(d / r, r / d) < 1.25.
        max_rel: largest |1/d - 1/r| over 1/r, or over the picture's mean 1/r where that is larger. For near points
            it is the relative error of the depth. For far ones it isn't: models give inverse depth, and where
            that is almost zero a difference in its last digits is kilometres.
    """

    abs_rel: float
    delta1: float
    max_rel: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorError:
    """A tensor against the reference's.

    Features pass through zero, where an error relative to the value itself says nothing; so these are relative
    to the tensor's own size.

    Args:
        max_rel: largest |a - r|, divided by the largest |r|.
        mean_rel: mean |a - r|, divided by the mean |r|.
        p50_rel: median of |a - r|, divided by the mean |r|. Of tensors beyond a million values, evenly spread ones are
            taken for the two quantiles.
        p99_rel: their 99th percentile, likewise.
        cosine: of the angle between the two; 1 where both are zero, NaN where a value isn't finite.
        nan: how many values are NaN.
        inf: how many are infinite.
    """

    max_rel: float
    mean_rel: float
    p50_rel: float = 0.0
    p99_rel: float = 0.0
    cosine: float = 1.0
    nan: int = 0
    inf: int = 0


def compare_depth(depth: Array, reference: Array) -> DepthError:
    """Compare two depth maps in metres of one shape (H, W). The reference is positive and finite.

    A value that is not finite makes every figure infinite (delta1: 0): it can't average away.
    """
    if depth.shape != reference.shape or depth.size == 0:
        raise ValueError(f"depth {depth.shape} against reference {reference.shape}: two equal shapes are needed")
    if not np.isfinite(depth).all() or (depth <= 0).any():
        return DepthError(abs_rel=np.inf, delta1=0.0, max_rel=np.inf)
    measured, truth = depth.astype(np.float64), reference.astype(np.float64)
    inverse = 1 / truth
    difference = np.abs(1 / measured - inverse) / np.maximum(inverse, inverse.mean())
    return DepthError(
        abs_rel=abs_rel(measured, truth),
        delta1=delta(measured, truth),
        max_rel=float(difference.max()),
    )


def compare_tensors(actual: npt.NDArray[np.floating], reference: npt.NDArray[np.floating]) -> TensorError:
    """Compare two tensors of one shape; what is not finite makes the errors infinite, and is counted."""
    if actual.shape != reference.shape or actual.size == 0:
        raise ValueError(f"tensor {actual.shape} against reference {reference.shape}: two equal shapes are needed")
    measured, truth = actual.astype(np.float64).reshape(-1), reference.astype(np.float64).reshape(-1)
    difference = np.abs(measured - truth)
    if not np.isfinite(difference).all():
        return TensorError(
            max_rel=np.inf,
            mean_rel=np.inf,
            p50_rel=np.inf,
            p99_rel=np.inf,
            cosine=np.nan,
            nan=int(np.isnan(measured).sum()),
            inf=int(np.isinf(measured).sum()),
        )
    size = np.abs(truth)
    largest, mean = float(size.max()), float(size.mean())
    p50, p99 = np.quantile(difference[:: -(-difference.size // _QUANTILE_VALUES)], (0.5, 0.99))
    return TensorError(
        max_rel=_relative(float(difference.max()), largest),
        mean_rel=_relative(float(difference.mean()), mean),
        p50_rel=_relative(float(p50), mean),
        p99_rel=_relative(float(p99), mean),
        cosine=_cosine(measured, truth),
    )


def _cosine(measured: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(measured)) * float(np.linalg.norm(truth))
    if lengths > 0:
        return float(measured @ truth) / lengths
    return 1.0 if np.array_equal(measured, truth) else 0.0


def _relative(error: float, size: float) -> float:
    if size > 0:
        return error / size
    return 0.0 if error == 0 else np.inf
