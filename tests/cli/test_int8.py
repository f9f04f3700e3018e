"""`edgedepth export --int8` as a user has it: from a set to a verified bundle, and every mistake in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgedepth import EdgeDepth
from edgedepth.calibrating import calibrate
from edgedepth.calibration.budget import Budget
from edgedepth.calibration.int8 import activation_scales
from edgedepth.calibration.onnx_files import save_model
from edgedepth.calibration.scales import PEAKS_FILE, check_scales
from edgedepth.calibration.sets import open_calibration_set
from edgedepth.core.bundle import open_bundle, write_bundle
from edgedepth.core.errors import SelfTestError
from edgedepth.core.progress import Announce, unheard
from edgedepth.core.targets import exists_on
from edgedepth.core.tolerances import tolerance_for
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporters.trt_engines import builder_here, check_graphs
from edgedepth.models.loading import load_model
from edgedepth.quantizing.exporting import export_int8_bundle
from edgedepth.quantizing.options import Int8Options
from edgedepth.quantizing.preparing import workspace_for
from edgedepth.sample_photos import sample_photos
from edgedepth.trt.options import EngineOptions
from edgedepth.verifying import verify_bundle

from .conftest import Cli

FRAMES = 4
MINI = ("export", "--model", "depth-pro-mini", "--int8")


@pytest.fixture(scope="module")
def calib(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calib") / "calib"
    calibrate(f"synthetic:{FRAMES}", path, count=FRAMES)
    return path


@pytest.fixture(scope="module")
def fp32(exported: Callable[..., Path]) -> Path:
    """The trained mini's fp32 ONNX bundle, which every INT8 export begins with: traced once for all of them."""
    return exported("--model", "depth-pro-mini")


Export = Callable[..., Path]


@pytest.fixture(scope="module")
def export(
    calib: Path,
    fp32: Path,
    tracing_once: Callable[[], AbstractContextManager[None]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Export:
    """Exports the trained mini in INT8 for a target, going on from its fp32 bundle as an interrupted export would."""

    def run(target: str, *, home: Path | None = None, announce: Announce = unheard, **how: Any) -> Path:
        int8 = Int8Options(calib=calib, **how)
        with pytest.MonkeyPatch.context() as patch, tracing_once():
            patch.setenv("EDGEDEPTH_HOME", str(home or tmp_path_factory.mktemp("home")))
            workspace = workspace_for(
                load_model("depth-pro-mini"),
                target,
                open_calibration_set(calib),
                options=ExportOptions(precision="fp32"),
                int8=int8,
            )
            shutil.copytree(fp32, workspace.folder / "fp32")
            out = tmp_path_factory.mktemp("out") / "int8"
            bundle = export_int8_bundle("depth-pro-mini", target, int8=int8, out=out, announce=announce)
            assert not workspace.folder.exists()  # nothing is left in the store
            return bundle.path

    return run


@pytest.fixture(scope="module")
def bundle(export: Export) -> Path:
    """In ONNX, with a budget that leaves nothing to search."""
    return export("onnx", budget=Budget(abs_rel=0.1))


@pytest.fixture(scope="module")
def photos() -> list[Any]:
    return [photo.pixels_rgb for photo in sample_photos()]


def rewritten(bundle: Path, folder: Path, change: Callable[[Path], None]) -> Path:
    """The bundle with something changed in it, sealed as if it had been made so."""
    with write_bundle(folder) as writer:
        shutil.copytree(bundle, writer.folder, dirs_exist_ok=True)
        change(writer.folder)
        writer.finish(replace(open_bundle(bundle).manifest, files=writer.file_entries()))
    return folder


def broken(bundle: Path, folder: Path, *, factor: float) -> Path:
    """The bundle with one activation's scale multiplied: the fault of a calibration that went wrong."""

    def change(inside: Path) -> None:
        path = inside / "patch_encoder" / "patch_encoder.onnx"
        model = onnx.load(str(path))
        name = next(node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear")
        for tensor in model.graph.initializer:
            if tensor.name == name:
                scale = numpy_helper.to_array(tensor) * np.float32(factor)
                tensor.CopyFrom(numpy_helper.from_array(np.asarray(scale, np.float32), name))
        save_model(model, path)

    return rewritten(bundle, folder, change)


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

    def test_a_broken_scale_is_caught(self, bundle: Path, photos: list[Any], tmp_path: Path) -> None:
        # In one layer of 24 a factor of 16 stays within what INT8 may cost: the stages' outputs don't tell.
        report = verify_bundle(broken(bundle, tmp_path / "broken", factor=16.0), photos, color="rgb", device="cpu")
        assert any("stage patch_encoder: the scale of" in failure for failure in report.failures)

    @pytest.mark.parametrize("factor", [2.0, 0.5, 1.05, 0.0, float("nan")])
    def test_so_are_smaller_faults_and_worse_ones(self, bundle: Path, tmp_path: Path, factor: float) -> None:
        (failure,) = check_scales(open_bundle(broken(bundle, tmp_path / "broken", factor=factor)))
        assert failure.startswith("stage patch_encoder: the scale of")

    def test_the_scales_of_a_good_bundle_are_those_that_were_found(self, bundle: Path, tmp_path: Path) -> None:
        assert check_scales(open_bundle(bundle)) == ()

        def forget(inside: Path) -> None:
            (inside / PEAKS_FILE).write_text("{}")

        failures = check_scales(open_bundle(rewritten(bundle, tmp_path / "forgetful", forget)))
        assert len(failures) == 6 * 4 * 3 + 1  # the linear layers of three encoders and of the field of view
        assert all("was not calibrated" in failure for failure in failures)
        lost = rewritten(bundle, tmp_path / "lost", lambda inside: (inside / PEAKS_FILE).unlink())
        (failure,) = check_scales(open_bundle(lost))
        assert "export again" in failure

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


class TestOtherTargets:
    """The same set and the same figures, whatever the target."""

    def test_openvino_with_weights_alone(self, export: Export) -> None:
        path = export("openvino", weights_only=True)
        manifest = open_bundle(path).manifest
        assert manifest.parity is not None
        assert manifest.speed is not None
        assert {"fp32_ms", "fp16_ms", "int8_ms"} <= manifest.speed.keys()
        # bf16 arithmetic, where the processor has it, costs as much as rounding the weights: 1.1e-2 was measured.
        assert 0 < manifest.parity["abs_rel"] < tolerance_for("bf16").abs_rel
        assert open_bundle(path).size < 0.5 * 4 * manifest.model.parameters
        assert check_scales(open_bundle(path)) == ()  # there are none of activations
        with EdgeDepth(path, color="rgb", device="cpu") as model:
            assert np.isfinite(model.infer(sample_photos()[0].pixels_rgb).depth).all()

    def test_tensorrt_gets_the_graphs_of_onnx(self, export: Export, bundle: Path) -> None:
        said: list[str] = []
        path = export("tensorrt", announce=said.append)
        made = open_bundle(path)
        manifest = made.manifest
        assert (manifest.target, manifest.precision) == ("tensorrt", "int8")
        assert manifest.build is not None
        assert manifest.parity is not None
        assert manifest.parity["on_device"] is False
        assert manifest.speed is None
        assert any("ONNX Runtime" in line for line in said)
        assert check_graphs(made) == {name: [] for name in manifest.artefacts}
        assert check_scales(made) == ()
        for stage in ("patch_encoder", "fov"):
            assert activation_scales(path / stage / f"{stage}.onnx") == activation_scales(
                bundle / stage / f"{stage}.onnx"
            )
        # Where a builder is at hand every stage has an engine; elsewhere the bundle is a kit.
        stages = {engine.stage.name for engine in manifest.engines}
        assert stages == (set(manifest.artefacts) if builder_here(EngineOptions()).provider else set())

    @pytest.mark.slow  # four conversions, and an evaluator that takes seconds a frame
    @pytest.mark.parametrize(("activations", "limit"), [(False, 0.01), (True, 0.03)])
    def test_core_ml_is_measured_off_device(
        self, export: Export, photos: list[Any], activations: bool, limit: float
    ) -> None:
        said: list[str] = []
        path = export("coreml", budget=Budget(abs_rel=limit), activations=activations, announce=said.append)
        manifest = open_bundle(path).manifest
        assert manifest.parity is not None
        assert manifest.parity["on_device"] is False
        assert 0 < manifest.parity["abs_rel"] <= limit
        assert manifest.parity["int8_share"] == 1
        assert manifest.speed is None
        assert any("off-device" in line for line in said)
        if not exists_on("coreml"):
            report = verify_bundle(path, photos, color="rgb")
            assert report.passed, report.failures

    @pytest.mark.slow  # NNCF quantises a stage for each of some thirty mixtures
    def test_openvino_searches_for_a_budget(self, export: Export, photos: list[Any]) -> None:
        plain = open_bundle(export("openvino")).manifest.parity
        assert plain is not None
        # What isn't INT8 is bf16, and on four frames that alone costs nine tenths of this.
        limit = 0.95 * float(plain["abs_rel"])
        path = export("openvino", budget=Budget(abs_rel=limit))
        report = json.loads((path / "int8" / "report.json").read_text())
        assert len(report["ranking"]) == 19  # blocks of the mini
        assert report["chosen"]["kept"]
        assert report["chosen"]["figures"]["abs_rel"] <= limit
        assert 0.25 <= report["chosen"]["int8_share"] < 1
        assert check_scales(open_bundle(path)) == ()
        verified = verify_bundle(path, photos, color="rgb", device="cpu")
        assert verified.passed, verified.failures


class TestMistakes:
    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ((), "--calib"),
            (("--calib", "CALIB", "--budget", "absrel"), "--budget absrel=0.01"),
            (("--calib", "CALIB", "--target", "tensorrt", "--opset", "18"), "leave --opset out"),
            (("--calib", "CALIB", "--target", "tensorrt", "--int8-weights-only"), "--target openvino"),
            (("--calib", "CALIB", "--provider", "tensorrt"), "--target tensorrt"),
            (("--target", "coreml", "--budget", "absrel=0.01"), "--calib"),
            (("--calib", "CALIB", "--target", "coreml", "--smooth", "0.5"), "leave --smooth out"),
            (("--calib", "CALIB", "--target", "coreml", "--int8-method", "entropy"), "leave --int8-method out"),
            (
                ("--calib", "CALIB", "--target", "coreml", "--multifunction", "--deployment-target", "iOS18"),
                "leave --multifunction out",
            ),
            (("--calib", "CALIB", "--int8-activations"), "leave --int8-activations out"),
            (
                ("--calib", "CALIB", "--target", "coreml", "--int8-activations", "--compute-layout", "ane"),
                "not built for the Neural Engine",
            ),
            (
                ("--calib", "CALIB", "--target", "coreml", "--int8-activations", "--deployment-target", "iOS16"),
                "--deployment-target iOS17",
            ),
            (("--calib", "CALIB", "--target", "coreml", "--int8-activations", "--int8-decoder"), "--int8-decoder out"),
            (("--calib", "CALIB", "--target", "nowhere"), "there is no INT8"),
            (("--calib", "CALIB", "--layout", "single"), "leave --layout out"),
            (("--calib", "CALIB", "--dynamic-batch"), "leave --dynamic-batch out"),
            (("--calib", "CALIB", "--decoder-windows"), "leave --decoder-windows out"),
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
