"""How an operation is written: a function of numpy arrays whose parameters have MIL's names.

Floats arrive as float32 and what is returned is rounded to the declared type by the interpreter, so an operation
knows nothing of half precision. Integers, booleans and strings arrive as they are; a tuple of tensors as a list.
A parameter that the program leaves out is the function's default.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy.typing as npt

__all__ = ["OPS", "Array", "Compute", "Op", "op", "register"]

Array = npt.NDArray[Any]
Compute = Callable[..., "Array | tuple[Array, ...]"]
_Function = TypeVar("_Function", bound=Compute)


@dataclass(frozen=True, slots=True)
class Op:
    """An operation that can be evaluated.

    Args:
        name: MIL's.
        compute: the function.
        like: the parameter whose element type every output has; "" if the function itself decides, and its result's
            kind (float, integer, boolean) has to be the declared one.
        moves: it only moves values, so they stay in their own type.
    """

    name: str
    compute: Compute
    like: str
    moves: bool

    def problem_with(self, given: Mapping[str, object]) -> str | None:
        """What is wrong with the parameters that a program gives, or None."""
        declared = inspect.signature(self.compute).parameters
        if unknown := sorted(set(given) - set(declared)):
            return f"has the parameter {unknown[0]!r}, which is not known here"
        required = (name for name, item in declared.items() if item.default is inspect.Parameter.empty)
        missing = [name for name in required if name not in given]
        return f"has no parameter {missing[0]!r}" if missing else None


OPS: dict[str, Op] = {}
"""Every operation by its name."""


def register(name: str, compute: Compute, *, like: str = "x", moves: bool = False) -> None:
    """Add an operation.

    Raises:
        ValueError: the name is taken.
    """
    if name in OPS:
        raise ValueError(f"op {name} is registered twice")
    OPS[name] = Op(name, compute, like, moves)


def op(*names: str, like: str = "x", moves: bool = False) -> Callable[[_Function], _Function]:
    """Register a function under MIL's names for it."""

    def decorate(compute: _Function) -> _Function:
        for name in names:
            register(name, compute, like=like, moves=moves)
        return compute

    return decorate
