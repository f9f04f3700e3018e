"""Frozen dataclasses to JSON's plain values and back, strictly: what isn't declared isn't accepted."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

__all__ = ["from_plain", "to_plain"]

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """A dataclass as nested dicts, lists and scalars, fields in their declared order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_plain(value[key]) for key in sorted(value)}
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    return value


def from_plain(cls: type[T], data: object, *, where: str) -> T:
    """Build a dataclass from plain values.

    Args:
        cls: a dataclass whose fields are scalars, Literals, tuples, dicts, unions or other dataclasses.
        data: what json.loads gave.
        where: the place in the document, for messages: "manifest.model".

    Raises:
        ValueError: naming the place, what was got and what is allowed.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where}: got {_kind(data)}, expected an object")
    hints = _hints(cls)  # type: ignore[arg-type]
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    names = {field.name for field in fields}
    if unknown := sorted(set(data) - names):
        raise ValueError(f"{where}: unknown field {unknown[0]!r}")
    required = (f.name for f in fields if f.default is f.default_factory is dataclasses.MISSING)
    if missing := [name for name in required if name not in data]:
        raise ValueError(f"{where}: field {missing[0]!r} is missing")
    return cls(**{name: _value(hints[name], data[name], f"{where}.{name}") for name in data})


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    """Resolved once: it takes longer than all the rest."""
    return get_type_hints(cls)


def _value(hint: Any, data: Any, where: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:  # JSON of another contract, carried along as it is
        value: Any = data
    elif dataclasses.is_dataclass(hint):
        value = from_plain(hint, data, where=where)  # type: ignore[arg-type]
    elif origin in (Union, types.UnionType):
        value = _union(get_args(hint), data, where)
    elif origin is Literal:
        value = _choice(get_args(hint), data, where)
    elif origin is tuple:
        value = _tuple(get_args(hint), data, where)
    elif origin is dict:
        value = _dict(get_args(hint)[1], data, where)
    else:
        value = _scalar(hint, data, where)
    return value


def _choice(allowed: tuple[Any, ...], data: Any, where: str) -> Any:
    if data not in allowed:
        got = repr(data) if isinstance(data, str) else _kind(data)
        raise ValueError(f"{where}: got {got}, allowed are {list(allowed)}")
    return data


def _dict(hint: Any, data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{where}: got {_kind(data)}, expected an object")
    return {key: _value(hint, item, f"{where}[{key!r}]") for key, item in data.items()}


def _scalar(hint: Any, data: Any, where: str) -> Any:
    if hint is float and isinstance(data, int | float) and not isinstance(data, bool):
        return _finite(data, where)
    # bool is an int to isinstance; a manifest that says true where a count is meant is wrong.
    if not isinstance(data, hint) or (isinstance(data, bool) and hint is not bool):
        raise ValueError(f"{where}: got {_kind(data)}, expected {hint.__name__}")
    return data


def _finite(data: float, where: str) -> float:
    # JSON has no infinity, yet 1e999 is one to Python.
    try:
        number = float(data)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{where}: got a number too large for a float")
    return number


def _tuple(args: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise ValueError(f"{where}: got {_kind(data)}, expected a list")
    hints = args[:1] * len(data) if len(args) == 2 and args[1] is Ellipsis else args
    if len(hints) != len(data):
        raise ValueError(f"{where}: got {len(data)} values, expected {len(hints)}")
    return tuple(_value(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(zip(hints, data, strict=True)))


def _union(options: tuple[Any, ...], data: Any, where: str) -> Any:
    reasons = []
    for option in options:
        try:
            return _value(option, data, where)
        except ValueError as error:
            reasons.append(str(error))
    # The first option is the one that is meant; None is what it falls back to.
    raise ValueError(reasons[0])


def _kind(data: object) -> str:
    return "null" if data is None else type(data).__name__
