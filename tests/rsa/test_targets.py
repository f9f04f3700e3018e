"""RSA for TensorRT and Core ML, on a machine that has neither: compiled or converted, and computed by other means.

TensorRT's graphs are computed by ONNX Runtime, on the very files that TensorRT-RTX compiled; Core ML's packages by the
project's evaluator of Core ML programs.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from edgedepth import EdgeDepth, export_bundle, verify_bundle
from edgedepth.cli import main
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import UnsupportedError
from edgedepth.core.session import Session
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporters.coreml_options import CoreMlOptions
from edgedepth.exporters.golden import draw_golden_frame
from edgedepth.exporters.trt_engines import build_bundle
from edgedepth.models.loading import load_model
from edgedepth.models.module_session import module_stages
from edgedepth.models.registry import MODELS
from edgedepth.programs.frames import as_rgb
from edgedepth.programs.guidance import Guidance
from edgedepth.programs.opening import open_program
from edgedepth.programs.stages import StagePool
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.ort_session import OrtSession
from edgedepth.trt import providers
from edgedepth.trt.adapter import GpuFacts
from edgedepth.trt.fake_api import FakeGpu, FakeTensorRt, read_with_onnxruntime
from edgedepth.trt.lint import lint_file
from edgedepth.trt.options import EngineOptions
from edgedepth.verify.depth_errors import compare_depth

from .conftest import Frame

CAPTIONS = (
    "A room with two chairs and a table",
    "A street with three cars",
    "a very large hall with many " + "chairs and tables, " * 60,  # cut off after 77 tokens
    "ein Café mit 3 Stühlen 🪑, &amp; naïve Lämpchen",
)

on_linux = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64",
    reason="PyPI has TensorRT-RTX for Linux on x86-64 alone",
)


@pytest.fixture(scope="module")
def typed(tracing_once: Callable[[], AbstractContextManager[None]], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """rsa-mini at fp16 with engines, as the command line exports it."""
    out = tmp_path_factory.mktemp("tensorrt") / "bundle"
    words = ["--provider", "tensorrt-rtx", "--sm", "86,89,120", "--out", str(out)]
    with tracing_once():
        assert main(["export", "--model", "rsa-mini", "--target", "tensorrt", "--fp16", *words]) == 0
    return open_bundle(out)


@on_linux
class TestTensorRt:
    def test_every_stage_is_compiled(self, typed: Bundle) -> None:
        stages = {"relative_depth", "text_encoder", "scale_shift"}
        assert {engine.stage.name for engine in typed.manifest.engines} == stages
        for artefact in typed.manifest.artefacts.values():
            assert lint_file(typed.file(artefact.path)) == []

    def test_what_the_graphs_compute_is_the_reference(self, typed: Bundle) -> None:
        loaded = load_model("rsa-mini")

        def open_stage(name: str) -> Session:
            artefact = typed.manifest.artefacts[name]
            return OrtSession(typed.file(artefact.path), artefact.stage, SessionOptions(device="cpu"))

        rgb = as_rgb(draw_golden_frame(), "rgb")
        with StagePool(open_stage) as pool, StagePool(module_stages(loaded)) as reference_pool:
            candidate, reference = (
                open_program(loaded.spec, one, layout="staged", tile_batch=5) for one in (pool, reference_pool)
            )
            for caption in CAPTIONS:
                guidance = Guidance(captions=(caption,))
                depths = [program.predict(rgb, guidance=guidance).depth for program in (candidate, reference)]  # type: ignore[call-arg]
                error = compare_depth(*depths)
                # as of Depth Pro's fp16: 0.3 % is asked; measured 0.1 % for the worst of these captions
                assert error.abs_rel <= 3e-3, caption

    def test_ids_reach_the_engine_as_integers(
        self, bundle: Bundle, pictures: list[Frame], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Engines that ONNX Runtime computes, in the memory of a GPU that isn't there: bytes count."""
        facts = GpuFacts(name="Orin", sm=87, memory_mb=16000, driver="driver 540.4.0, CUDA 12.6")
        provider = FakeTensorRt(read_with_onnxruntime)
        hardware = providers.Hardware(find=lambda: (facts,), open=lambda _, facts: FakeGpu(facts, memory=1 << 32))
        monkeypatch.setattr(providers, "LOADERS", {"tensorrt": lambda: provider})
        monkeypatch.setattr(providers, "HARDWARE", lambda: hardware)
        built = build_bundle(bundle, tmp_path / "built", EngineOptions())
        with EdgeDepth(built.path, backend="trt") as trt, EdgeDepth(bundle.path) as ort:
            for caption in ("a room", "a street with a bus"):
                expected = ort.infer(pictures[0], caption=caption)
                found = trt.infer(pictures[0], caption=caption)
                assert found.scale_shift == expected.scale_shift
                np.testing.assert_allclose(found.depth, expected.depth, rtol=1e-4)


class TestCoreMl:
    @pytest.mark.parametrize(
        "name",
        [
            "rsa-tiny",
            *(pytest.param(f"{name}-tiny", marks=pytest.mark.slow) for name in ("dpt", "dpt-hybrid", "midas-swin2")),
        ],
    )
    def test_packages_are_the_reference(self, name: str, pictures: list[Frame], tmp_path: Path) -> None:
        """fp32, which is judged tightly; Depth Anything's positions are resized, and BiT is not a transformer."""
        options = ExportOptions(precision="fp32")
        bundle = export_bundle(name, "coreml", options=options, weights="random:0", out=tmp_path / "bundle")
        report = verify_bundle(bundle, pictures)
        assert report.passed, report.failures
        assert max(stage.max_rel for stage in report.stages.values()) <= 1e-5  # operations in another order: 2e-6

    @pytest.mark.slow
    def test_rsa_mini_at_half_precision(self, pictures: list[Frame], tmp_path: Path) -> None:
        bundle = export_bundle("rsa-mini", "coreml", options=ExportOptions(precision="fp16"), out=tmp_path / "bundle")
        tokens = bundle.manifest.artefacts["text_encoder"].stage.inputs[0]
        assert (tokens.name, tokens.dtype) == ("tokens", "int32")
        report = verify_bundle(bundle, pictures)
        assert report.passed, report.failures
        assert report.stages["scale_shift"].max_rel < 1e-5  # the head is float32 at every precision

    @pytest.mark.parametrize(
        ("model", "options", "match"),
        [
            ("rsa-mini", {"precision": "int8"}, "known of Depth Pro alone"),
            ("rsa-mini", {"coreml": CoreMlOptions(compute_layout="ane")}, "written for Depth Pro's"),
            (
                "rsa-mini",
                {"coreml": CoreMlOptions(multifunction=True, deployment_target="iOS18")},
                "tried with Depth Pro alone",
            ),
            ("rsa-depth-anything", {"coreml": CoreMlOptions(image_input=True)}, "normalised otherwise"),
        ],
    )
    def test_what_is_depth_pros_is_refused(
        self, model: str, options: dict[str, object], match: str, tmp_path: Path
    ) -> None:
        asked = ExportOptions(**{"precision": "fp16", **options})  # type: ignore[arg-type]
        with pytest.raises(UnsupportedError, match=match):
            export_bundle(model, "coreml", options=asked, weights="random:0", out=tmp_path / "bundle")


REFUSED: list[tuple[str, str, str]] = [
    ("midas-swin2-large", "tensorrt", "mask"),
    ("rsa-midas", "tensorrt", "mask"),
    ("zoedepth-nyu", "coreai", "never tried"),
    ("rsa-mini", "coreai", "never tried"),
]


@pytest.mark.parametrize(("model", "target", "match"), REFUSED)
def test_what_goes_nowhere_is_refused_before_anything_is_loaded(
    model: str, target: str, match: str, tmp_path: Path
) -> None:
    assert model in MODELS
    precision = "fp32" if target == "coreai" else "fp16"
    with pytest.raises(UnsupportedError, match=match) as caught:
        export_bundle(model, target, options=ExportOptions(precision=precision), out=tmp_path / "bundle")
    assert "table" in caught.value.remedy
