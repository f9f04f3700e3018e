"""What is known to go wrong in TensorRT, looked for in an ONNX graph before anybody waits for a build.

Pure functions over the graph; its weights are looked at only where they are small (scales, zero points). Sources: what
TensorRT-RTX 1.7 refuses, and NVIDIA's threads: fp16 LayerNorm (NVIDIA/TensorRT#2564), attention (#4723).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth.core.optional import require

__all__ = ["Finding", "lint_file", "lint_model"]

_OPSETS = range(
    17, 23
)  # LayerNormalization came with 17; from 23 torch writes Attention, whose fp32 form doesn't build
_FP16_SCALES = 19  # the first opset whose scales may be fp16

# Operators of ONNX that TensorRT 10 and 11, and RTX, lower without a plugin: what depth models are made of, and more.
_OPERATORS = frozenset(
    """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast CastLike Ceil Celu Clip Concat Constant
    ConstantOfShape Conv ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Einsum Elu Equal Erf Exp
    Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool
    Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Identity If
    InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop LpNormalization
    MatMul Max MaxPool Mean Min Mish Mod Mul Neg Not Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceL1
    ReduceL2 ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape
    Resize Round ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus
    Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Unsqueeze
    Where Xor
    """.split()  # noqa: SIM905  (a hundred names are read as words)
)
_QUANTISED = ("int8", "float8_e4m3fn")
_THROUGH = frozenset({"Cast", "Identity"})  # what is looked through when a graph is followed
_MOVES = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Split", "Flatten"})  # values stay


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that TensorRT refuses or computes wrongly.

    Args:
        node: its name in the graph.
        operator: its type.
        problem: what is wrong, and what is right.
    """

    node: str
    operator: str
    problem: str

    def __str__(self) -> str:
        return f"node {self.node!r} ({self.operator}): {self.problem}"


def lint_file(path: Path) -> list[Finding]:
    """Lint an .onnx file; weights beside it are not read.

    Raises:
        MissingExtraError: onnx isn't installed.
    """
    onnx = require("onnx", extra="export", purpose="to check a graph for TensorRT")
    return lint_model(onnx.load(str(path), load_external_data=False))


def lint_model(model: Any) -> list[Finding]:
    """Lint an onnx.ModelProto: every finding, in the graph's order."""
    graph = _Graph.of(model)
    findings = [_opset(model)]
    for node in model.graph.node:
        findings += [_covered(node)]
        findings += [check(node, graph) for check in _CHECKS.get(node.op_type, ())]
    return [finding for finding in findings if finding is not None]


@dataclass(frozen=True, slots=True)
class _Graph:
    """A graph that can be followed both ways."""

    opset: int
    makers: Mapping[str, Any]
    users: Mapping[str, list[Any]]
    constants: Mapping[str, Any]  # TensorProto by name
    dtypes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Any) -> _Graph:
        users: dict[str, list[Any]] = {}
        constants = {tensor.name: tensor for tensor in model.graph.initializer}
        dtypes = {name: tensor.data_type for name, tensor in constants.items()}
        for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
            dtypes[value.name] = value.type.tensor_type.elem_type
        for node in model.graph.node:
            for name in node.input:
                users.setdefault(name, []).append(node)
            attributes = {entry.name: entry for entry in node.attribute}
            if node.op_type == "Constant" and "value" in attributes:
                constants[node.output[0]] = attributes["value"].t
            if node.op_type == "Cast":
                dtypes[node.output[0]] = attributes["to"].i
        opset = next((entry.version for entry in model.opset_import if entry.domain == ""), 0)
        makers = {name: node for node in model.graph.node for name in node.output}
        return cls(opset, makers, users, constants, dtypes)

    def before(self, name: str, skip: frozenset[str] = _THROUGH) -> Any | None:
        """The node that makes a value, past those that are looked through; None for inputs and weights."""
        node = self.makers.get(name)
        while node is not None and node.op_type in skip:
            node = self.makers.get(node.input[0])
        return node

    def after(self, name: str) -> Iterator[Any]:
        """The nodes that use a value, past those that are looked through."""
        for node in self.users.get(name, []):
            if node.op_type in _THROUGH:
                yield from self.after(node.output[0])
            else:
                yield node

    def dtype(self, name: str) -> str:
        """ONNX's name of a value's type, "FLOAT16"; empty where the graph doesn't say."""
        onnx = require("onnx", extra="export", purpose="to check a graph for TensorRT")
        number = self.dtypes.get(name)
        if number is None:
            node = self.makers.get(name)
            # Types are written down at the borders and at casts; in between they are inherited.
            return "" if node is None or not node.input else self.dtype(_typed_input(node))
        return str(onnx.TensorProto.DataType.Name(number))

    def values(self, name: str) -> Any | None:
        """A small constant as a numpy array; None for what isn't one or lies in another file."""
        onnx = require("onnx", extra="export", purpose="to check a graph for TensorRT")
        tensor = self.constants.get(name)
        if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
            return None
        return onnx.numpy_helper.to_array(tensor)


def _typed_input(node: Any) -> str:
    """The input that an output's type is inherited from: a DequantizeLinear's is that of its scale."""
    return str(node.input[1 if node.op_type == "DequantizeLinear" and len(node.input) > 1 else 0])


def _finding(node: Any, problem: str) -> Finding:
    return Finding(node.name or node.output[0], node.op_type, problem)


def _opset(model: Any) -> Finding | None:
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets.get("") in _OPSETS:
        return None
    allowed = f"{_OPSETS[0]} to {_OPSETS[-1]}"
    return Finding(
        "", "", f"the opset is {opsets.get('')}; TensorRT builds {allowed} reliably (from 23 with Attention)"
    )


def _covered(node: Any) -> Finding | None:
    if node.domain not in ("", "ai.onnx"):
        return _finding(node, f"the domain {node.domain!r} isn't ONNX's own; it would need a plugin")
    if node.op_type not in _OPERATORS:
        return _finding(node, "this operator isn't one that TensorRT builds without a plugin")
    return None


def _zero_points(node: Any, graph: _Graph) -> Finding | None:
    """Symmetric quantisation alone: "Non-zero zero point is not supported"."""
    if len(node.input) < 3 or not node.input[2]:
        return None
    values = graph.values(node.input[2])
    if values is None:
        known = node.input[2] in graph.constants  # a large one, per channel, beside the file
        return None if known else _finding(node, "its zero point is computed; it has to be a constant 0")
    if np.any(values != 0):
        return _finding(node, f"its zero point is {values.reshape(-1)[0]}; TensorRT takes symmetric scales, 0, alone")
    if values.dtype.name not in _QUANTISED:
        return _finding(node, f"it is {values.dtype.name}; TensorRT takes {' and '.join(_QUANTISED)} alone")
    return None


def _scales(node: Any, graph: _Graph) -> Finding | None:
    dtype = graph.dtype(node.input[1])
    if dtype == "FLOAT16" and graph.opset < _FP16_SCALES:
        return _finding(node, f"its scale is fp16 at opset {graph.opset}; that came with opset {_FP16_SCALES}")
    if dtype not in ("FLOAT", "FLOAT16", "BFLOAT16", ""):
        return _finding(node, f"its scale is {dtype}; it has to be FLOAT or FLOAT16")
    values = graph.values(node.input[1])
    if values is not None and not np.all(np.isfinite(values.astype(np.float32)) & (values > 0)):
        return _finding(node, "its scales are not all positive and finite")
    return None


def _no_int32(node: Any, graph: _Graph) -> Finding | None:
    if graph.dtype(node.input[0]) == "INT32":
        return _finding(
            node, "it dequantises int32, a quantised bias; TensorRT takes biases as floats (QuantizeBias=False)"
        )
    return None


def _quantised_input(node: Any, graph: _Graph) -> Finding | None:
    source = graph.before(node.input[0])
    if source is not None and source.op_type == "DequantizeLinear":
        return _finding(node, "its input is quantised; it has to stay in floats")
    return None


def _fp32_island(node: Any, graph: _Graph) -> Finding | None:
    dtype = graph.dtype(node.input[0])
    if dtype in ("FLOAT16", "BFLOAT16"):
        return _finding(
            node, f"it is computed in {dtype}, where its sums overflow or round away; cast to FLOAT around it"
        )
    return None


def _no_bf16(node: Any, graph: _Graph) -> Finding | None:
    if graph.dtype(node.input[0]) == "BFLOAT16":
        return _finding(node, "TensorRT can't infer the type of a transposed convolution in bf16; use fp16 or fp32")
    return None


def _attention(node: Any, graph: _Graph) -> Finding | None:
    """softmax((q * scale) @ kT) @ v: one scale, on q alone, no mask; else it may be fused wrongly."""
    scores = graph.before(node.input[0])
    if scores is None or not any(user.op_type == "MatMul" for user in graph.after(node.output[0])):
        return None  # a softmax that is no attention's
    if scores.op_type != "MatMul":
        problem = _NOT_SCORES.get(scores.op_type, f"its scores come from {scores.op_type}")
    else:
        query, key = (_operator(graph.before(name, _THROUGH | _MOVES)) for name in scores.input)
        problem = _wrong_sides(query, key)
    return _finding(node, f"{problem}; TensorRT fuses (q*scale) @ kT -> softmax -> @ v rightly") if problem else None


_NOT_SCORES = {
    **dict.fromkeys(("Add", "Where", "Sub"), "its scores carry a mask"),
    **dict.fromkeys(("Mul", "Div"), "its scores are scaled, and not q"),
    "DequantizeLinear": "its scores are quantised",
}


def _operator(node: Any | None) -> str:
    return "" if node is None else str(node.op_type)


def _wrong_sides(query: str, key: str) -> str:
    """What is wrong with the operators that q and k come from; empty for the right form."""
    if "DequantizeLinear" in (query, key):
        return "q or k is quantised"
    if key in ("Mul", "Div"):
        return "k is scaled"
    return "" if query == "Mul" else "q carries no scale"


_Check = Callable[[Any, _Graph], Finding | None]
_CHECKS: dict[str, tuple[_Check, ...]] = {
    "QuantizeLinear": (_zero_points, _scales),
    "DequantizeLinear": (_zero_points, _scales, _no_int32),
    "LayerNormalization": (_quantised_input, _fp32_island),
    "Softmax": (_fp32_island, _attention),
    "ConvTranspose": (_no_bf16,),
}
