"""A stage in INT8: what is quantised, how, and that it computes what quantisation by hand computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgedepth.calibration.blocks import Layer, blocks_of, find_layers
from edgedepth.calibration.int8 import activation_scales, check_quantised, quantize_stage, restore_layers
from edgedepth.calibration.ranges import Range, collect_ranges
from edgedepth.core.errors import ExportFailedError

from . import graphs


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return graphs.block_stage(tmp_path / "source" / "stage.onnx")


@pytest.fixture
def layers(source: Path) -> tuple[Layer, ...]:
    return find_layers(source, "stage")


@pytest.fixture
def ranges(source: Path, layers: tuple[Layer, ...], tmp_path: Path) -> dict[str, Range]:
    recording = graphs.recorded(tmp_path / "recording", graphs.inputs(3))
    tensors = [name for layer in layers for name in layer.inputs]
    return collect_ranges(source, tensors, recording, "stage", method="minmax", state=tmp_path / "state.npz")


def quantised(source: Path, layers: Any, ranges: Any, folder: Path) -> Path:
    folder.mkdir()
    out = folder / "stage.onnx"
    quantize_stage(source, out, layers, ranges)
    return out


class TestFinding:
    def test_layers_are_known_by_their_biases_and_attention_is_none(self, layers: tuple[Layer, ...]) -> None:
        assert [(layer.name, layer.nodes, layer.inputs) for layer in layers] == [
            ("vit.blocks.0.mlp.fc1", ("first",), ("normed",)),
            ("vit.blocks.1.mlp.fc2", ("second",), ("active",)),
        ]
        each = graphs.TOKENS * graphs.WIDTH * graphs.HIDDEN
        assert [layer.macs for layer in layers] == [each, each]
        assert [layer.weights for layer in layers] == [graphs.WIDTH * graphs.HIDDEN] * 2

    def test_blocks_are_those_of_the_model(self, layers: tuple[Layer, ...]) -> None:
        assert [block.name for block in blocks_of(layers)] == ["stage/vit.blocks.0", "stage/vit.blocks.1"]

    def test_weights_that_stay_fp32_are_left_out(self, source: Path) -> None:
        assert len(find_layers(source, "stage", fp32_weights={"val_1"})) == 1

    def test_convolutions_of_strips_are_one_layer(self, mini_bundle: Path) -> None:
        path = mini_bundle / "decoder" / "decoder.onnx"
        assert find_layers(path, "decoder") == ()
        found = {layer.name: layer for layer in find_layers(path, "decoder", convolutions=True)}
        assert len(found["head.head.0"].nodes) == 2  # two strips in the mini
        # (16, 32, 3, 3) on 256 x 256 pixels, and a strip carries two rows of pixels to each side of its neighbour
        assert found["head.head.0"].macs == 2 * 16 * 32 * 9 * (16 * 8 + 2 * 2) * 256

    @pytest.mark.parametrize("stage", ["patch_encoder", "image_encoder", "fov"])
    def test_every_linear_layer_of_the_model_is_found(self, mini_bundle: Path, stage: str) -> None:
        layers = find_layers(mini_bundle / stage / f"{stage}.onnx", stage)
        names = {layer.name.partition("blocks.")[2] for layer in layers} - {""}
        each = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
        assert names == {f"{block}.{layer}" for block in range(6) for layer in each}


class TestGraph:
    def test_only_the_layers_are_quantised_and_biases_are_not(
        self, source: Path, layers: tuple[Layer, ...], ranges: dict[str, Range], tmp_path: Path
    ) -> None:
        graph = onnx.load(str(quantised(source, layers, ranges, tmp_path / "q"))).graph
        by_output = {name: node for node in graph.node for name in node.output}
        fed_by_dq = {
            node.name
            for node in graph.node
            if any(name in by_output and by_output[name].op_type == "DequantizeLinear" for name in node.input)
        }
        assert fed_by_dq == {"first", "second"}
        values = {tensor.name: tensor for tensor in graph.initializer}
        zero_points = [
            numpy_helper.to_array(values[node.input[2]])
            for node in graph.node
            if node.op_type in ("QuantizeLinear", "DequantizeLinear")
        ]
        assert zero_points
        assert all(point.dtype == np.int8 and not point.any() for point in zero_points)  # symmetric
        stored = [
            values[node.input[0]]
            for node in graph.node
            if node.op_type == "DequantizeLinear"
            if node.input[0] in values
        ]
        assert [tensor.data_type for tensor in stored] == [onnx.TensorProto.INT8] * 2
        assert not {"val_1", "val_2"} & set(values)  # the fp32 weights are gone
        scales = [
            numpy_helper.to_array(values[node.input[1]])
            for node in graph.node
            if node.input[0] in {t.name for t in stored}
        ]
        assert sorted(scale.shape for scale in scales) == [(graphs.WIDTH,), (graphs.HIDDEN,)]  # one an output channel

    def test_it_computes_what_quantisation_by_hand_computes(
        self, source: Path, layers: tuple[Layer, ...], ranges: dict[str, Range], tmp_path: Path
    ) -> None:
        out = quantised(source, layers, ranges, tmp_path / "q")
        feeds = graphs.inputs(1, seed=7)[0]
        values = graphs.weights()

        def fake(array: Any, scale: Any) -> Any:
            return np.clip(np.round(array / scale), -128, 127) * scale

        def linear(tensor: str, activation: Any, weight: Any, bias: Any) -> Any:
            scale = np.float32(max(map(abs, ranges[tensor]))) / np.float32(127.5)
            assert activation_scales(out)[tensor] == pytest.approx(scale, rel=5e-3)  # 127 or 127.5: onnxruntime's own
            return fake(activation, np.float32(activation_scales(out)[tensor])) @ weight + bias

        x = feeds["x"]
        normed = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
        normed = normed * values["vit.blocks.0.norm1.weight"] + values["vit.blocks.0.norm1.bias"]
        hidden = linear("normed", normed, values["val_1"], values["vit.blocks.0.mlp.fc1.bias"])
        tokens = linear("active", np.maximum(hidden, 0), values["val_2"], values["vit.blocks.1.mlp.fc2.bias"])
        scores = tokens @ tokens.transpose(0, 2, 1)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        expected = shares / shares.sum(-1, keepdims=True) @ tokens
        (found,) = graphs.run(out, feeds)
        # By hand the weights are exact: an INT8 weight is off by half a step of 1/127 of its channel's largest.
        assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()

    def test_onnxruntime_multiplies_in_int8(
        self, source: Path, layers: tuple[Layer, ...], ranges: dict[str, Range], tmp_path: Path
    ) -> None:
        """And doesn't dequantise first, which would be slower than fp32."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
        options.log_severity_level = 4
        out = quantised(source, layers, ranges, tmp_path / "q")
        onnxruntime.InferenceSession(str(out), options, providers=["CPUExecutionProvider"])
        kinds = [node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node]
        assert kinds.count("MatMulIntegerToFloat") == 2
        assert "DequantizeLinear" not in kinds

    def test_the_same_ranges_give_the_same_bytes(
        self, source: Path, layers: tuple[Layer, ...], ranges: dict[str, Range], tmp_path: Path
    ) -> None:
        first, second = (quantised(source, layers, ranges, tmp_path / name) for name in "ab")
        assert first.read_bytes() == second.read_bytes()  # so small a stage has its weights inside

    def test_half_a_quantised_layer_is_refused(
        self, source: Path, layers: tuple[Layer, ...], ranges: dict[str, Range], tmp_path: Path
    ) -> None:
        out = quantised(source, layers, ranges, tmp_path / "q")
        with pytest.raises(ExportFailedError, match="asked for"):
            check_quantised(out, layers[:1])
        model = onnx.load(str(out), load_external_data=False)
        (first,) = [node for node in model.graph.node if node.name == "first"]
        first.input[0] = "normed"
        onnx.save(model, str(out))
        with pytest.raises(ExportFailedError, match="halves"):
            check_quantised(out, layers)


class TestRestoring:
    def test_all_layers_restored_is_the_fp32_stage_bit_by_bit(
        self, source: Path, layers: tuple[Layer, ...], ranges: dict[str, Range], tmp_path: Path
    ) -> None:
        restored = tmp_path / "restored.onnx"
        restore_layers(quantised(source, layers, ranges, tmp_path / "q"), source, restored, layers)
        feeds = graphs.inputs(1, seed=9)[0]
        assert np.array_equal(graphs.run(restored, feeds)[0], graphs.run(source, feeds)[0])
        kinds = {node.op_type for node in onnx.load(str(restored)).graph.node}
        assert not {"QuantizeLinear", "DequantizeLinear"} & kinds

    def test_a_mixture_is_what_quantising_the_others_gives(
        self, source: Path, layers: tuple[Layer, ...], ranges: dict[str, Range], tmp_path: Path
    ) -> None:
        restored = tmp_path / "restored.onnx"
        restore_layers(quantised(source, layers, ranges, tmp_path / "q"), source, restored, layers[:1])
        check_quantised(restored, layers[1:])
        direct = quantised(source, layers[1:], ranges, tmp_path / "direct")
        feeds = graphs.inputs(1, seed=9)[0]
        assert np.array_equal(graphs.run(restored, feeds)[0], graphs.run(direct, feeds)[0])
