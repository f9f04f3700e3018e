"""Runs one function: op by op, in the order in which they are written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import StageError, UnsupportedOpError
from edgedepth.verify.mil.dtypes import DType
from edgedepth.verify.mil.graph import Blob, Constant, Function, Named, Operation, TensorType, Variable
from edgedepth.verify.mil.ops import OPS, Op

__all__ = ["ReadBlob", "Value", "run_function", "unsupported_ops"]

ReadBlob = Callable[[TensorType, Blob], npt.NDArray[Any]]
Value = tuple[DType, "npt.NDArray[Any] | str"]
"""An element type and the values in it."""

_REMEDY = "the package does not compute what was exported: export it again: edgedepth export --target coreml"
_UNSUPPORTED_REMEDY = "docs/mil-evaluator.md lists the ops that can be evaluated; on a Mac, Core ML itself runs it"
# What numpy raises when sizes or indices don't go together.
_MISFITS = (ValueError, IndexError, TypeError, AttributeError, KeyError, ArithmeticError)


def unsupported_ops(function: Function) -> list[str]:
    """The types of operations in a function that can't be evaluated, each once, in order."""
    missing = (item.type for item in function.operations if item.type != "const" and item.type not in OPS)
    return list(dict.fromkeys(missing))


def run_function(
    function: Function, feeds: Mapping[str, npt.NDArray[Any]], read_blob: ReadBlob, *, label: str
) -> dict[str, npt.NDArray[Any]]:
    """Run a function.

    Args:
        function: the program's.
        feeds: its parameters, in their declared dtypes and shapes.
        read_blob: reads a constant that lies in a weight file.
        label: of the package, for messages.

    Returns:
        The results by name, in their declared dtypes, the caller's to keep.

    Raises:
        UnsupportedOpError: an operation that is not known here; it and its output are named.
        StageError: an operation that fails, or whose result is not of the declared type or shape.
    """
    values: dict[str, Value] = {}
    for named in function.parameters:
        assert named.type is not None
        values[named.name] = (named.type.dtype, feeds[named.name])
    uses = Counter(name for item in function.operations for name in _variables(item))
    uses.update(function.results)
    for operation in function.operations:
        where = _where(label, operation)
        bound = _bind(operation, values, read_blob, where)
        results = _run_operation(operation, bound, where, function)
        values.update(zip((named.name for named in operation.outputs), results, strict=True))
        _forget(operation, values, uses)
    # Copies: a result may be a view of an input or of the weight file.
    return {name: np.array(values[name][1]) for name in function.results}


def _variables(operation: Operation) -> list[str]:
    return [item.name for items in operation.inputs.values() for item in items if isinstance(item, Variable)]


def _forget(operation: Operation, values: dict[str, Value], uses: Counter[str]) -> None:
    """Drop what no later operation reads: at full size, activations are gigabytes."""
    for name in _variables(operation):
        uses[name] -= 1
    for name in {*_variables(operation), *(named.name for named in operation.outputs)}:
        if uses[name] <= 0:
            values.pop(name, None)


def _bind(
    operation: Operation, values: Mapping[str, Value], read_blob: ReadBlob, where: str
) -> dict[str, Value | list[Value]]:
    """The operation's parameters by name; a list for one that takes several tensors."""

    def value_of(item: Variable | Constant) -> Value:
        if isinstance(item, Variable):
            return values[item.name]
        data = read_blob(item.type, item.data) if item.type and isinstance(item.data, Blob) else item.data
        if item.type is None or data is None or isinstance(data, Blob):
            raise UnsupportedOpError(f"{where} has a constant that is not a tensor", remedy=_UNSUPPORTED_REMEDY)
        return item.type.dtype, data

    bound: dict[str, Value | list[Value]] = {}
    for name, items in operation.inputs.items():
        found = [value_of(item) for item in items]
        bound[name] = found if len(found) != 1 or name == "values" else found[0]
    if operation.type == "const" or operation.type.startswith("constexpr_"):
        # Before iOS 18 the parameters of constexpr_ ops are attributes.
        bound |= {name: value_of(item) for name, item in operation.attributes.items() if name != "name"}
    return bound


def _run_operation(
    operation: Operation, bound: dict[str, Value | list[Value]], where: str, function: Function
) -> list[Value]:
    if not operation.outputs or any(named.type is None for named in operation.outputs):
        raise _unsupported(function, where)
    if operation.type == "const":
        value = bound.get("val")
        if not isinstance(value, tuple):
            raise StageError(f"{where} has no value", remedy=_REMEDY)
        return [_conform(operation.outputs[0], value[1], value[0], where)]
    known = OPS.get(operation.type)
    if known is None:
        raise _unsupported(function, where)
    if problem := known.problem_with(bound):
        raise UnsupportedOpError(f"{where} {problem}", remedy=_UNSUPPORTED_REMEDY)
    arguments = {name: _plain(value, moves=known.moves) for name, value in bound.items()}
    try:
        with np.errstate(all="ignore"):  # infinities are results like others; parity tells
            computed = known.compute(**arguments)
    except _MISFITS as error:
        raise StageError(f"{where} can't be computed: {error}", remedy=_REMEDY) from error
    arrays = computed if isinstance(computed, tuple) else (computed,)
    if len(arrays) != len(operation.outputs):
        raise StageError(f"{where} gives {len(arrays)} outputs, not {len(operation.outputs)}", remedy=_REMEDY)
    dtype = _expected_dtype(known, bound)
    return [_conform(named, array, dtype, where) for named, array in zip(operation.outputs, arrays, strict=True)]


def _unsupported(function: Function, where: str) -> UnsupportedOpError:
    others = unsupported_ops(function)
    return UnsupportedOpError(
        f"{where} can't be evaluated off-device; not known in this function: {', '.join(others) or 'its output type'}",
        remedy=_UNSUPPORTED_REMEDY,
    )


def _where(label: str, operation: Operation) -> str:
    outputs = ", ".join(named.name for named in operation.outputs)
    return f"{label}: op {operation.type} ({outputs})"


def _plain(value: Value | list[Value], *, moves: bool) -> Any:
    """What an operation's function takes: arrays with floats in float32, strings, lists of arrays."""
    if isinstance(value, list):
        return [_plain(item, moves=moves) for item in value]
    dtype, data = value
    if isinstance(data, str):
        return data
    return data if moves or not dtype.is_float else data.astype(np.float32, copy=False)


def _expected_dtype(known: Op, bound: Mapping[str, Value | list[Value]]) -> DType | None:
    if not known.like:
        return None
    value = bound[known.like]
    return value[0][0] if isinstance(value, list) else value[0]


def _conform(named: Named, data: npt.NDArray[Any] | str, dtype: DType | None, where: str) -> Value:
    """Compare a result with its declaration, and round it to the declared type."""
    declared = named.type
    assert declared is not None
    if isinstance(data, str):
        return declared.dtype, data
    if dtype is not None and dtype != declared.dtype:
        raise StageError(f"{where} gives {dtype.name}; {named.name!r} is declared {declared}", remedy=_REMEDY)
    array = np.asarray(data)
    if not declared.fits(array.shape):
        raise StageError(
            f"{where} gives the shape {array.shape}; {named.name!r} is declared {declared}", remedy=_REMEDY
        )
    storage = declared.dtype.storage
    if _kind(array.dtype) != _kind(storage):
        raise StageError(f"{where} gives {array.dtype}; {named.name!r} is declared {declared}", remedy=_REMEDY)
    if array.dtype == storage:
        return declared.dtype, array
    with np.errstate(over="ignore"):  # beyond fp16 is infinity there too
        return declared.dtype, array.astype(storage)


def _kind(dtype: np.dtype[Any]) -> str:
    return "i" if dtype.kind == "u" else dtype.kind
