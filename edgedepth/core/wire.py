"""Protocol Buffers' wire format, read without a schema: the fields of a message by number.

Enough of it for Core ML's spec and for ONNX, so that both can be read where neither coremltools, onnx nor protobuf is
installed.
Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

__all__ = ["Message", "WireError"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """Bytes that are not a message, or not the one that was expected."""


class Message:
    """One message. Reading a field that isn't there gives its default, as proto3 has it.

    Args:
        data: the message's bytes; nothing is copied until a field is asked for.

    Raises:
        WireError: they end within a field, or hold a wire type that there isn't.
    """

    __slots__ = ("_fields",)

    def __init__(self, data: memoryview | bytes = b"") -> None:
        self._fields: dict[int, list[int | memoryview]] = {}
        for number, value in _fields(memoryview(data)):
            self._fields.setdefault(number, []).append(value)

    def __contains__(self, number: int) -> bool:
        return number in self._fields

    def integer(self, number: int) -> int:
        """A varint, as a signed 64-bit number; the last one if there are several."""
        value = self._fields.get(number, [0])[-1]
        if not isinstance(value, int):
            raise WireError(f"field {number} is not a number")
        return value - (1 << 64) if value >= 1 << 63 else value

    def text(self, number: int) -> str:
        """A string."""
        return _text(self._chunks(number)[-1:])

    def texts(self, number: int) -> list[str]:
        """A repeated string."""
        return [_text([chunk]) for chunk in self._chunks(number)]

    def data(self, number: int) -> bytes:
        """A bytes field, or the packed values of a repeated fixed-size number."""
        return b"".join(self._chunks(number))

    def size(self, number: int) -> int:
        """Bytes of a bytes field or of a repeated number, told without copying them; a number by itself counts as 1."""
        return sum(1 if isinstance(value, int) else len(value) for value in self._fields.get(number, []))

    def child(self, number: int) -> Message:
        """A message; pieces of it are merged."""
        return Message(self.data(number))

    def children(self, number: int) -> list[Message]:
        """A repeated message."""
        return [Message(chunk) for chunk in self._chunks(number)]

    def entries(self, number: int) -> dict[str, Message]:
        """A map from strings to messages."""
        return {entry.text(1): entry.child(2) for entry in self.children(number)}

    def integers(self, number: int) -> npt.NDArray[np.int64]:
        """A repeated varint, packed or not."""
        values: list[int] = []
        for value in self._fields.get(number, []):
            values.extend([value] if isinstance(value, int) else _varints(value))
        return np.array(values, np.uint64).astype(np.int64)

    def _chunks(self, number: int) -> list[memoryview]:
        chunks = self._fields.get(number, [])
        if any(isinstance(chunk, int) for chunk in chunks):
            raise WireError(f"field {number} is a number")
        return chunks  # type: ignore[return-value]


def _text(chunks: list[memoryview]) -> str:
    return bytes(chunks[0]).decode("utf-8") if chunks else ""


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == _VARINT:
            value, position = _varint(data, position)
            yield number, value
            continue
        if wire_type == _BYTES:
            size, position = _varint(data, position)
        elif wire_type in (_FIXED64, _FIXED32):
            size = 8 if wire_type == _FIXED64 else 4
        else:
            raise WireError(f"wire type {wire_type} at byte {position}")
        if position + size > len(data):
            raise WireError(f"a field of {size} bytes at byte {position} of {len(data)}")
        yield number, data[position : position + size]
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise WireError(f"the bytes end within a number at byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
    raise WireError(f"a number of more than ten bytes before byte {position}")


def _varints(data: memoryview) -> Iterator[int]:
    position = 0
    while position < len(data):
        value, position = _varint(data, position)
        yield value
