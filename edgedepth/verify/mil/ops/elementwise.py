"""Arithmetic, comparisons, rounding and casts, element by element, broadcast as numpy does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgedepth.verify.mil.dtypes import DTYPES
from edgedepth.verify.mil.ops.registry import Array, op, register

__all__ = ["cast", "clip", "inverse", "log", "real_div", "rsqrt", "select", "threshold"]

_BINARY: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "floor_div": np.floor_divide,
    "mod": np.mod,
    "pow": np.power,
    "maximum": np.maximum,
    "minimum": np.minimum,
}
_COMPARISONS: dict[str, Callable[..., Array]] = {
    "equal": np.equal,
    "not_equal": np.not_equal,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}
_UNARY: dict[str, Callable[..., Array]] = {
    "abs": np.abs,
    "acos": np.arccos,
    "asin": np.arcsin,
    "atan": np.arctan,
    "atanh": np.arctanh,
    "ceil": np.ceil,
    "cos": np.cos,
    "cosh": np.cosh,
    "exp": np.exp,
    "exp2": np.exp2,
    "floor": np.floor,
    "logical_not": np.logical_not,
    "round": np.round,
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": np.square,
    "tan": np.tan,
    "tanh": np.tanh,
}


def _binary(function: Callable[..., Array]) -> Callable[[Array, Array], Array]:
    def compute(x: Array, y: Array) -> Array:
        return function(x, y)

    return compute


def _unary(function: Callable[..., Array]) -> Callable[[Array], Array]:
    def compute(x: Array) -> Array:
        return function(x)

    return compute


for _name, _function in _BINARY.items():
    register(_name, _binary(_function))
for _name, _function in _COMPARISONS.items():
    register(_name, _binary(_function), like="")
for _name, _function in _UNARY.items():
    register(_name, _unary(_function))


@op("real_div")
def real_div(x: Array, y: Array) -> Array:
    """Division; of integers, what is left of the quotient after cutting its fraction off."""
    quotient: Array = np.true_divide(x, y)
    return quotient if x.dtype.kind == "f" else np.trunc(quotient).astype(x.dtype)


@op("cast", like="")
def cast(x: Array, dtype: str) -> Array:
    """Another element type; a float becomes an integer by cutting its fraction off."""
    if dtype not in DTYPES or dtype == "string":
        raise ValueError(f"cast to {dtype!r}")
    return x.astype(DTYPES[dtype].storage)


@op("clip")
def clip(x: Array, alpha: Array, beta: Array) -> Array:
    """Between alpha and beta."""
    return np.clip(x, alpha, beta)


@op("inverse")
def inverse(x: Array, epsilon: Array | float = 1e-4) -> Array:
    """1 / (x + epsilon)."""
    reciprocal: Array = 1 / (x + np.float32(epsilon))
    return reciprocal


@op("log")
def log(x: Array, epsilon: Array | float = 1e-45) -> Array:
    """Natural logarithm of x + epsilon."""
    logarithm: Array = np.log(x + np.float32(epsilon))
    return logarithm


@op("rsqrt")
def rsqrt(x: Array, epsilon: Array | float = 1e-12) -> Array:
    """1 / sqrt(x + epsilon)."""
    root: Array = 1 / np.sqrt(x + np.float32(epsilon))
    return root


@op("threshold")
def threshold(x: Array, alpha: Array) -> Array:
    """max(x, alpha)."""
    return np.maximum(x, alpha)


@op("select", like="a")
def select(cond: Array, a: Array, b: Array) -> Array:
    """a where cond holds, else b."""
    return np.where(cond, a, b)
