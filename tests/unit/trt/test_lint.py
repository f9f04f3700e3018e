"""The kit's checks: right graphs pass, and every fault that is planted in one is named with its node."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedepth.core.bundle import open_bundle
from edgedepth.trt.lint import lint_file, lint_model

F32, F16 = TensorProto.FLOAT, TensorProto.FLOAT16


def constant(name: str, values: object, dtype: type = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype), name)


def model_of(
    nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], *, opset: int = 20, elem: int = F32
) -> onnx.ModelProto:
    info = [helper.make_tensor_value_info(name, elem, [1, 4, 4]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", info[:1], info[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def node(operator: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(operator, inputs.split(), [output], name=f"the_{output}", **attributes)


def attention(*, query: str = "q", key: str = "kT", scores: str = "qk", elem: int = F32) -> onnx.ModelProto:
    """One head; the arguments name which variant of each part is used."""
    nodes = [
        node("Mul", "x scale", "q"),
        node("Transpose", "x", "kT", perm=[0, 2, 1]),
        node("Mul", "kT scale", "scaled_kT"),
        node("MatMul", f"{query} {key}", "qk"),
        node("Mul", "qk scale", "scaled"),
        node("Add", "qk scale", "masked"),
        node("Cast", scores, "scores32", to=F32),
        node("Softmax", "scores32" if elem != F16 else scores, "weights", axis=-1),
        node("MatMul", "weights x", "y"),
    ]
    return model_of(nodes, [constant("scale", 0.5)], elem=elem)


def quantised(
    *,
    zero: int = 0,
    scale: float = 0.1,
    zero_dtype: type = np.int8,
    scale_dtype: type = np.float32,
    opset: int = 20,
    reader: str = "MatMul",
) -> onnx.ModelProto:
    nodes = [
        node("QuantizeLinear", "x scale zero", "q"),
        node("DequantizeLinear", "q scale zero", "dq"),
        node(reader, "dq w", "y"),
    ]
    constants = [constant("scale", scale, scale_dtype), constant("zero", zero, zero_dtype), constant("w", np.eye(4))]
    return model_of(nodes, constants, opset=opset)


def int32_bias() -> onnx.ModelProto:
    nodes = [node("DequantizeLinear", "bias scale", "dq"), node("Add", "x dq", "y")]
    return model_of(nodes, [constant("bias", [1, 2, 3, 4], np.int32), constant("scale", 0.1)])


def quantised_query() -> onnx.ModelProto:
    nodes = [
        node("QuantizeLinear", "x scale zero", "i8"),
        node("DequantizeLinear", "i8 scale zero", "dq"),
        node("Transpose", "x", "kT", perm=[0, 2, 1]),
        node("MatMul", "dq kT", "qk"),
        node("Softmax", "qk", "weights"),
        node("MatMul", "weights x", "y"),
    ]
    return model_of(nodes, [constant("scale", 0.1), constant("zero", 0, np.int8)])


def alone(operator: str, *, elem: int = F32, opset: int = 20, domain: str = "", inputs: str = "x w") -> onnx.ModelProto:
    built = node(operator, inputs, "y")
    built.domain = domain
    return model_of([built], [constant("w", np.ones(4))], opset=opset, elem=elem)


@pytest.mark.parametrize(
    "model",
    [
        attention(),
        quantised(),
        quantised(scale_dtype=np.float16, opset=19),
        alone("LayerNormalization"),
        alone("Relu", elem=F16, inputs="x"),
    ],
    ids=["attention", "int8", "fp16 scales at 19", "LayerNorm in fp32", "fp16"],
)
def test_right_graphs_pass(model: onnx.ModelProto) -> None:
    assert lint_model(model) == []


@pytest.mark.parametrize(
    ("plant", "at", "problem"),
    [
        (lambda: attention(key="scaled_kT"), "the_weights", "k is scaled"),
        (lambda: attention(query="x"), "the_weights", "q carries no scale"),
        (lambda: attention(query="x", scores="scaled"), "the_weights", "scores are scaled"),
        (lambda: attention(scores="masked"), "the_weights", "mask"),
        (quantised_query, "the_weights", "q or k is quantised"),
        (lambda: attention(elem=F16), "the_weights", "computed in FLOAT16"),
        (lambda: quantised(zero=3), "the_q", "zero point is 3"),
        (lambda: quantised(zero_dtype=np.uint8), "the_q", "uint8"),
        (lambda: quantised(scale=0.0), "the_q", "not all positive"),
        (lambda: quantised(scale=float("nan")), "the_q", "not all positive"),
        (lambda: quantised(scale_dtype=np.float16, opset=18), "the_q", "opset 19"),
        (lambda: quantised(reader="LayerNormalization"), "the_y", "its input is quantised"),
        (int32_bias, "the_dq", "int32"),
        (lambda: alone("LayerNormalization", elem=F16), "the_y", "computed in FLOAT16"),
        (lambda: alone("ConvTranspose", elem=TensorProto.BFLOAT16), "the_y", "bf16"),
        (lambda: alone("Attention", opset=23), "the_y", "without a plugin"),
        (lambda: alone("Det"), "the_y", "without a plugin"),
        (lambda: alone("Gelu", domain="com.microsoft"), "the_y", "isn't ONNX's own"),
        (lambda: alone("Relu", opset=23, inputs="x"), "", "the opset is 23"),
        (lambda: alone("Relu", opset=16, inputs="x"), "", "the opset is 16"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_planted_faults_are_named(plant: Callable[[], onnx.ModelProto], at: str, problem: str) -> None:
    found = [finding for finding in lint_model(plant()) if finding.node == at]
    assert any(problem in str(finding) for finding in found), lint_model(plant())


def test_the_exported_graphs_pass(mini_bundle: Path) -> None:
    bundle = open_bundle(mini_bundle)
    for artefact in bundle.manifest.artefacts.values():
        assert lint_file(bundle.file(artefact.path)) == []
