"""Activation functions."""

from __future__ import annotations

import functools
import math

import numpy as np
import numpy.typing as npt

from edgedepth.verify.mil.ops.registry import Array, op

__all__ = ["elu", "erf", "gelu", "leaky_relu", "prelu", "relu", "relu6", "sigmoid", "silu", "softmax", "softplus"]

_STEPS = 128
"""Steps of erf's table to a unit: the series' fourth term is then below 1e-10."""
_ERF_END = 6.0
"""Beyond it, erf is 1 to the last bit of a double."""


@op("relu")
def relu(x: Array) -> Array:
    """max(x, 0)."""
    return np.maximum(x, np.float32(0))


@op("relu6")
def relu6(x: Array) -> Array:
    """Between 0 and 6."""
    return np.clip(x, np.float32(0), np.float32(6))


@op("leaky_relu")
def leaky_relu(x: Array, alpha: Array) -> Array:
    """Alpha x below zero."""
    return np.where(x >= 0, x, alpha * x)


@op("prelu")
def prelu(x: Array, alpha: Array) -> Array:
    """Alpha x below zero, with one alpha a channel."""
    return np.where(x >= 0, x, alpha.reshape(-1, *[1] * (x.ndim - 2)) * x)


@op("elu")
def elu(x: Array, alpha: Array) -> Array:
    """alpha (exp(x) - 1) below zero."""
    return np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, np.float32(0))))


@op("sigmoid")
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), from the tanh that doesn't overflow."""
    result: Array = (np.tanh(x / 2) + 1) / 2
    return result


@op("silu")
def silu(x: Array) -> Array:
    """X sigmoid(x)."""
    result: Array = x * sigmoid(x)
    return result


@op("softplus")
def softplus(x: Array) -> Array:
    """log(1 + exp(x))."""
    return np.logaddexp(x, np.float32(0))


@op("softmax")
def softmax(x: Array, axis: int = -1) -> Array:
    """Exp(x), over its sum along an axis."""
    powers: Array = np.exp(x - x.max(axis=int(axis), keepdims=True))
    powers /= powers.sum(axis=int(axis), keepdims=True)
    return powers


@op("gelu")
def gelu(x: Array, mode: str = "EXACT") -> Array:
    """The Gaussian error linear unit, exact or in one of its approximations."""
    if mode == "EXACT":
        result: Array = x * (0.5 + 0.5 * erf(x * np.float32(math.sqrt(0.5))))
    elif mode == "TANH_APPROXIMATION":
        result = x * (0.5 + 0.5 * np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)))
    elif mode == "SIGMOID_APPROXIMATION":
        result = x * sigmoid(np.float32(1.702) * x)
    else:
        raise ValueError(f"mode {mode!r}")
    return result


@op("erf")
def erf(x: Array) -> Array:
    """The error function: Taylor's series of third order around the nearest entry of a table. numpy has none."""
    magnitude = np.minimum(np.abs(x), np.float32(_ERF_END)).astype(np.float64)
    nearest = np.rint(magnitude * _STEPS).astype(np.int32)
    middle = nearest / _STEPS
    away = magnitude - middle
    values, slopes = _erf_table()
    series = away * (1 - away * (middle - away * (2 * middle * middle - 1) / 3))
    return np.copysign(values[nearest] + slopes[nearest] * series, x).astype(np.float32)


@functools.cache
def _erf_table() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Erf and its derivative at every step."""
    steps = np.arange(int(_ERF_END * _STEPS) + 1) / _STEPS
    return np.array([math.erf(step) for step in steps]), 2 / math.sqrt(math.pi) * np.exp(-steps * steps)
