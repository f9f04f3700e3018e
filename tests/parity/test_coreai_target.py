"""--target coreai: exported by coreai-torch, executed by Apple's own runtime, on any machine that has its wheels."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import BundleTamperedError, DeviceError, OptionError, StageError, UnsupportedError
from edgedepth.core.optional import is_installed
from edgedepth.exporters.base import ExportOptions, exporter_for
from edgedepth.exporters.coreml_options import CoreMlOptions
from edgedepth.exporters.golden import draw_golden_frame
from edgedepth.models.loading import LoadedModel
from edgedepth.models.registry import MODELS
from edgedepth.runtimes.base import SessionOptions, backend_named
from edgedepth.runtimes.coreai_session import CoreAiSession
from edgedepth.verifying import verify_bundle

needs_coreai = pytest.mark.skipif(
    not is_installed("coreai_torch"),
    reason="Apple's Core AI is not installed: pip install 'edgedepth[coreai]' (betas; CPython 3.11 and newer)",
)
FRAMES = [draw_golden_frame(), draw_golden_frame()[::-1, ::-1]]


@pytest.fixture(scope="module")
def bundle(tiny: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundle]:
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # coreai-torch warns of versions of torch
        patch.setitem(MODELS, tiny.entry.name, tiny.entry)
        out = tmp_path_factory.mktemp("coreai") / "bundle"
        yield exporter_for("coreai").export(tiny, ExportOptions(), out)


def open_stage(bundle: Bundle, stage: str = "image_encoder", **options: Any) -> CoreAiSession:
    session = backend_named("coreai").open(bundle, stage, SessionOptions(**options))
    assert isinstance(session, CoreAiSession)
    return session


@needs_coreai
class TestBundle:
    def test_verify_passes(self, bundle: Bundle) -> None:
        report = verify_bundle(bundle, FRAMES, color="rgb")
        assert report.passed, report.failures
        assert report.where == "verified on the device"
        assert set(report.stages) == {"patch_encoder", "image_encoder", "decoder", "fov"}
        assert max(stage.max_rel for stage in report.stages.values()) <= 1e-4  # float32 in another order

    def test_an_asset_says_what_it_is(self, bundle: Bundle) -> None:
        about = json.loads(bundle.file("decoder/decoder.aimodel/metadata.json").read_text())
        assert about["license"] == bundle.manifest.model.licence
        assert "stage decoder" in about["description"]
        assert about["creatorDefinedMetadata"]["edgedepth.model"] == bundle.manifest.model.name
        assert "edgedepth.compute_layout" not in about["creatorDefinedMetadata"]

    def test_opening_it_leaves_it_as_it_was(self, bundle: Bundle) -> None:
        open_stage(bundle).close()
        open_bundle(bundle.path)  # refuses files that nobody declared


@needs_coreai
class TestSession:
    def test_results_go_where_they_are_wanted_and_feeds_may_have_any_strides(self, bundle: Bundle) -> None:
        session = open_stage(bundle)
        image = np.random.default_rng(1).standard_normal((1, 3, 128, 128)).astype(np.float32)
        whole = session.run({"image": image})["image_features"]
        out = np.empty_like(whole)
        strided = np.repeat(image, 2, axis=3)[..., ::2]
        assert session.run({"image": strided}, {"image_features": out})["image_features"] is out
        assert np.array_equal(whole, out)
        assert session.device.startswith("cpu (Core AI ")
        session.close()

    def test_a_closed_session_says_so(self, bundle: Bundle) -> None:
        session = open_stage(bundle)
        session.close()
        session.close()
        with pytest.raises(StageError, match="was closed"):
            session.run({})

    def test_another_stages_asset_is_refused(self, bundle: Bundle) -> None:
        stage = bundle.manifest.artefacts["fov"].stage
        with pytest.raises(BundleTamperedError, match="the manifest declares"):
            CoreAiSession(bundle.file("image_encoder/image_encoder.aimodel"), stage, SessionOptions())

    def test_a_damaged_asset_is_refused(self, bundle: Bundle, tmp_path: Path) -> None:
        stage = bundle.manifest.artefacts["fov"].stage
        with pytest.raises(BundleTamperedError, match="no whole model asset"):
            CoreAiSession(tmp_path / "no.aimodel", stage, SessionOptions())
        asset = shutil.copytree(bundle.file("fov/fov.aimodel"), tmp_path / "fov.aimodel")
        program = asset / "main.mlirb"
        program.write_bytes(program.read_bytes()[:-100])
        with pytest.raises(BundleTamperedError, match=r"isn't what main\.hash says"):
            CoreAiSession(asset, stage, SessionOptions())


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"device": "npu"}, DeviceError, "computes on the CPU"),
        ({"device": "tpu"}, OptionError, "allowed are auto and cpu"),
        ({"threads": 2}, OptionError, "threads=2 has no effect"),
    ],
)
def test_what_the_runtime_does_not_take(
    options: dict[str, Any], error: type[Exception], told: str, tmp_path: Path
) -> None:
    from edgedepth.core.spec import StageSpec

    with pytest.raises(error, match=told):
        CoreAiSession(tmp_path, StageSpec(name="a", inputs=(), outputs=()), SessionOptions(**options))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"precision": "fp16"}, "Core AI at fp16 is not built yet"),
        ({"opset": 17}, "no ONNX opset"),
        ({"layout": "single"}, "stage by stage"),
        ({"dynamic_batch": True}, "fixed shapes"),
        ({"coreml": CoreMlOptions(compute_layout="ane")}, "Core AI has no deployment target"),
    ],
)
def test_what_cannot_be_exported(options: dict[str, Any], told: str, tiny: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=told):
        exporter_for("coreai").export(tiny, ExportOptions(**options), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(is_installed("coreai"), reason="Core AI is installed here")
def test_where_it_is_not_installed_the_reason_says_for_what_there_are_wheels() -> None:
    available = backend_named("coreai").availability()
    assert not available.devices
    assert "edgedepth[coreai]" in available.reason
    assert "glibc 2.34" in available.reason
