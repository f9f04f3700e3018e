"""Matrix products."""

from __future__ import annotations

import numpy as np

from edgedepth.verify.mil.ops.registry import Array, op

__all__ = ["einsum", "linear", "matmul"]


@op("linear")
def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """(..., C) with a weight of (O, C)."""
    product: Array = x @ weight.T
    return product if bias is None else product + bias


@op("matmul")
def matmul(x: Array, y: Array, transpose_x: bool = False, transpose_y: bool = False) -> Array:
    """Batched product of the last two axes, broadcast over the others."""
    product: Array = (_swapped(x) if transpose_x else x) @ (_swapped(y) if transpose_y else y)
    return product


@op("einsum", like="values")
def einsum(values: list[Array], equation: str) -> Array:
    """The product that an equation of letters names."""
    product: Array = np.einsum(equation.replace(" ", ""), *values, optimize=True)
    return product


def _swapped(matrix: Array) -> Array:
    return matrix if matrix.ndim < 2 else matrix.swapaxes(-1, -2)
