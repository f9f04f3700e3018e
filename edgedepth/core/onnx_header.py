"""What an ONNX file declares, compared with what it holds, before a runtime allocates for it.

A tensor of 10 GB costs a liar twenty bytes. Weights beside the file are looked for in its own folder alone.
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgedepth.core.errors import BundleTamperedError
from edgedepth.core.reading import check_plain
from edgedepth.core.wire import Message, WireError

__all__ = ["check_onnx"]

_GRAPH = 7  # of ModelProto
_NODES, _INITIALIZERS, _SPARSE = 1, 5, 15  # of GraphProto
_ATTRIBUTES = 5  # of NodeProto
_TENSOR, _SUBGRAPH, _TENSORS, _SUBGRAPHS, _SPARSE_TENSORS = 5, 6, 10, 11, (22, 23)  # of AttributeProto
_DIMS, _TYPE, _NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 8, 9, 13, 14  # of TensorProto
_TYPED = (4, 5, 6, 7, 10, 11)  # float_data, int32_data, string_data, int64_data, double_data, uint64_data

# Bits of an element, by TensorProto.DataType; strings have none, and no graph of ours holds any.
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16}
_BITS |= dict.fromkeys((17, 18, 19, 20), 8) | dict.fromkeys((21, 22, 23), 4)
_LIMIT = 2 << 30  # bytes: protobuf's own
_DEPTH = 8  # of graphs within graphs
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")


def check_onnx(path: Path) -> None:
    """Refuse a graph whose tensors aren't there, or lie outside of its folder.

    Args:
        path: of the .onnx file.

    Raises:
        BundleTamperedError: it isn't an ONNX file, or declares other tensors than it holds.
    """
    try:
        size = check_plain(path).st_size
        if not 0 < size <= _LIMIT:
            raise WireError(f"it has {size} bytes; allowed are 1 to {_LIMIT}")
        (graph,) = Message(np.memmap(path, np.uint8, "r").data).children(_GRAPH)
        for tensor in _tensors(graph, _DEPTH):
            _check(tensor, path.parent)
    except (OSError, ValueError) as error:  # WireError and UnicodeDecodeError are ValueErrors
        raise BundleTamperedError(
            f"{path} is not an ONNX file that can be run: {getattr(error, 'strerror', None) or error}",
            remedy="export it again: edgedepth export --help",
        ) from error


def _tensors(graph: Message, depth: int) -> Iterator[Message]:
    """All of a graph's, and of the graphs within it."""
    if depth == 0:
        raise WireError(f"graphs lie more than {_DEPTH} deep in each other")
    if _SPARSE in graph:
        raise WireError("it holds sparse tensors, which no graph of edgedepth does")
    yield from graph.children(_INITIALIZERS)
    for node in graph.children(_NODES):
        for attribute in node.children(_ATTRIBUTES):
            if any(number in attribute for number in _SPARSE_TENSORS):
                raise WireError("it holds sparse tensors, which no graph of edgedepth does")
            yield from (*attribute.children(_TENSOR), *attribute.children(_TENSORS))
            for inner in (*attribute.children(_SUBGRAPH), *attribute.children(_SUBGRAPHS)):
                yield from _tensors(inner, depth - 1)


def _check(tensor: Message, folder: Path) -> None:
    name = tensor.text(_NAME)
    dims = [int(size) for size in tensor.integers(_DIMS)]
    bits = _BITS.get(tensor.integer(_TYPE))
    if bits is None or min(dims, default=0) < 0:
        raise WireError(f"tensor {name!r} has type {tensor.integer(_TYPE)} and sizes {dims}")
    elements = math.prod(dims)
    declared = (elements * bits + 7) // 8
    if tensor.integer(_LOCATION):
        _check_external(tensor, name, declared, folder)
    elif _RAW in tensor:
        if (held := tensor.size(_RAW)) != declared:
            raise WireError(f"tensor {name!r} declares {declared} bytes and holds {held}")
    elif elements > (held := 2 * sum(tensor.size(number) for number in _TYPED)):  # two of 4 bits share a byte
        raise WireError(f"tensor {name!r} declares {elements} elements in {held // 2} bytes")


def _check_external(tensor: Message, name: str, declared: int, folder: Path) -> None:
    facts = {entry.text(1): entry.text(2) for entry in tensor.children(_EXTERNAL)}
    location = facts.get("location", "")
    if not _FILE.fullmatch(location):
        raise WireError(f"tensor {name!r} lies in {location!r}, which is no file beside it")
    offset, length = int(facts.get("offset", "0")), int(facts.get("length", str(declared)))
    there = check_plain(folder / location).st_size
    if length != declared or offset < 0 or offset + length > there:
        raise WireError(
            f"tensor {name!r} declares {declared} bytes, {length} from byte {offset} of {location}, which has {there}"
        )
