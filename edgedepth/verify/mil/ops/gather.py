"""Picking values by index."""

from __future__ import annotations

import numpy as np

from edgedepth.verify.mil.ops.registry import Array, op

__all__ = ["argsort", "gather", "gather_along_axis", "gather_nd", "one_hot"]


@op("argsort", like="")
def argsort(x: Array, axis: int = -1, ascending: bool = False) -> Array:
    """Where an axis' values come from in order; of equal ones the first comes first, which isn't documented."""
    ordered = np.argsort(x if ascending else -x, axis=int(axis), kind="stable")
    return ordered.astype(np.int32)


@op("gather", moves=True)
def gather(x: Array, indices: Array, axis: int = 0, batch_dims: int = 0, validate_indices: bool | None = None) -> Array:
    """Slices along an axis, separately for each index of the leading batch_dims axes."""
    place, batch = int(axis) % x.ndim, int(batch_dims)
    wanted = _checked(indices, x.shape[place], since_ios17=validate_indices is not None)
    if not batch:
        return np.take(x, wanted, place)
    leading = x.shape[:batch]
    picked = [np.take(x[at], wanted[at], place - batch) for at in np.ndindex(*leading)]
    return np.stack(picked).reshape(*leading, *picked[0].shape)


@op("gather_along_axis", moves=True)
def gather_along_axis(x: Array, indices: Array, axis: int = 0, validate_indices: bool | None = None) -> Array:
    """One value for each index, from the same place along the other axes."""
    wanted = _checked(indices, x.shape[int(axis)], since_ios17=validate_indices is not None)
    return np.take_along_axis(x, wanted, int(axis))


@op("gather_nd", moves=True)
def gather_nd(x: Array, indices: Array, batch_dims: int = 0, validate_indices: bool | None = None) -> Array:
    """Slices at the positions that the last axis of indices holds."""
    batch, depth = int(batch_dims), indices.shape[-1]
    limits = x.shape[batch : batch + depth]
    if len(limits) < depth:
        raise IndexError(f"{depth} indices into {len(limits)} axes")
    columns = [
        _checked(indices[..., column], limit, since_ios17=validate_indices is not None)
        for column, limit in enumerate(limits)
    ]
    leading = np.ogrid[tuple(slice(size) for size in x.shape[:batch])] if batch else []
    trailing = [1] * (columns[0].ndim - batch)
    picked: Array = x[(*(grid.reshape(*grid.shape, *trailing) for grid in leading), *columns)]
    return picked


@op("one_hot", like="on_value", moves=True)
def one_hot(indices: Array, one_hot_vector_size: int, on_value: Array, off_value: Array, axis: int = -1) -> Array:
    """A new axis that holds on_value at the index and off_value elsewhere."""
    size = int(one_hot_vector_size)
    hot = np.expand_dims(indices, -1) == np.arange(size)
    return np.moveaxis(np.where(hot, on_value, off_value), -1, int(axis))


def _checked(indices: Array, size: int, *, since_ios17: bool) -> Array:
    """The indices; an error where Core ML would read something undefined."""
    lowest = 0 if since_ios17 else -size  # an op that can validate indices is one that counts none from the end
    if indices.size and (indices.min() < lowest or indices.max() >= size):
        raise IndexError(f"indices {indices.min()} to {indices.max()} of an axis of {size}; {lowest} is the lowest")
    return indices.astype(np.int64)
