"""`edgedepth export --int8` as a user has it: from a set to a verified bundle, and every mistake in one line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgedepth import EdgeDepth
from edgedepth.calibrating import calibrate
from edgedepth.calibration.int8 import activation_scales
from edgedepth.calibration.onnx_files import save_model
from edgedepth.calibration.sets import open_calibration_set
from edgedepth.core.bundle import open_bundle, write_bundle
from edgedepth.core.errors import SelfTestError
from edgedepth.sample_photos import sample_photos
from edgedepth.verifying import verify_bundle

from .conftest import Cli

pytestmark = pytest.mark.xdist_group("int8-cli")  # the bundle is exported once

FRAMES = 4
MINI = ("export", "--model", "depth-pro-mini", "--int8")


@pytest.fixture(scope="module")
def calib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calib") / "calib"
    calibrate(f"synthetic:{FRAMES}", path, count=FRAMES)
    return path


@pytest.fixture(scope="module")
def bundle(calib: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained mini in INT8, with a budget that leaves no choice but to search nothing: exported once."""
    from edgedepth.calibration.budget import Budget
    from edgedepth.quantizing.exporting import export_int8_bundle
    from edgedepth.quantizing.options import Int8Options

    int8 = Int8Options(calib=calib, budget=Budget(abs_rel=0.1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEDEPTH_HOME", str(tmp_path_factory.mktemp("home")))
        return export_int8_bundle("depth-pro-mini", "onnx", int8=int8, out=tmp_path_factory.mktemp("out") / "int8").path


@pytest.fixture(scope="module")
def photos() -> list[Any]:
    return [photo.pixels_rgb for photo in sample_photos()]


def broken(bundle: Path, folder: Path, *, factor: float) -> Path:
    """The bundle with one activation's scale multiplied: the fault of a calibration that went wrong."""
    opened = open_bundle(bundle)
    with write_bundle(folder) as writer:
        shutil.copytree(bundle, writer.folder, dirs_exist_ok=True)
        path = writer.folder / "patch_encoder" / "patch_encoder.onnx"
        model = onnx.load(str(path))
        name = next(node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear")
        for tensor in model.graph.initializer:
            if tensor.name == name:
                scale = numpy_helper.to_array(tensor) * np.float32(factor)
                tensor.CopyFrom(numpy_helper.from_array(np.asarray(scale, np.float32), name))
        save_model(model, path)
        writer.finish(replace(opened.manifest, files=writer.file_entries()))
    return folder


class TestTheBundle:
    def test_its_manifest_tells_what_it_is(self, bundle: Path, calib: Path) -> None:
        manifest = open_bundle(bundle).manifest
        assert (manifest.precision, manifest.target) == ("int8", "onnx")
        assert manifest.calibration == open_calibration_set(calib).fingerprint
        assert manifest.parity is not None
        assert manifest.parity["int8_share"] == 1
        assert 0 < manifest.parity["abs_rel"] <= 0.1
        assert manifest.speed is not None
        assert manifest.speed["times_fp32"] == pytest.approx(
            manifest.speed["fp32_ms"] / manifest.speed["int8_ms"], 0.02
        )
        report = json.loads((bundle / "int8" / "report.json").read_text())
        assert report["chosen"]["kept"] == []
        assert report["calibration"]["fingerprint"] == manifest.calibration
        assert (bundle / "int8" / "frontier.svg").read_text().startswith("<svg")

    def test_it_is_smaller(self, bundle: Path) -> None:
        # 24 of the mini's 37 MB are linear layers, which take a quarter; the rest stays fp32.
        assert open_bundle(bundle).size < 0.5 * 4 * open_bundle(bundle).manifest.model.parameters

    def test_it_serves_and_verifies(self, bundle: Path, photos: list[Any]) -> None:
        with EdgeDepth(bundle, color="rgb", device="cpu") as model:
            assert np.isfinite(model.infer(photos[0]).depth).all()
        report = verify_bundle(bundle, photos, color="rgb", device="cpu")
        assert report.passed, report.failures

    @pytest.mark.parametrize("factor", [128.0, 0.25])  # all rounds to nothing; three quarters of the range cut off
    def test_a_broken_scale_is_caught(self, bundle: Path, photos: list[Any], tmp_path: Path, factor: float) -> None:
        report = verify_bundle(broken(bundle, tmp_path / "broken", factor=factor), photos, color="rgb", device="cpu")
        assert any("stage patch_encoder" in failure for failure in report.failures)

    def test_a_scale_that_is_lost_is_not_served(self, bundle: Path, tmp_path: Path) -> None:
        path = broken(bundle, tmp_path / "broken", factor=1e-3)
        with pytest.raises(SelfTestError), EdgeDepth(path, device="cpu") as model:
            model.infer(np.zeros((64, 64, 3), np.uint8))

    @pytest.mark.slow  # a whole export more; that the parts repeat byte by byte is tested in tests/unit/quantizing
    def test_a_second_export_has_the_same_scales(self, bundle: Path, calib: Path, cli: Cli, tmp_path: Path) -> None:
        done = cli(*MINI, "--calib", calib, "--out", tmp_path / "again", "--json")
        assert done.code == 0, done.err
        assert "held back: AbsRel" in done.err
        assert done.json["manifest"]["precision"] == "int8"
        for stage in ("patch_encoder", "image_encoder", "fov"):
            first, second = (folder / stage / f"{stage}.onnx" for folder in (bundle, tmp_path / "again"))
            assert activation_scales(first) == activation_scales(second)
            assert Path(f"{first}.data").read_bytes() == Path(f"{second}.data").read_bytes()

    def test_nothing_is_left_in_the_store(self, bundle: Path, calib: Path, tmp_path: Path) -> None:
        assert not list((tmp_path / "edgedepth-home").glob("cache/int8/*"))


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ((), "--calib"),
            (("--calib", "CALIB", "--budget", "absrel"), "--budget absrel=0.01"),
            (("--calib", "CALIB", "--target", "tensorrt"), "not built yet"),
            (("--calib", "CALIB", "--target", "coreml"), "no effect on coreml"),
            (("--calib", "CALIB", "--layout", "single"), "leave --layout out"),
            (("--calib", "CALIB", "--dynamic-batch"), "leave --dynamic-batch out"),
            (("--calib", "CALIB", "--smooth", "1.5"), "0 to 1"),
            (("--calib", "CALIB", "--int8-weights-only"), "--target openvino"),
            (("--calib", "CALIB", "--target", "openvino", "--int8-method", "entropy"), "leave --int8-method out"),
            (("--calib", "nowhere"), "edgedepth calibrate"),
        ],
    )
    def test_each_is_one_line_and_writes_nothing(
        self, cli: Cli, calib: Path, tmp_path: Path, words: tuple[str, ...], told: str
    ) -> None:
        named = [str(calib) if word == "CALIB" else word for word in words]
        done = cli(*MINI, *named, "--out", tmp_path / "out")
        assert done.code == 2
        assert told in done.err
        assert not (tmp_path / "out").exists()

    def test_what_goes_with_int8_goes_with_nothing_else(self, cli: Cli, calib: Path, tmp_path: Path) -> None:
        done = cli("export", "--model", "depth-pro-mini", "--smooth", "0.5", "--out", tmp_path / "out")
        assert done.code == 2
        assert "--smooth goes with --int8" in done.err

    def test_a_set_for_another_pre_processing(self, cli: Cli, tmp_path: Path) -> None:
        from edgedepth.calibrating import open_frame_source
        from edgedepth.calibration.sets import build_calibration_set

        other = tmp_path / "other"
        build_calibration_set(open_frame_source("synthetic:4"), other, count=4, preprocessing="rsa")
        done = cli(*MINI, "--calib", other, "--out", tmp_path / "out")
        assert done.code == 2
        assert "rsa" in done.err

    def test_a_changed_set_is_refused(self, cli: Cli, calib: Path, tmp_path: Path) -> None:
        changed = tmp_path / "changed"
        shutil.copytree(calib, changed)
        first, second = sorted((changed / "frames").iterdir())[:2]
        shutil.copyfile(first, second)
        done = cli(*MINI, "--calib", changed, "--out", tmp_path / "out")
        assert done.code == 2
        assert "damaged" in done.err
