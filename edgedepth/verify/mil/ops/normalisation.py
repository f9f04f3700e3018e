"""Normalisations."""

from __future__ import annotations

import numpy as np

from edgedepth.verify.mil.ops.registry import Array, op

__all__ = ["batch_norm", "instance_norm", "l2_norm", "layer_norm"]


@op("layer_norm")
def layer_norm(
    x: Array,
    axes: Array | None = None,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Array | float = 1e-5,
) -> Array:
    """To mean 0 and variance 1 over some axes, then scaled and shifted by tensors of these axes' sizes."""
    over = tuple(range(x.ndim)) if axes is None else tuple(int(axis) % x.ndim for axis in np.atleast_1d(axes))
    normed = _normed(x, over, epsilon)
    sizes = [size if axis in over else 1 for axis, size in enumerate(x.shape)]
    if gamma is not None:
        normed = normed * gamma.reshape(sizes)
    return normed if beta is None else normed + beta.reshape(sizes)


@op("instance_norm")
def instance_norm(
    x: Array, gamma: Array | None = None, beta: Array | None = None, epsilon: Array | float = 1e-5
) -> Array:
    """layer_norm over the spatial axes of (N, C, *D), with one scale and shift a channel."""
    normed = _normed(x, tuple(range(2, x.ndim)), epsilon)
    sizes = (1, -1, *[1] * (x.ndim - 2))
    if gamma is not None:
        normed = normed * gamma.reshape(sizes)
    return normed if beta is None else normed + beta.reshape(sizes)


@op("batch_norm")
def batch_norm(
    x: Array,
    mean: Array,
    variance: Array,
    *,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: Array | float = 1e-5,
) -> Array:
    """With a mean and a variance that are given, one a channel of (N, C, *D)."""
    sizes = (1, -1, *[1] * (x.ndim - 2))
    scale = 1 / np.sqrt(variance + np.float32(epsilon))
    if gamma is not None:
        scale = scale * gamma
    normed: Array = (x - mean.reshape(sizes)) * scale.reshape(sizes)
    return normed if beta is None else normed + beta.reshape(sizes)


@op("l2_norm")
def l2_norm(x: Array, epsilon: Array | float = 1e-6) -> Array:
    """Over the length of the last three axes together."""
    length = np.sqrt(np.square(x).sum(axis=(-3, -2, -1), keepdims=True) + np.float32(epsilon))
    normed: Array = x / length
    return normed


def _normed(x: Array, over: tuple[int, ...], epsilon: Array | float) -> Array:
    centred = x - x.mean(axis=over, keepdims=True)
    variance = np.square(centred).mean(axis=over, keepdims=True)
    normed: Array = centred / np.sqrt(variance + np.float32(epsilon))
    return normed
