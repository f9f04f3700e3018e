"""What is in the exported graphs: the form that other toolchains need, and nothing of this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgedepth.core.errors import ExportFailedError
from edgedepth.core.spec import Precision, StageSpec, TensorSpec
from edgedepth.exporters import to_onnx_stage
from edgedepth.exporters.to_onnx_stage import check_artefact
from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.loading import LoadedModel
from edgedepth.models.module_session import stage_specs

STAGES = ("patch_encoder", "image_encoder", "decoder", "fov")


class Graph:
    """An exported graph, to be asked who made a value and of which type it is."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self._maker = {name: node for node in self.nodes for name in node.output}
        self._weights = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
        values = (*model.graph.value_info, *model.graph.input, *model.graph.output)
        self._types = {value.name: value.type.tensor_type.elem_type for value in values} | self._weights

    def all(self, op_type: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if node.op_type == op_type]

    def maker(self, name: str) -> onnx.NodeProto:
        """The node that made a value, seen through casts."""
        node = self._maker[name]
        return self.maker(node.input[0]) if node.op_type == "Cast" else node

    def type_of(self, name: str) -> int:
        return self._types[name]

    def is_weight(self, name: str) -> bool:
        return name in self._weights


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def precision(request: pytest.FixtureRequest) -> Precision:
    return request.param


@pytest.fixture(scope="module")
def graphs(
    tiny: LoadedModel,
    precision: Precision,
    tracing_once: Callable[[], AbstractContextManager[None]],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Graph]:
    folder = tmp_path_factory.mktemp(f"graphs-{precision}")
    modules, specs = stage_modules(tiny.module), stage_specs(tiny)
    with tracing_once():
        for name in STAGES:
            to_onnx_stage.export_stage(
                modules[name], specs[name], folder / f"{name}.onnx", precision=precision, opset=20
            )
    return {name: Graph(onnx.load(str(folder / f"{name}.onnx"))) for name in STAGES}


@pytest.mark.parametrize("stage", ["patch_encoder", "image_encoder", "fov"])
def test_attention_scales_q_once_and_nothing_else(graphs: dict[str, Graph], tiny: LoadedModel, stage: str) -> None:
    """NVIDIA/TensorRT#4723: a scale on both q and k, or a mask, is fused wrongly by some versions."""
    graph = graphs[stage]
    softmaxes = graph.all("Softmax")
    assert len(softmaxes) == tiny.entry.config.depth
    for softmax in softmaxes:
        product = graph.maker(softmax.input[0])
        assert product.op_type == "MatMul"  # no mask added, no scale behind the product
        query, key = (graph.maker(name) for name in product.input)
        assert query.op_type == "Mul"
        assert sum(graph.is_weight(name) for name in query.input) == 1
        assert key.op_type == "Transpose"
        assert graph.maker(key.input[0]).op_type != "Mul"
    layer_scales = 2 * tiny.entry.config.depth
    assert len(graph.all("Mul")) == tiny.entry.config.depth + layer_scales


def test_softmax_and_layer_norm_are_float32(graphs: dict[str, Graph]) -> None:
    """Their sums overflow or round away in fp16: NVIDIA/TensorRT#2564."""
    found = 0
    for graph in graphs.values():
        for node in (*graph.all("Softmax"), *graph.all("LayerNormalization")):
            assert {graph.type_of(name) for name in (*node.input, *node.output[:1])} == {TensorProto.FLOAT}
            found += 1
    assert found > 20


def test_matrix_products_have_the_precision_that_was_asked_for(graphs: dict[str, Graph], precision: Precision) -> None:
    wanted = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16}[precision]
    for graph in graphs.values():
        assert {graph.type_of(node.input[0]) for node in graph.all("MatMul")} <= {wanted}
        # Every convolution too, but for the last one of a head, which decides the metres and the degrees.
        # The decoder runs it once a strip, on the same weights.
        others = {node.input[1] for node in graph.all("Conv") if graph.type_of(node.input[0]) != wanted}
        assert len(others) <= 1


def test_no_operator_outside_of_onnx(graphs: dict[str, Graph]) -> None:
    for graph in graphs.values():
        assert {node.domain for node in graph.nodes} == {""}
        assert not graph.model.functions


def test_nothing_tells_where_it_was_exported(graphs: dict[str, Graph]) -> None:
    for graph in graphs.values():
        text = graph.model.SerializeToString()
        assert b".py" not in text
        assert str(Path(__file__).parents[3]).encode() not in text


# What check_artefact catches: a file that says something else than was asked for.

STAGE = StageSpec(
    name="small",
    inputs=(TensorSpec(name="x", dtype="float32", shape=(2, 3)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(2, 3), unit="m"),),
)


def small_model(*, domain: str = "", opset: int = 20) -> onnx.ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 3)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"], domain=domain)], "small", values[:1], values[1:])
    opsets = [helper.make_opsetid("", opset)] + [helper.make_opsetid(domain, 1)] * bool(domain)
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def test_a_right_file_passes(tmp_path: Path) -> None:
    onnx.save(small_model(), str(tmp_path / "m.onnx"))
    check_artefact(tmp_path / "m.onnx", STAGE, 20)


@pytest.mark.parametrize(
    ("model", "stage", "problem"),
    [
        (small_model(opset=18), STAGE, "opset"),
        (small_model(domain="com.example"), STAGE, "opset"),
        (small_model(), replace(STAGE, inputs=(replace(STAGE.inputs[0], name="z"),)), "inputs"),
        (small_model(), replace(STAGE, outputs=(replace(STAGE.outputs[0], shape=(2, 4)),)), "outputs"),
        (small_model(), replace(STAGE, outputs=(replace(STAGE.outputs[0], dtype="float16"),)), "outputs"),
        (small_model(), replace(STAGE, inputs=(replace(STAGE.inputs[0], shape=("tiles", 3)),)), "inputs"),
        (onnx.ModelProto(), STAGE, "stage small"),
    ],
    ids=["opset", "domain", "input name", "output shape", "output dtype", "fixed batch", "empty"],
)
def test_planted_faults_are_caught(model: onnx.ModelProto, stage: StageSpec, problem: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ExportFailedError, match=problem):
        check_artefact(tmp_path / "m.onnx", stage, 20)
