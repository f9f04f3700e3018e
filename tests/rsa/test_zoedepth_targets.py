"""ZoeDepth for TensorRT and Core ML, on a machine that has neither: as test_targets.py has it for RSA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
import torch

from edgedepth import export_bundle, verify_bundle
from edgedepth.cli import main
from edgedepth.core.bundle import open_bundle
from edgedepth.core.session import Session
from edgedepth.core.spec import Precision
from edgedepth.core.tolerances import tolerance_for
from edgedepth.exporters.base import ExportOptions
from edgedepth.models.loading import load_model
from edgedepth.models.module_session import module_stages
from edgedepth.models.registry import MODELS
from edgedepth.models.relative_random import probe_picture, random_zoedepth
from edgedepth.models.zoedepth import ZoeDepth
from edgedepth.models.zoedepth_stages import ZoeDepthStage
from edgedepth.programs.direct import DirectProgram
from edgedepth.programs.frames import as_rgb
from edgedepth.programs.stages import StagePool
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.ort_session import OrtSession
from edgedepth.trt.lint import lint_file
from edgedepth.verify.depth_errors import compare_depth

from .conftest import Frame
from .miniatures import ZOEDEPTHS, entry
from .test_targets import on_linux

ONE, NORMED, TWO = ZOEDEPTHS
PUBLISHED_BINS = 64


@pytest.mark.parametrize("name", ZOEDEPTHS)
@pytest.mark.parametrize("bias", [0.5, 12.0])
def test_softmax_spelled_out_is_the_references(name: str, bias: float) -> None:
    """With biases far larger than a transformer learns, too."""
    config = ZOEDEPTHS[name]
    shape = config.rule.preprocess().shape
    reference = ZoeDepth(random_zoedepth(config.network, 0))
    picture = probe_picture(shape)
    with torch.inference_mode():
        for parameter_name, parameter in reference.named_parameters():
            if parameter_name.endswith("relative_position_bias_table"):
                parameter.uniform_(-bias, bias, generator=torch.Generator().manual_seed(0))
        expected = reference(picture)
        (found,) = ZoeDepthStage(reference, shape, spelled_softmax=True)(picture)
        without = ZoeDepthStage(reference, shape)
        for module in without.modules():
            if hasattr(module, "table"):
                module.table = torch.nn.Parameter(torch.zeros_like(module.table), requires_grad=False)
        (unbiased,) = without(picture)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)  # products in another order
    assert not torch.allclose(unbiased, expected, rtol=1e-4)  # the biases are seen in the metres


@on_linux
@pytest.mark.parametrize(
    ("name", "precision"),
    [
        (ONE, "fp16"),
        *(pytest.param(name, "fp16", marks=pytest.mark.slow) for name in (NORMED, TWO)),
        pytest.param(TWO, "fp32", marks=pytest.mark.slow),
    ],
)
def test_tensorrt_compiles_what_computes_the_reference(
    name: str, precision: Precision, pictures: list[Frame], tmp_path: Path
) -> None:
    """As the command line exports it; ONNX Runtime computes the graph that TensorRT-RTX compiled."""
    words = ["--weights", "random:0", "--provider", "tensorrt-rtx", "--sm", "86,89,120", "--out", str(tmp_path / "b")]
    assert main(["export", "--model", name, "--target", "tensorrt", f"--{precision}", *words]) == 0
    bundle = open_bundle(tmp_path / "b")
    assert {engine.stage.name for engine in bundle.manifest.engines} == {"metric_depth"}
    artefact = bundle.manifest.artefacts["metric_depth"]
    assert lint_file(bundle.file(artefact.path)) == []
    loaded = load_model(name, "random:0")

    def open_stage(_: str) -> Session:
        return OrtSession(bundle.file(artefact.path), artefact.stage, SessionOptions(device="cpu"))

    limits = tolerance_for(precision)
    with StagePool(open_stage) as pool, StagePool(module_stages(loaded)) as reference_pool:
        candidate, reference = (DirectProgram(loaded.spec, one) for one in (pool, reference_pool))
        for picture in pictures:
            rgb = as_rgb(picture, "bgr")
            error = compare_depth(candidate.predict(rgb).depth, reference.predict(rgb).depth)
            assert error.abs_rel <= limits.abs_rel
            assert error.max_rel <= limits.max_rel


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOEDEPTHS)
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_core_ml_packages_are_the_reference(
    name: str, precision: Precision, pictures: list[Frame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With as many bins as published: their log-binomials are large and cancel, and need float32."""
    config = ZOEDEPTHS[name]
    heads = [{**head, "n_bins": PUBLISHED_BINS} for head in config.options["bin_configurations"]]
    options = MappingProxyType({**config.options, "bin_configurations": heads})
    monkeypatch.setitem(MODELS, name, entry(name, replace(config, options=options)))
    asked = ExportOptions(precision=precision)
    bundle = export_bundle(name, "coreml", options=asked, weights="random:0", out=tmp_path / "bundle")
    report = verify_bundle(bundle, pictures)
    assert report.passed, report.failures
    if precision == "fp32":
        assert max(stage.max_rel for stage in report.stages.values()) <= 1e-5  # operations in another order: 2e-6
