"""FP8 graphs against torch's own float8, on one linear layer; what can't be had is refused before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgedepth.calibration.blocks import find_layers
from edgedepth.calibration.fp8 import E4M3_MAX, HEADROOM, fp8_scale, peaks_of, quantize_fp8
from edgedepth.cli import main
from edgedepth.core.errors import ExportFailedError, UnsupportedError
from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporters.to_onnx_stage import export_stage
from edgedepth.exporting import export_bundle
from edgedepth.trt.adapter import GpuFacts
from edgedepth.trt.building import target_sms
from edgedepth.trt.lint import lint_file
from edgedepth.trt.options import EngineOptions

WIDTH = 32
STAGE = StageSpec(
    name="one",
    inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 6, WIDTH)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 6, WIDTH)),),
)


class OneLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.linear(x.to(self.linear.weight.dtype)).float(),)


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    path = tmp_path / "one.onnx"
    export_stage(OneLinear(), STAGE, path, precision="fp16", opset=20)
    return path


def run(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), disabled_optimizers=["QDQPropagationTransformer"])
    return session.run(None, {"x": x})[0]


def test_it_computes_what_torchs_float8_computes(stage: Path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 6, WIDTH), dtype=np.float32)
    peak = float(np.abs(x).max()) / 2 / HEADROOM  # what is larger saturates
    layers = find_layers(stage, "one")
    quantize_fp8(stage, layers, {"linear": peak})
    module = OneLinear().half()

    def rounded(tensor: torch.Tensor, largest: float) -> torch.Tensor:
        scale = float(fp8_scale(largest))
        scaled = (tensor.float() / scale).clamp(-E4M3_MAX, E4M3_MAX)
        return (scaled.to(torch.float8_e4m3fn).float() * scale).half()

    weight = module.linear.weight.detach()
    product = (
        rounded(torch.from_numpy(x).half(), HEADROOM * peak).float()
        @ rounded(weight, float(weight.abs().max())).float().T
    )
    expected = (product + module.linear.bias.detach().float()).numpy()
    # fp16 keeps 11 bits, here of the product and of the sum: two roundings of values of up to 4
    np.testing.assert_allclose(run(stage, x), expected, atol=4e-3)
    assert np.abs(run(stage, x) - module.float()(torch.from_numpy(x))[0].detach().numpy()).max() > 2e-2  # it is FP8


def test_weights_are_stored_in_8_bits(stage: Path) -> None:
    quantize_fp8(stage, find_layers(stage, "one"), {"linear": 1.0})
    onnx.checker.check_model(str(stage))
    graph = onnx.load(str(stage)).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    assert sum(kind == onnx.TensorProto.FLOAT8E4M3FN for kind in kinds.values()) == 2  # the weight, and the zero point
    assert not any(tensor.dims == [WIDTH, WIDTH] and kinds[tensor.name] == 10 for tensor in graph.initializer)
    assert lint_file(stage) == []


def test_another_float8_is_found(stage: Path) -> None:
    quantize_fp8(stage, find_layers(stage, "one"), {"linear": 1.0})
    model = onnx.load(str(stage))
    for tensor in model.graph.initializer:
        if tensor.name == "fp8_zero":
            tensor.data_type = onnx.TensorProto.FLOAT8E5M2
    onnx.save(model, str(stage))
    assert "it is float8_e5m2; TensorRT takes int8 and float8_e4m3fn alone" in str(lint_file(stage)[0])


def test_graphs_that_do_not_match_are_refused(stage: Path) -> None:
    with pytest.raises(ExportFailedError, match="other is a layer of one of the fp32 and the fp16 graph"):
        quantize_fp8(stage, find_layers(stage, "one"), {"linear": 1.0, "other": 1.0})


@given(st.floats(0, 6e4))
def test_a_scale_is_a_normal_fp16_and_reaches_the_peak(peak: float) -> None:
    scale = fp8_scale(peak)
    assert np.isfinite(scale)
    assert scale >= 2.0**-14
    # fp16 rounds the scale by 2^-11 at most: the peak is at most that far beyond E4M3's largest, and saturates to it
    assert peak / float(scale) <= E4M3_MAX * (1 + 2**-11)


def test_peaks_are_the_largest_magnitude_of_a_layers_inputs(stage: Path) -> None:
    layers = find_layers(stage, "one")
    (name,) = layers[0].inputs
    assert peaks_of(layers, {name: (-3.0, 2.0)}) == {"linear": 3.0}


@pytest.mark.parametrize(
    ("sm", "sms", "refused"), [(87, None, 87), (86, None, 86), (89, (86, 89), 86), (None, (75, 120), 75)]
)
def test_before_sm_89_there_is_no_fp8(sm: int | None, sms: tuple[int, ...] | None, refused: int) -> None:
    gpu = None if sm is None else GpuFacts(name="it", sm=sm, memory_mb=1)
    with pytest.raises(UnsupportedError, match=f"SM {refused} has no FP8 arithmetic, which came with SM 89") as caught:
        target_sms(gpu, EngineOptions(sms=sms), "fp8")
    assert "--fp16" in caught.value.remedy


def test_which_gpus_fp8_is_built_for() -> None:
    assert target_sms(None, EngineOptions(), "fp8") == (89, 120)
    assert target_sms(None, EngineOptions(), "fp16") == (86, 89, 120)
    assert target_sms(GpuFacts(name="Thor", sm=110, memory_mb=1), EngineOptions(), "fp8") == (110,)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--target", "tensorrt"), "made and measured on a calibration set"),
        (("--target", "onnx", "--calib", "SET"), "--fp8 is for TensorRT"),
        (("--target", "trt", "--calib", "SET", "--smooth", "0.5"), "--smooth goes with --int8"),
        (("--target", "trt", "--calib", "nowhere", "--layout", "single"), "single"),
        (("--target", "trt", "--calib", "nowhere", "--sm", "86"), "SM 86 has no FP8 arithmetic"),
        (("--target", "trt", "--calib", "nowhere"), "nowhere"),
    ],
)
def test_words_that_make_no_fp8_bundle(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["export", "--model", "depth-pro-mini", "--fp8", *words, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_plain_function_says_where_fp8_is() -> None:
    with pytest.raises(UnsupportedError, match="calibration set") as caught:
        export_bundle("depth-pro-mini", "tensorrt", options=ExportOptions(precision="fp8"))
    assert "--fp8 --calib SET" in caught.value.remedy
