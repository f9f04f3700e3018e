"""What the whole suite shares. Real pictures lie beside a checkout or nowhere: tests that need them say so."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edgedepth.core.progress import silent

if TYPE_CHECKING:
    from torch import nn

    from edgedepth.core.spec import Precision, StageSpec
    from edgedepth.exporters.coreml_options import ComputeLayout
    from edgedepth.models.loading import LoadedModel

ROOT = Path(__file__).resolve().parents[1]
REAL_PICTURES = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _store_of_shared_fixtures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fixtures that outlive a test have a store too that is neither the user's nor another worker's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEDEPTH_HOME", str(tmp_path_factory.mktemp("edgedepth-home")))
        yield


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's artefact store."""
    monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path / "edgedepth-home"))


@pytest.fixture(scope="session")
def real_pictures() -> Path:
    """The folder of real pictures that developers keep beside their checkout."""
    if not REAL_PICTURES.is_dir():
        pytest.skip("the real pictures are not beside this checkout (../shared/data)")
    return REAL_PICTURES


@pytest.fixture(scope="session")
def mini() -> LoadedModel:
    """The mini on its seeded random weights."""
    from edgedepth.models.loading import load_model

    return load_model("depth-pro-mini", "random:0")


@pytest.fixture(scope="session")
def mini_bundle(mini: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mini's fp32 ONNX bundle, exported once for the whole suite. Copy it before changing anything in it."""
    from edgedepth.exporters.base import ExportOptions, exporter_for

    return exporter_for("onnx").export(mini, ExportOptions(), tmp_path_factory.mktemp("mini") / "bundle").path


@pytest.fixture(scope="session")
def mini_openvino(
    mini: LoadedModel, mini_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Precision], Path]:
    """The mini's OpenVINO bundle of a precision, made of the graphs of its ONNX bundle: tracing them takes longest."""
    from edgedepth.core.bundle import open_bundle
    from edgedepth.exporters.base import ExportOptions
    from edgedepth.exporters.to_onnx_stage import export_stage
    from edgedepth.exporters.to_openvino_stage import fp32_weights_of, onnx_to_ir
    from edgedepth.exporters.writing import Recipe, export_stages
    from edgedepth.models.depth_pro_stages import stage_modules

    traced = open_bundle(mini_bundle)
    sources = {name: traced.file(artefact.path) for name, artefact in traced.manifest.artefacts.items()}
    folded = stage_modules(mini.module, folded=True)["decoder"]  # ONNX bundles have it unfolded
    sources["decoder"] = tmp_path_factory.mktemp("folded") / "decoder.onnx"
    export_stage(folded, mini.spec.stage("decoder"), sources["decoder"], precision="fp32", opset=20)

    @functools.cache
    def bundle(precision: Precision) -> Path:
        def write_stage(module: nn.Module, stage: StageSpec, path: Path) -> None:
            fp32_weights = fp32_weights_of(module)
            onnx_to_ir(sources[stage.name], path, stage, precision=precision, about={}, fp32_weights=fp32_weights)

        recipe = Recipe(target="openvino", suffix=".xml", write_stage=write_stage, toolchain={}, folded=True)
        out = tmp_path_factory.mktemp("openvino") / precision
        return export_stages(mini, ExportOptions(precision=precision), out, recipe, progress=silent).path

    return bundle


@pytest.fixture(scope="session")
def trained_mini() -> LoadedModel:
    """The mini on the weights that it is published with: untrained ones hide what fp16 and int8 cost."""
    from edgedepth.models.loading import load_model

    return load_model("depth-pro-mini")


@pytest.fixture(scope="session")
def mini_coreml(trained_mini: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The trained mini's Core ML bundle of a precision and a compute layout. Copy it before changing anything in it."""
    from edgedepth.exporters.base import ExportOptions, exporter_for
    from edgedepth.exporters.coreml_options import CoreMlOptions

    @functools.cache
    def bundle(precision: Precision, compute_layout: ComputeLayout = "gpu") -> Path:
        options = ExportOptions(precision=precision, coreml=CoreMlOptions(compute_layout=compute_layout))
        out = tmp_path_factory.mktemp("coreml") / f"{precision}-{compute_layout}"
        return exporter_for("coreml").export(trained_mini, options, out).path

    return bundle


@pytest.fixture(scope="session")
def tiny() -> LoadedModel:
    """A Depth Pro of a few thousand weights, for what has to be exported again and again."""
    from edgedepth.models.depth_pro_config import DepthProConfig
    from edgedepth.models.loading import load_model
    from edgedepth.models.registry import MODELS, model_entry

    config = DepthProConfig(
        width=24,
        depth=2,
        heads=2,
        patch=16,
        tile=128,
        hooks=(0, 1),
        feature_dims=(8, 12, 16, 16),
        decoder_width=16,
        head_width=8,
    )
    entry = replace(model_entry("depth-pro-mini"), name="depth-pro-tiny", config=config)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, entry.name, entry)
        return load_model(entry.name, "random:0")


@pytest.fixture(scope="session")
def tiny_bundle(tiny: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny's fp32 ONNX bundle, exported once. Copy it before changing anything in it."""
    from edgedepth.exporters.base import ExportOptions, exporter_for

    return exporter_for("onnx").export(tiny, ExportOptions(), tmp_path_factory.mktemp("tiny") / "bundle").path


@pytest.fixture(scope="session")
def tiny_windowed_bundle(tiny: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with its decoder in windows too."""
    from edgedepth.exporters.base import ExportOptions, exporter_for

    options = ExportOptions(decoder_windows=True)
    return exporter_for("onnx").export(tiny, options, tmp_path_factory.mktemp("tiny-windowed") / "bundle").path


@pytest.fixture
def known_tiny(tiny: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """The tiny, and a registry that knows it: so that the reference of its bundles can be loaded."""
    from edgedepth.models.registry import MODELS

    monkeypatch.setitem(MODELS, tiny.entry.name, tiny.entry)
    return tiny
