"""Bundles of relative models and RSA: every stage and the metres against the eager reference; planted faults."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edgedepth import EdgeDepth, export_bundle, verify_bundle
from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import OptionError, SelfTestError, UnsupportedError, WeightsMismatchError
from edgedepth.exporters.base import ExportOptions
from edgedepth.models.loading import load_model
from edgedepth.models.relative import Rsa
from edgedepth.trt.options import EngineOptions

from .conftest import Frame
from .miniatures import NETWORKS

pytestmark = pytest.mark.usefixtures("traced_once")  # of one network for several targets


def test_the_bundle_holds_three_stages_and_tokens_stay_outside(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert [stage.name for stage in manifest.model.stages] == ["relative_depth", "text_encoder", "scale_shift"]
    tokens = manifest.artefacts["text_encoder"].stage.inputs[0]
    assert (tokens.name, tokens.dtype, tokens.shape) == ("tokens", "int32", (1, 77))
    assert manifest.model.relative is not None
    assert (manifest.model.family, manifest.model.kind) == ("rsa", "metric")


def test_every_stage_and_the_metres_are_the_references(bundle: Bundle, pictures: list[Frame]) -> None:
    report = verify_bundle(bundle, pictures)
    assert report.passed, report.failures
    assert set(report.stages) == {"relative_depth", "text_encoder", "scale_shift"}
    assert report.end_to_end is not None
    assert report.end_to_end.fov_deg == 0  # neither predicts one
    with EdgeDepth(bundle.path) as model:
        depth = model.infer(pictures[0], caption="a room").depth
    assert depth.std() / depth.mean() > 0.05  # metres that vary: there was something to compare


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_topology_exports_and_verifies(name: str, target: str, pictures: list[Frame], tmp_path: Path) -> None:
    bundle = export_bundle(name, target, weights="random:0", out=tmp_path / "bundle")
    report = verify_bundle(bundle, pictures)
    assert report.passed, report.failures
    with EdgeDepth(bundle.path) as model:
        result = model.infer(pictures[0])
        metric = model.infer(pictures[0], scale_shift=(0.05, 0.1))
    assert result.kind == "relative_inverse"
    np.testing.assert_allclose(metric.inverse_depth, 0.05 * result.inverse_depth + 0.1, rtol=1e-5)


# The head is computed in fp32 at every precision; OpenVINO stores its weights in fp16 all the same.
@pytest.mark.parametrize(("target", "head_max_rel"), [("onnx", 1e-5), ("openvino", 2e-3)])
def test_half_precision(target: str, head_max_rel: float, pictures: list[Frame], tmp_path: Path) -> None:
    options = ExportOptions(precision="fp16")
    bundle = export_bundle("rsa-tiny", target, options=options, weights="random:0", out=tmp_path / "bundle")
    report = verify_bundle(bundle, pictures)
    assert report.passed, report.failures
    assert report.stages["scale_shift"].max_rel < head_max_rel


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_topology_at_half_precision(name: str, pictures: list[Frame], tmp_path: Path) -> None:
    options = ExportOptions(precision="fp16")
    bundle = export_bundle(name, "onnx", options=options, weights="random:0", out=tmp_path / "bundle")
    report = verify_bundle(bundle, pictures)
    assert report.passed, report.failures


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="PyPI has TensorRT-RTX for Linux on x86-64 alone",
)
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "midas-swin2-tiny"])  # refused: see the registry
def test_every_topology_is_compiled_for_tensorrt(name: str, tmp_path: Path) -> None:
    options = ExportOptions(precision="fp16", engine=EngineOptions(provider="tensorrt-rtx", sms=(89,)))
    bundle = export_bundle(name, "tensorrt", options=options, weights="random:0", out=tmp_path / "bundle")
    assert len(bundle.manifest.engines) == 1


def test_a_tiny_network_runs_with_a_released_head(released_head: Path, pictures: list[Frame], tmp_path: Path) -> None:
    weights = f"relative=random:0,text=random:0,head={released_head}"
    bundle = export_bundle("rsa-tiny", "onnx", weights=weights, out=tmp_path / "bundle")
    assert verify_bundle(bundle, pictures, weights=weights).passed
    loaded = load_model("rsa-tiny", weights)
    assert isinstance(loaded.module, Rsa)
    assert sum(parameter.numel() for parameter in loaded.module.head.parameters()) == 804_354  # type: ignore[union-attr]
    with EdgeDepth(bundle.path) as model:
        told = model.infer(pictures[0], detections=[("chair", 2), ("desk", 1)]).scale_shift
    assert told is not None
    assert told.captions == ("An image with 2 chairs, desk.",)
    assert told.scale > 0


def test_the_reference_itself_runs_as_a_backend(bundle: Bundle, pictures: list[Frame]) -> None:
    with (
        EdgeDepth("rsa-tiny", backend="torch", weights="random:0") as reference,
        EdgeDepth(bundle.path) as candidate,
    ):
        results = [model.infer(pictures[0], caption=["a room", "a street"]) for model in (reference, candidate)]
    np.testing.assert_allclose(results[1].depth, results[0].depth, rtol=1e-4)


def plant(module: Rsa, fault: str) -> None:
    """A mistake in the reference, which a right bundle must then differ from."""
    assert module.head is not None
    assert module.text is not None
    with torch.no_grad():
        if fault == "scale and shift interchanged":
            module.head.scale_net, module.head.shift_net = module.head.shift_net, module.head.scale_net
        elif fault == "scale 1 % off":
            module.head.scale_net[-1].bias += 0.01  # type: ignore[operator]
        elif fault == "a position of the text":
            module.text.positional_embedding[5, ::2] += 1.0
        else:
            module.relative.network.head.conv3.weight *= 1.01  # type: ignore[union-attr,operator]


@pytest.mark.parametrize(
    "fault", ["scale and shift interchanged", "scale 1 % off", "a position of the text", "relative depth 1 % off"]
)
def test_planted_faults_are_caught(
    fault: str, bundle: Bundle, pictures: list[Frame], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = load_model("rsa-tiny", "random:0")
    assert isinstance(loaded.module, Rsa)
    plant(loaded.module, fault)
    monkeypatch.setattr("edgedepth.references.load_model", lambda *_, **__: loaded)
    report = verify_bundle(bundle, pictures)
    assert not report.passed
    assert any("end to end" in failure for failure in report.failures), report.failures
    assert any("stage" in failure for failure in report.failures), report.failures


def test_a_device_that_computes_something_else_does_not_serve(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgedepth.programs.rsa.PROOF_CAPTION", "a street with a bus")  # as if the text were misread
    with pytest.raises(SelfTestError, match="doesn't reproduce"):
        EdgeDepth(bundle.path, self_test="always")


def test_a_bundle_of_another_seed_is_not_compared(bundle: Bundle, pictures: list[Frame]) -> None:
    with pytest.raises(WeightsMismatchError, match="was made from weights"):
        verify_bundle(bundle, pictures, weights="random:1")


def test_options_that_need_tiles_are_refused(tmp_path: Path) -> None:
    for options in (ExportOptions(layout="single"), ExportOptions(tile_batch=7), ExportOptions(dynamic_batch=True)):
        with pytest.raises(UnsupportedError, match="has no tiles"):
            export_bundle("rsa-tiny", "onnx", options=options, weights="random:0", out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


class TestResult:
    def test_relative_depth_has_no_millimetres(self, bundle: Bundle, pictures: list[Frame], tmp_path: Path) -> None:
        with EdgeDepth(bundle.path) as model:
            result = model.infer(pictures[0], kind="relative_inverse")
        assert result.kind == "relative_inverse"
        for refused in (result.points, lambda: result.save_png16(tmp_path / "d.png")):
            with pytest.raises(OptionError, match="relative, without a scale"):
                refused()
        result.save_npy(tmp_path / "d.npy")
        assert result.colorize().shape == (*pictures[0].shape[:2], 3)

    def test_points_need_a_focal_length(self, bundle: Bundle, pictures: list[Frame]) -> None:
        with EdgeDepth(bundle.path) as model:
            without = model.infer(pictures[0], caption="a room")
            given = model.infer(pictures[0], caption="a room", focal_px=90)
        with pytest.raises(OptionError, match="none was given"):
            without.points()
        assert without.summary()["focal_px"] is None
        assert given.points().shape == (72, 96, 3)
        assert given.summary()["scale_shift"]["captions"] == ["a room"]

    def test_a_metric_model_takes_no_caption(self) -> None:
        frame = np.zeros((32, 32, 3), np.uint8)
        with (
            EdgeDepth("depth-pro-mini", backend="torch") as model,
            pytest.raises(OptionError, match="gives metres by itself"),
        ):
            model.infer(frame, caption="a room")
