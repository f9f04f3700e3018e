"""Protocol Buffers' wire format against Google's own implementation, and against bytes that are no message."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.core.wire import Message, WireError
from edgedepth.verify.mil.dtypes import DTYPES, unpack_bits
from edgedepth.verify.mil.spec_reader import NotAProgramError, TooNewError, read_spec

onnx = pytest.importorskip("onnx", reason="onnx (the extra export) brings messages of every kind, and protobuf")
names = st.text(max_size=20)
longs = st.integers(-(2**63), 2**63 - 1)


@given(names, longs, st.lists(longs, max_size=5), st.lists(st.floats(width=32, allow_nan=False), max_size=5), names)
def test_fields(name: str, number: int, numbers: list[int], floats: list[float], text: str) -> None:
    """ONNX's AttributeProto has one of each: name 1, i 3, floats 7 (packed or not), ints 8, strings 9, s 4."""
    theirs = onnx.AttributeProto(name=name, i=number, s=text.encode())
    theirs.floats.extend(floats)
    theirs.ints.extend(numbers)
    theirs.strings.extend([name.encode(), text.encode()])
    message = Message(theirs.SerializeToString())
    assert message.text(1) == name
    assert message.integer(3) == number
    assert message.integers(8).tolist() == numbers
    assert np.frombuffer(message.data(7), "<f4").tolist() == pytest.approx(floats)
    assert message.texts(9) == [name, text]
    assert message.data(4) == text.encode()


@given(st.dictionaries(names, st.integers(0, 9), max_size=4), st.lists(longs, max_size=4))
def test_messages_in_messages(entries: dict[str, int], sizes: list[int]) -> None:
    graph = onnx.GraphProto(name="graph")
    for name in entries:
        node = graph.node.add(name=name)
        node.input.extend([name, "x"])
    tensor = graph.initializer.add(data_type=1)
    tensor.dims.extend(sizes)
    message = Message(graph.SerializeToString())
    assert [(node.text(3), node.texts(1)) for node in message.children(1)] == [(name, [name, "x"]) for name in entries]
    assert message.child(5).integers(1).tolist() == sizes
    assert message.child(99).integer(1) == 0
    assert 99 not in message


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",  # a key and no number
        b"\x08\xff\xff",  # a number that goes on
        b"\x08" + b"\xff" * 10 + b"\x01",  # one of more than 64 bits
        b"\x0a\x05ab",  # five bytes of which two are there
        b"\x0d\x00",  # a fixed number of four bytes of which one is there
        b"\x0b",  # groups, which proto3 doesn't have
    ],
)
def test_bytes_that_are_no_message(data: bytes) -> None:
    with pytest.raises(WireError):
        Message(data)


def test_fields_of_another_kind_are_refused() -> None:
    number, text = Message(b"\x08\x01"), Message(b"\x0a\x01a")
    for read in (number.text, number.child, number.children, number.data, number.texts, number.entries):
        with pytest.raises(WireError):
            read(1)
    with pytest.raises(WireError):
        text.integer(1)


@given(st.binary(max_size=300))
def test_no_bytes_bring_the_reader_down(data: bytes) -> None:
    with contextlib.suppress(ValueError):  # WireError, NotAProgramError and UnicodeDecodeError are ValueErrors
        read_spec(data)
    assert issubclass(TooNewError, ValueError)
    assert issubclass(NotAProgramError, ValueError)


@given(st.sampled_from(["uint1", "uint2", "uint3", "uint4", "uint6", "int4"]), st.data())
def test_bits(name: str, data: st.DataObject) -> None:
    """Written out bit by bit: the first value in the lowest bits."""
    dtype = DTYPES[name]
    lowest, highest = (-8, 7) if name == "int4" else (0, 2**dtype.bits - 1)
    values = data.draw(st.lists(st.integers(lowest, highest), min_size=1, max_size=20))
    stream = sum((value % 2**dtype.bits) << (place * dtype.bits) for place, value in enumerate(values))
    packed = stream.to_bytes((len(values) * dtype.bits + 7) // 8, "little")
    assert unpack_bits(packed, len(values), dtype).tolist() == values
