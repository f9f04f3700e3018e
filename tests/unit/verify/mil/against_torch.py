"""How an operation of the evaluator is run and compared with torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from edgedepth.verify.mil.ops import OPS

__all__ = ["Floats", "assert_close", "draw", "ints", "run", "seeds", "sizes", "t"]

Floats = np.ndarray[Any, Any]
# float32 sums in another order than torch's: its step (1.2e-7) times a few tens, of the largest value.
CLOSE = 4e-6

sizes = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)


def draw(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(name: str, **arguments: object) -> Any:
    operation = OPS[name]
    assert operation.problem_with(arguments) is None
    return operation.compute(**arguments)


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int32)


def t(array: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def assert_close(got: np.ndarray[Any, Any], expected: Tensor) -> None:
    assert got.shape == tuple(expected.shape)
    size = float(expected.abs().max()) if expected.is_floating_point() and expected.numel() else 1.0
    np.testing.assert_allclose(got, expected.numpy(), rtol=CLOSE, atol=CLOSE * max(1.0, size))
