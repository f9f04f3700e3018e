"""Which bundle is meant, and the one line that says what is missing."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgedepth.choosing import choose_bundle, names_bundle
from edgedepth.core.bundle import write_bundle
from edgedepth.core.errors import BundleNotFoundError, OptionError
from edgedepth.core.manifest import SCHEMA_VERSION, Golden, Manifest
from edgedepth.core.spec import ModelSpec, Precision
from edgedepth.core.store import bundle_folder
from edgedepth.models.depth_pro_config import DEPTH_PRO_MINI, depth_pro_preprocess, depth_pro_stages, depth_pro_tiling


def manifest(model: str, target: str, precision: Precision, created_utc: str) -> Manifest:
    spec = ModelSpec(
        name=model,
        family="depth-pro",
        kind="metric",
        stages=depth_pro_stages(DEPTH_PRO_MINI),
        preprocess=depth_pro_preprocess(DEPTH_PRO_MINI),
        tiling=depth_pro_tiling(DEPTH_PRO_MINI),
        parameters=1,
        licence="none",
        source="random:0",
        weights_sha256="0" * 64,
        trained=False,
    )
    golden = Golden(path="golden.npz", max_abs_rel=1e-4, reason="of the test")
    return Manifest(
        schema_version=SCHEMA_VERSION,
        model=spec,
        target=target,
        precision=precision,
        layout="staged",
        tile_batch=5,
        artefacts={},
        golden=golden,
        files={},
        toolchain={},
        created_utc=created_utc,
    )


def store(model: str, target: str, precision: Precision, created_utc: str, path: Path | None = None) -> Path:
    path = path or bundle_folder(model, target, precision)
    with write_bundle(path) as writer:
        np.savez(writer.folder / "golden.npz", depth=np.ones(1))
        described = manifest(model, target, precision, created_utc)
        writer.finish(replace(described, files=writer.file_entries()))
    return path


OLD, NEW = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"


def test_none_takes_the_newest_of_that_backend_and_logs_which(caplog: pytest.LogCaptureFixture) -> None:
    store("depth-pro", "onnx", "fp32", OLD)
    newest = store("depth-pro-mini", "onnx", "fp16", NEW)
    store("depth-pro", "coreml", "fp32", "2026-12-01T00:00:00Z")
    with caplog.at_level(logging.INFO, logger="edgedepth"):
        assert choose_bundle(None, "onnx", None).path == newest
    assert str(newest) in caplog.text
    assert choose_bundle(None, "auto", None).path == newest  # what can't run here is not chosen


def test_model_and_precision_narrow_the_choice() -> None:
    old = store("depth-pro", "onnx", "fp32", OLD)
    half = store("depth-pro", "onnx", "fp16", NEW)
    store("depth-pro-mini", "onnx", "fp32", "2026-12-01T00:00:00Z")
    assert choose_bundle("depth-pro", "auto", None).path == half
    assert choose_bundle("depth-pro", "auto", "fp32").path == old


@pytest.mark.parametrize(
    ("model", "backend", "precision", "command"),
    [
        (None, "auto", None, "edgedepth export --model depth-pro --target onnx --fp32"),
        ("depth-pro-mini", "onnx", "fp16", "edgedepth export --model depth-pro-mini --target onnx --fp16"),
        (None, "trt", None, "edgedepth export --model depth-pro --target tensorrt --fp16"),
        (None, "coreml", None, "edgedepth export --model depth-pro --target coreml --fp16"),
        (None, "openvino", None, "edgedepth export --model depth-pro --target openvino --fp32"),
        (None, "openvino", "bf16", "edgedepth export --model depth-pro --target openvino --bf16"),
        (None, "auto", "bf16", "edgedepth export --model depth-pro --target openvino --bf16"),
        (None, "onnx", "bf16", "edgedepth export --model depth-pro --target onnx --fp32"),
    ],
)
def test_nothing_fitting_names_the_export_command(
    model: str | None, backend: str, precision: Precision | None, command: str
) -> None:
    with pytest.raises(BundleNotFoundError) as caught:
        choose_bundle(model, backend, precision)
    assert caught.value.remedy == command


def test_another_model_is_never_taken_instead() -> None:
    store("depth-pro-mini", "onnx", "fp32", NEW)
    with pytest.raises(BundleNotFoundError, match="there is no depth-pro bundle"):
        choose_bundle("depth-pro", "auto", None)


def test_a_path_is_opened_as_it_is(tmp_path: Path) -> None:
    path = store("depth-pro", "onnx", "fp32", OLD, tmp_path / "mine")
    assert choose_bundle(path, "auto", None).path == path
    assert choose_bundle(str(path), "onnx", "fp32").path == path


def test_a_path_that_is_not_what_was_asked_for_is_refused(tmp_path: Path) -> None:
    path = store("depth-pro", "onnx", "fp32", OLD, tmp_path / "mine")
    with pytest.raises(OptionError, match="has precision fp32; fp16 was asked for") as caught:
        choose_bundle(path, "auto", "fp16")
    assert caught.value.remedy == "edgedepth export --model depth-pro --target onnx --fp16"
    with pytest.raises(OptionError, match="has target onnx; tensorrt was asked for"):
        choose_bundle(path, "trt", None)


def test_unknown_names_are_refused_with_the_allowed_ones(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"'depth-proo' is neither .* models are depth-pro, depth-pro-mini"):
        choose_bundle("depth-proo", "auto", None)
    with pytest.raises(OptionError, match=r"no backend 'tensorflow'; allowed are auto, torch, onnx"):
        choose_bundle(None, "tensorflow", None)
    with pytest.raises(OptionError, match="precision is 'fp4'; allowed are fp32, fp16"):
        choose_bundle(None, "auto", "fp4")  # type: ignore[arg-type]
    with pytest.raises(BundleNotFoundError, match="there is no bundle at"):
        choose_bundle(str(tmp_path / "nowhere"), "auto", None)


def test_a_models_name_is_never_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "depth-pro").mkdir()
    (tmp_path / "mine").mkdir()
    assert not names_bundle("depth-pro")
    assert names_bundle("mine")
    assert names_bundle("./depth-pro")
    assert names_bundle(Path("depth-pro-anything"))
