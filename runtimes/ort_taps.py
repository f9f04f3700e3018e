"""An ONNX stage that can be looked into: its inner tensors, marked as outputs of a copy of the graph in memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import StageError
from edgedepth.core.graph_node import GraphNode, block_named
from edgedepth.core.optional import require

__all__ = ["OnnxTaps"]

_BUDGET = 1 << 30  # bytes of marked tensors a run: a full-size decoder's are 13 GB together
_UNKNOWN = 64 << 20  # taken for a tensor whose shape isn't known
_PURPOSE = "to look into a stage"
_ATTRIBUTES = {1: "f", 2: "i", 3: "s", 7: "ints"}  # of AttributeProto: float, int, string, ints


class OnnxTaps:
    """One ONNX file, to be run on the CPU with any of its inner tensors as outputs.

    Marked tensors are kept where fusing would have removed them, so their values can differ in the last digits from
    those of an unmarked run.

    Args:
        path: the .onnx file; its external data lies beside it, and neither is changed.

    Raises:
        MissingExtraError: onnx or onnxruntime isn't installed.
    """

    def __init__(self, path: Path) -> None:
        self._onnx = require("onnx", extra="export", purpose=_PURPOSE)
        self._ort = require("onnxruntime", extra="onnx", purpose=_PURPOSE)
        self._path = path
        self._model = self._onnx.load(str(path), load_external_data=False)
        self._initializers = {tensor.name: tensor for tensor in self._model.graph.initializer}
        self.nodes: tuple[GraphNode, ...] = tuple(self._read_nodes())

    @property
    def constants(self) -> frozenset[str]:
        """Names of weights and other constants."""
        return frozenset(self._initializers)

    def constant(self, name: str) -> npt.NDArray[Any]:
        """A constant's values."""
        return np.asarray(self._onnx.numpy_helper.to_array(self._initializers[name], base_dir=str(self._path.parent)))

    def values(
        self, feeds: Mapping[str, npt.NDArray[Any]], names: Sequence[str]
    ) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """Run the graph and give the named tensors, a group of a limited size at a time.

        Args:
            feeds: the stage's inputs by name.
            names: of inner tensors or outputs.

        Raises:
            StageError: the graph doesn't run.
        """
        sizes = self._sizes(feeds)
        for group in _groups(names, sizes):
            try:
                results = self._session(group).run(list(group), dict(feeds))
            except Exception as error:  # onnxruntime's exceptions have no common base of their own
                raise StageError(
                    f"{self._path} doesn't run with inner tensors as outputs: {str(error).splitlines()[0]}",
                    remedy="edgedepth verify compares its outputs alone",
                ) from error
            yield from zip(group, results, strict=True)

    def _session(self, names: Sequence[str]) -> Any:
        model = type(self._model)()
        model.CopyFrom(self._model)
        declared = {value.name for value in model.graph.output}
        for name in names:
            if name not in declared:
                model.graph.output.append(self._onnx.ValueInfoProto(name=name))  # onnxruntime knows type and shape
        options = self._ort.SessionOptions()
        options.log_severity_level = 4
        options.enable_cpu_mem_arena = False
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(self._path.parent))
        return self._ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def _read_nodes(self) -> Iterator[GraphNode]:
        readers: dict[str, Any] = {}
        for node in self._model.graph.node:
            for name in node.input:
                readers.setdefault(name, node)
        block = "input"
        for node in self._model.graph.node:
            layer = self._layer_of(node, readers)
            block = block_named(layer) if layer else block
            yield GraphNode(
                name=node.name,
                op=node.op_type,
                inputs=tuple(node.input),
                outputs=tuple(node.output),
                block=block,
                layer=layer,
                attributes={
                    entry.name: _word(getattr(entry, _ATTRIBUTES[entry.type]))
                    for entry in node.attribute
                    if entry.type in _ATTRIBUTES
                },
            )

    def _layer_of(self, node: Any, readers: Mapping[str, Any]) -> str:
        """By a weight that kept its name; a product's weight lost it, and the bias behind the product has it."""
        names = [name for name in node.input if name in self._initializers]
        if node.op_type == "MatMul" and names and node.output[0] in readers:
            names += [name for name in readers[node.output[0]].input if name in self._initializers]
        named = [name for name in names if "." in name]
        return named[0].rpartition(".")[0] if named else ""

    def _sizes(self, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, int]:
        """Bytes of each tensor whose shape is known."""
        model = type(self._model)()
        model.CopyFrom(self._model)
        del model.graph.value_info[:]  # a quantizer leaves shapes behind that don't hold any more
        graph = self._onnx.shape_inference.infer_shapes(model).graph
        batch = max((array.shape[0] for array in feeds.values()), default=1)
        sizes = {}
        for value in (*graph.value_info, *graph.output):
            shape = value.type.tensor_type.shape.dim
            sizes[value.name] = 4 * math.prod(dim.dim_value or batch for dim in shape)
        return sizes


def _groups(names: Iterable[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    group: list[str] = []
    held = 0
    for name in names:
        size = sizes.get(name, _UNKNOWN)
        if group and held + size > _BUDGET:
            yield group
            group, held = [], 0
        group.append(name)
        held += size
    if group:
        yield group


def _word(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return f"{value:g}" if isinstance(value, int | float) else str(list(value))
