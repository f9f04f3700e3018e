"""Sums, means, extremes and norms along axes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgedepth.verify.mil.ops.registry import Array, op, register

__all__ = ["cumsum", "reduce_argmax", "reduce_argmin"]

Reduce = Callable[..., Array]


def _log_sum_exp(x: Array, axis: tuple[int, ...] | None, keepdims: bool) -> Array:
    largest = x.max(axis=axis, keepdims=True)
    total: Array = np.log(np.exp(x - largest).sum(axis=axis, keepdims=True)) + largest
    return total if keepdims else np.squeeze(total, axis)


_REDUCTIONS: dict[str, Reduce] = {
    "reduce_sum": np.sum,
    "reduce_mean": np.mean,
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_l1_norm": lambda x, axis, keepdims: np.abs(x).sum(axis=axis, keepdims=keepdims),
    "reduce_l2_norm": lambda x, axis, keepdims: np.sqrt(np.square(x).sum(axis=axis, keepdims=keepdims)),
    "reduce_sum_square": lambda x, axis, keepdims: np.square(x).sum(axis=axis, keepdims=keepdims),
    "reduce_log_sum": lambda x, axis, keepdims: np.log(x.sum(axis=axis, keepdims=keepdims)),
    "reduce_log_sum_exp": _log_sum_exp,
}


def _over(function: Reduce) -> Callable[..., Array]:
    def compute(x: Array, axes: Array | None = None, keep_dims: bool = False) -> Array:
        over = None if axes is None else tuple(int(axis) for axis in np.atleast_1d(axes))
        return np.asarray(function(x, axis=over, keepdims=bool(keep_dims)), x.dtype)

    return compute


for _name, _function in _REDUCTIONS.items():
    register(_name, _over(_function))


@op("reduce_argmax", like="")
def reduce_argmax(x: Array, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Array:
    """Where the largest is; the first of several."""
    place: Array = np.argmax(x, int(axis), keepdims=bool(keep_dims))
    return place.astype(output_dtype)


@op("reduce_argmin", like="")
def reduce_argmin(x: Array, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Array:
    """Where the smallest is; the first of several."""
    place: Array = np.argmin(x, int(axis), keepdims=bool(keep_dims))
    return place.astype(output_dtype)


@op("cumsum")
def cumsum(x: Array, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Array:
    """Running sum along an axis."""
    forwards = np.flip(x, int(axis)) if reverse else x
    total = np.cumsum(forwards, int(axis), dtype=x.dtype)
    total = total - forwards if exclusive else total
    return np.flip(total, int(axis)) if reverse else total
