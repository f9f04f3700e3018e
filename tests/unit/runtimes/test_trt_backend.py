"""The whole tensorrt backend over the shipped fake of TensorRT and CUDA, which computes with ONNX Runtime.

No machine that tests run on has a GPU: what only one can show is in tests/gpu.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgedepth import EdgeDepth
from edgedepth.choosing import choose_bundle
from edgedepth.cli import main
from edgedepth.core.bundle import Bundle, open_bundle, write_bundle
from edgedepth.core.engine import BuildOptions, EngineFacts
from edgedepth.core.errors import (
    BundleNotFoundError,
    BundleTamperedError,
    DeviceError,
    DeviceMemoryError,
    EdgeDepthError,
    EngineError,
    FrameError,
    OptionError,
    SelfTestError,
    StageError,
    UnsupportedError,
)
from edgedepth.core.manifest import Manifest
from edgedepth.core.pack import open_pack
from edgedepth.core.packing import write_pack
from edgedepth.core.store import cache_folder
from edgedepth.exporters.golden import draw_golden_frame
from edgedepth.exporters.trt_engines import build_bundle
from edgedepth.runtimes.base import SessionOptions, fit_of
from edgedepth.runtimes.trt_backend import TrtBackend
from edgedepth.trt import providers
from edgedepth.trt.adapter import GpuFacts
from edgedepth.trt.engines import mismatch
from edgedepth.trt.fake_api import FakeGpu, FakeTensorRt, read_with_onnxruntime
from edgedepth.trt.fake_frames import DlpackArray, InterfaceArray
from edgedepth.trt.memory import DeviceArray
from edgedepth.trt.options import EngineOptions

ORIN = GpuFacts(name="Orin", sm=87, memory_mb=16000, driver="driver 540.4.0, CUDA 12.6")
FRAME = draw_golden_frame()


class Machine:
    """A Jetson that isn't there; its parts may be exchanged."""

    def __init__(self) -> None:
        self.provider = FakeTensorRt(read_with_onnxruntime)
        self.facts = (ORIN,)
        self.gpus: list[FakeGpu] = []
        self.memory = 1 << 34

    def open_gpu(self, index: int, facts: GpuFacts) -> FakeGpu:
        self.gpus.append(FakeGpu(facts, memory=self.memory))
        return self.gpus[-1]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(providers, "LOADERS", {"tensorrt": lambda: machine.provider})
    hardware = providers.Hardware(find=lambda: machine.facts, open=machine.open_gpu)
    monkeypatch.setattr(providers, "HARDWARE", lambda: hardware)
    return machine


@pytest.fixture
def kit(mini_bundle: Path, tmp_path: Path) -> Path:
    """The mini's typed graphs as a kit, without engines."""
    onnx = open_bundle(mini_bundle, check_hashes=False)
    return rewritten(
        onnx, tmp_path / "kit", lambda manifest: replace(manifest, target="tensorrt", build=BuildOptions())
    )


def rewritten(bundle: Bundle, out: Path, change: Callable[[Manifest], Manifest]) -> Path:
    with write_bundle(out) as writer:
        for name in bundle.manifest.files:
            (writer.folder / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(bundle.file(name), writer.folder / name)
        writer.finish(replace(change(bundle.manifest), files=writer.file_entries()))
    return out


@pytest.fixture
def built(machine: Machine, kit: Path) -> Path:
    return build_bundle(open_bundle(kit), kit, EngineOptions()).path


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, logger="edgedepth"):
        yield


class TestFittingAPack:
    """A pack of this kit, for an Orin, and of what every CPU runs."""

    @pytest.fixture
    def pack(self, kit: Path, mini_bundle: Path, tmp_path: Path) -> Path:
        return write_pack([open_bundle(kit), open_bundle(mini_bundle)], tmp_path / "pack").path

    def test_an_engine_else_the_build_kit_else_another_target(self, machine: Machine, pack: Path) -> None:
        member = pack / "targets" / "tensorrt-fp32"
        assert choose_bundle(pack, "auto", None).path == member
        with pytest.raises(EngineError, match="has no engine for Orin") as caught:
            EdgeDepth(pack)
        assert main(shlex.split(caught.value.remedy.partition(",")[0])[1:]) == 0  # edgedepth build PACK/targets/...
        fit = fit_of(open_pack(pack).bundle("tensorrt-fp32"), SessionOptions())
        assert (fit.runs, fit.to_build) == (True, False)
        assert fit.reason.startswith("an engine of tensorrt 10.16.2 for cuda:0 (Orin, SM 87)")
        machine.facts = (GpuFacts(name="Thor", sm=110, memory_mb=64000),)
        assert "it is for SM 87; Thor has SM 110" in fit_of(open_bundle(member), SessionOptions()).reason
        assert choose_bundle(pack, "auto", None).path == member
        assert choose_bundle(pack, "auto", None, options=SessionOptions(device="cpu")).manifest.target == "onnx"
        machine.facts = ()
        assert choose_bundle(pack, "auto", None).manifest.target == "onnx"
        with pytest.raises(BundleNotFoundError, match="there is no GPU"):
            choose_bundle(pack, "trt", None)


def open_stage(path: Path, stage: str = "fov", **options: object) -> object:
    return TrtBackend().open(open_bundle(path), stage, SessionOptions(**options))  # type: ignore[arg-type]


class TestDepth:
    def test_it_is_that_of_onnx_runtime(self, built: Path, mini_bundle: Path) -> None:
        with EdgeDepth(built, backend="trt") as trt, EdgeDepth(mini_bundle, self_test="never") as ort:
            assert trt.device == "cuda:0 (Orin, SM 87, driver 540.4.0, CUDA 12.6, tensorrt 10.16.2)"
            for seed in range(3):  # runs outside of graphs, recorded, and replayed
                frame = np.roll(FRAME, 7 * seed, axis=1)
                # the same kernels on the same graphs: only the number of threads may differ
                np.testing.assert_allclose(trt.infer(frame).depth, ort.infer(frame).depth, rtol=1e-4)

    def test_windows_of_the_decoder_are_cut_out_of_what_lies_on_the_gpu(
        self, machine: Machine, tiny_windowed_bundle: Path, tmp_path: Path
    ) -> None:
        onnx = open_bundle(tiny_windowed_bundle, check_hashes=False)
        kit = rewritten(
            onnx, tmp_path / "kit", lambda manifest: replace(manifest, target="tensorrt", build=BuildOptions())
        )
        built = build_bundle(open_bundle(kit), kit, EngineOptions()).path
        with EdgeDepth(built, backend="trt") as trt, EdgeDepth(tiny_windowed_bundle, self_test="never") as ort:
            frame = FRAME.copy()
            for step in range(3):
                frame[4:8, 4 + step : 8 + step] = 255
                mine, theirs = (model.infer(frame, focal_px=300, reuse=0.05) for model in (trt, ort))
                assert mine.encoded == theirs.encoded
                np.testing.assert_allclose(mine.depth, theirs.depth, rtol=1e-4)
            assert mine.encoded.windows
        assert len(machine.gpus) == 1

    def test_the_picture_goes_up_once_and_only_depth_and_view_come_down(self, built: Path, machine: Machine) -> None:
        with EdgeDepth(built, backend="trt") as model:
            model.infer(FRAME)
            (gpu,) = machine.gpus
            gpu.uploaded = gpu.uploads = gpu.downloaded = gpu.replays = gpu.copies = 0
            model.infer(FRAME)
            assert gpu.uploads == 1
            assert gpu.uploaded == 4 * 3 * (512**2 + 256**2 + 128**2)  # 35 tiles overlap: they would be 1.7 times that
            assert gpu.downloaded == 4 * (512 * 512 + 1)
            assert gpu.replays == 7 + 3
            # Each tile plane by plane, but the whole thumbnail at once; then 35 features and 25 of each latent.
            assert gpu.copies == 3 * 34 + 1 + 35 + 2 * 25

    def test_nothing_is_allocated_after_the_first_frames(self, built: Path, machine: Machine) -> None:
        with EdgeDepth(built, backend="trt") as model:
            model.infer(FRAME)
            (gpu,) = machine.gpus
            before = gpu.allocated
            model.infer(FRAME)
            assert gpu.allocated == before

    def test_loading_stages_in_turn_gives_the_same(self, built: Path) -> None:
        with EdgeDepth(built, backend="trt") as all_, EdgeDepth(built, backend="trt", resident="one") as one:
            for _ in range(2):
                np.testing.assert_array_equal(one.infer(FRAME).depth, all_.infer(FRAME).depth)

    def test_device_arrays_are_read_where_they_lie(self, built: Path, machine: Machine) -> None:
        session = TrtBackend().open(open_bundle(built), "image_encoder", SessionOptions())
        image = np.random.default_rng(0).standard_normal((1, 3, 128, 128), dtype=np.float32)
        expected = session.run({"image": image})["image_features"]
        on_device = session.arrays.resident(image.shape)
        (gpu,) = machine.gpus
        gpu.upload(on_device.address, image)
        out = {"image_features": session.arrays.resident(expected.shape)}
        gpu.uploaded = gpu.downloaded = 0
        results = session.run({"image": on_device}, out)  # type: ignore[dict-item, arg-type]
        assert isinstance(results["image_features"], DeviceArray)
        assert gpu.uploaded == gpu.downloaded == 0
        down = np.empty_like(expected)
        gpu.download(down, out["image_features"].address)
        gpu.synchronise()
        np.testing.assert_array_equal(down, expected)

    def test_a_frame_may_lie_on_the_gpu(self, built: Path, machine: Machine) -> None:
        with EdgeDepth(built, backend="trt") as model:
            (gpu,) = machine.gpus
            expected = model.infer(FRAME).depth
            for frame in (InterfaceArray(gpu, FRAME), DlpackArray(gpu, FRAME)):
                np.testing.assert_array_equal(model.infer(frame).depth, expected)
            frame.device_index = 1
            with pytest.raises(FrameError, match="lies on cuda:1, and this model runs on cuda:0"):
                model.infer(frame)

    def test_a_feed_of_another_library_was_read_when_run_returns(self, built: Path, machine: Machine) -> None:
        session = TrtBackend().open(open_bundle(built), "image_encoder", SessionOptions())
        (gpu,) = machine.gpus
        image = np.random.default_rng(0).standard_normal((1, 3, 128, 128), dtype=np.float32)
        expected = session.run({"image": image})["image_features"]
        out = {"image_features": session.arrays.resident(expected.shape)}
        feed = DlpackArray(gpu, image)
        session.run({"image": feed}, out)  # type: ignore[dict-item, arg-type]
        gpu.bytes_at(feed.address, image.nbytes)[:] = 0  # it is theirs again
        down = np.empty_like(expected)
        gpu.download(down, out["image_features"].address)
        gpu.synchronise()
        np.testing.assert_array_equal(down, expected)

    def test_a_device_array_that_is_not_contiguous_is_refused(self, built: Path) -> None:
        session = TrtBackend().open(open_bundle(built), "image_encoder", SessionOptions())
        wide = session.arrays.resident((1, 3, 128, 256))[:, :, :, :128]
        with pytest.raises(StageError, match="isn't C-contiguous"):
            session.run({"image": wide})


class TestBuilding:
    def test_without_an_engine_the_error_names_the_command(self, kit: Path, machine: Machine) -> None:
        with pytest.raises(EngineError, match="holds the graph and no engine") as caught:
            EdgeDepth(kit, backend="trt")
        assert f"edgedepth build {kit}" in caught.value.remedy
        assert "build_if_missing=True" in caught.value.remedy

    def test_build_if_missing_builds_once_and_tells(
        self, kit: Path, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(2):
            with EdgeDepth(kit, backend="trt", build_if_missing=True) as model:
                model.infer(FRAME)
        assert len(machine.provider.built) == 4
        assert caplog.text.count("building stage decoder for Orin") == 1
        assert "Building engine [0/1]" in caplog.text
        with EdgeDepth(kit, backend="trt"):  # what was built is found without asking for it
            pass

    def test_another_version_sm_or_board_asks_for_another_build(self, kit: Path, machine: Machine) -> None:
        open_stage(kit, build_if_missing=True)
        machine.provider.version = "10.17.0"
        with pytest.raises(EngineError, match="no engine"):
            open_stage(kit)
        open_stage(kit, build_if_missing=True)
        machine.facts = (replace(ORIN, sm=110),)
        with pytest.raises(EngineError, match="no engine"):
            open_stage(kit)
        assert len(list((cache_folder() / "tensorrt").glob("fov-*"))) == 2

    def test_build_asks_for_the_kits_recipe(self, kit: Path, machine: Machine) -> None:
        bundle = open_bundle(kit)
        recipe = BuildOptions(workspace_mb=512, optimization_level=2)
        rewritten(bundle, kit, lambda manifest: replace(manifest, build=recipe))
        open_stage(kit, build_if_missing=True)
        assert machine.provider.built[0].options == recipe

    def test_engines_land_in_the_manifest(self, built: Path) -> None:
        manifest = open_bundle(built).manifest
        assert manifest.target == "tensorrt"
        assert [engine.stage.name for engine in manifest.engines] == list(manifest.artefacts)
        engine = manifest.engines[0]
        assert (engine.provider, engine.version, engine.sms, engine.device) == ("tensorrt", "10.16.2", (87,), "Orin")
        assert engine.size == manifest.files[engine.path].size
        assert engine.sha256 == manifest.files[engine.path].sha256
        assert engine.build_s >= 0

    def test_building_again_replaces_and_another_machine_adds(self, built: Path, machine: Machine) -> None:
        before = open_bundle(built).manifest
        again = build_bundle(open_bundle(built), built, EngineOptions()).manifest
        assert len(again.engines) == len(before.engines) == 4
        assert len(again.files) == len(before.files)
        machine.facts = (replace(ORIN, name="Thor", sm=110),)
        assert len(build_bundle(open_bundle(built), built, EngineOptions()).manifest.engines) == 8

    def test_dla(self, kit: Path, machine: Machine, caplog: pytest.LogCaptureFixture) -> None:
        open_stage(kit, build_if_missing=True, dla_core=0)
        assert machine.provider.built[0].options.dla_core == 0
        assert machine.provider.dla_core == 0
        assert "the DLA leaves 1 layers to the GPU: node_softmax (SOFTMAX)" in caplog.text
        with pytest.raises(EngineError, match="no engine"):
            open_stage(kit)  # the GPU's is another engine


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (
                lambda machine: setattr(machine.provider, "version", "10.3.0"),
                "built by tensorrt 10.16.2; here is 10.3.0",
            ),
            (lambda machine: setattr(machine.provider, "provider", "tensorrt-rtx"), "here is tensorrt-rtx"),
            (lambda machine: setattr(machine, "facts", (replace(ORIN, sm=110),)), "for SM 87; Orin has SM 110"),
            (lambda machine: setattr(machine, "facts", (replace(ORIN, name="Nano"),)), "built on Orin; here is Nano"),
        ],
        ids=["version", "provider", "SM", "board"],
    )
    def test_a_foreign_engine(
        self, built: Path, machine: Machine, change: Callable[[Machine], None], reason: str
    ) -> None:
        change(machine)
        with pytest.raises(EngineError, match=reason) as caught:
            EdgeDepth(built, backend="trt")
        assert f"edgedepth build {built}" in caught.value.remedy

    def test_fp8_where_there_is_none(self, kit: Path, machine: Machine) -> None:
        fp8 = rewritten(open_bundle(kit), kit, lambda manifest: replace(manifest, precision="fp8"))
        with pytest.raises(UnsupportedError, match="SM 87 has no FP8 arithmetic"):
            EdgeDepth(fp8, backend="trt", build_if_missing=True)
        assert machine.provider.built == []

    def test_a_stale_engine(self, built: Path, machine: Machine) -> None:
        """The graph was exported again and the old engine put beside it."""

        def change(manifest: Manifest) -> Manifest:
            return replace(
                manifest, engines=tuple(replace(engine, onnx_sha256="0" * 64) for engine in manifest.engines)
            )

        stale = rewritten(open_bundle(built), built, change)
        with pytest.raises(EngineError, match="another graph or other weights"):
            open_stage(stale)

    @pytest.mark.parametrize("harm", [lambda plan: plan[:-1], lambda plan: bytes(len(plan)), lambda plan: plan + b"x"])
    def test_a_truncated_or_altered_plan_is_never_loaded(
        self, built: Path, machine: Machine, harm: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bundle = open_bundle(built)
        plan = bundle.file(next(one.path for one in bundle.manifest.engines if one.stage.name == "fov"))
        plan.write_bytes(harm(plan.read_bytes()))
        loaded: list[object] = []
        monkeypatch.setattr(machine.provider, "load", lambda *args, **kwargs: loaded.append(args))
        with pytest.raises(EngineError, match=r"was written|were written") as caught:
            TrtBackend().open(bundle, "fov", SessionOptions())
        assert "edgedepth build" in caught.value.remedy
        assert not loaded

    def test_a_missing_plan(self, built: Path, machine: Machine) -> None:
        bundle = open_bundle(built)
        bundle.file(next(one.path for one in bundle.manifest.engines if one.stage.name == "fov")).unlink()
        with pytest.raises(EngineError, match="can't be read"):
            TrtBackend().open(bundle, "fov", SessionOptions())

    def test_junk_with_a_right_hash(self, kit: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(machine.provider, "refusal", lambda plan: "its header is malformed")
        with pytest.raises(EngineError, match="is no engine: its header is malformed"):
            open_stage(kit, build_if_missing=True)

    @pytest.mark.parametrize(
        ("says_no", "error", "said"),
        [
            ("deserialise", EngineError, "does not load"),
            ("context", EngineError, "gives no context"),
            ("memory", DeviceMemoryError, "out of memory"),
        ],
    )
    def test_tensorrt_that_says_no(
        self, built: Path, machine: Machine, says_no: str, error: type[EdgeDepthError], said: str
    ) -> None:
        machine.provider = FakeTensorRt(read_with_onnxruntime, says_no=says_no)
        with pytest.raises(error, match=said) as caught:
            open_stage(built)
        assert "edgedepth build" in caught.value.remedy

    def test_a_gpu_that_is_too_small(self, built: Path, machine: Machine) -> None:
        machine.memory = 1 << 20
        with pytest.raises(DeviceMemoryError, match="memory is full"):
            EdgeDepth(built, backend="trt")

    def test_an_engine_of_other_inputs(self, built: Path, machine: Machine) -> None:
        machine.provider = FakeTensorRt(lambda path: read_with_onnxruntime(path.parent.parent / "decoder/decoder.onnx"))
        fresh = build_bundle(open_bundle(built), built, EngineOptions()).path
        with pytest.raises(EngineError, match="the manifest declares"):
            open_stage(fresh)

    def test_no_gpu(self, built: Path, machine: Machine) -> None:
        machine.facts = ()
        with pytest.raises(DeviceError, match="CUDA sees 0 GPUs"):
            EdgeDepth(built, backend="trt")
        assert TrtBackend().availability().reason == "there is no GPU"

    @pytest.mark.parametrize("device", ["cpu", "cuda:x", "npu", ""])
    def test_other_devices(self, built: Path, machine: Machine, device: str) -> None:
        with pytest.raises(OptionError, match="allowed are auto, cuda and cuda:N"):
            open_stage(built, device=device)

    def test_a_second_gpu_that_is_not_there(self, built: Path, machine: Machine) -> None:
        with pytest.raises(DeviceError, match="'cuda:1' was asked for; CUDA sees 1"):
            open_stage(built, device="cuda:1")

    def test_options_of_other_backends(self, built: Path, machine: Machine, mini_bundle: Path) -> None:
        with pytest.raises(OptionError, match="threads=2 has no effect on the tensorrt backend"):
            EdgeDepth(built, backend="trt", threads=2)
        with pytest.raises(OptionError, match="build_if_missing=True has no effect on the onnx backend") as caught:
            EdgeDepth(mini_bundle, build_if_missing=True)
        assert "backend='tensorrt'" in caught.value.remedy

    def test_an_unknown_stage(self, built: Path, machine: Machine) -> None:
        with pytest.raises(StageError, match="has no stage 'whole'"):
            open_stage(built, "whole")

    def test_a_damaged_sidecar_in_the_cache_is_built_over(self, kit: Path, machine: Machine) -> None:
        open_stage(kit, build_if_missing=True)
        (sidecar,) = cache_folder().glob("tensorrt/fov-*/engine.json")
        sidecar.write_text(json.dumps({"stage": "fov"}))
        open_stage(kit, build_if_missing=True)
        assert len(machine.provider.built) == 2


class TestProof:
    def test_it_counts_for_this_card_and_this_driver_alone(
        self, kit: Path, machine: Machine, caplog: pytest.LogCaptureFixture
    ) -> None:
        def proofs() -> int:
            caplog.clear()
            with EdgeDepth(kit, backend="trt", build_if_missing=True):
                return caplog.text.count("running its golden frame")

        assert [proofs(), proofs()] == [1, 0]
        machine.facts = (replace(ORIN, driver="driver 580.1, CUDA 13.0"),)
        assert [proofs(), proofs()] == [1, 0]
        machine.facts = (replace(ORIN, name="AGX Orin"),)
        assert [proofs(), proofs()] == [1, 0]
        machine.facts = (ORIN,)
        assert proofs() == 0


class TestSelfTest:
    @pytest.mark.parametrize("stage", ["patch_encoder", "image_encoder", "decoder"])
    def test_a_wrong_engine_is_not_served_and_its_stage_is_named(self, kit: Path, machine: Machine, stage: str) -> None:
        machine.provider = FakeTensorRt(read_with_onnxruntime, wrong={stage: 1.5})
        with pytest.raises(SelfTestError, match=f"the first stage that differs is {stage}"):
            EdgeDepth(kit, backend="trt", build_if_missing=True)
        with pytest.raises(SelfTestError):  # and it isn't remembered as proven
            EdgeDepth(kit, backend="trt")

    def test_an_engine_that_was_built_again_proves_itself_again(self, kit: Path, machine: Machine) -> None:
        with EdgeDepth(kit, backend="trt", build_if_missing=True):
            pass
        shutil.rmtree(next(cache_folder().glob("tensorrt/decoder-*")))
        machine.provider.wrong["decoder"] = 1.5
        with pytest.raises(SelfTestError, match="differs is decoder"):
            EdgeDepth(kit, backend="trt", build_if_missing=True)

    def test_not_a_number(self, kit: Path, machine: Machine) -> None:
        machine.provider = FakeTensorRt(read_with_onnxruntime, wrong={"decoder": float("nan")})
        with pytest.raises(SelfTestError, match="differs is decoder"):
            EdgeDepth(kit, backend="trt", build_if_missing=True)

    def test_a_version_that_is_known_to_be_wrong_is_named(self, kit: Path, machine: Machine) -> None:
        machine.provider = FakeTensorRt(read_with_onnxruntime, version="10.3.0", wrong={"patch_encoder": 1.5})
        with pytest.raises(SelfTestError, match=r"10\.3 to 10\.7.*#4723"):
            EdgeDepth(kit, backend="trt", build_if_missing=True)

    def test_a_known_bad_version_that_is_right_serves(self, kit: Path, machine: Machine) -> None:
        machine.provider = FakeTensorRt(read_with_onnxruntime, version="10.3.0")
        with EdgeDepth(kit, backend="trt", build_if_missing=True) as model:
            assert np.isfinite(model.infer(FRAME).depth).all()

    def test_no_variable_of_the_environment_skips_it(
        self, kit: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("EDGEDEPTH_SKIP_SELFTEST", "1")
        machine.provider = FakeTensorRt(read_with_onnxruntime, wrong={"decoder": 1.5})
        with pytest.raises(SelfTestError):
            EdgeDepth(kit, backend="trt", build_if_missing=True)


class TestCommandLine:
    """The commands that the errors name are run as they are printed."""

    @pytest.mark.parametrize(
        "harm",
        [
            lambda machine, plan: setattr(machine.provider, "version", "10.17.0"),
            lambda machine, plan: setattr(machine, "facts", (replace(ORIN, sm=110),)),
            lambda machine, plan: plan.write_bytes(plan.read_bytes()[:-9]),
            lambda machine, plan: plan.unlink(),
            lambda machine, plan: setattr(machine, "provider", FakeTensorRt(read_with_onnxruntime, says_no="context")),
        ],
        ids=["version", "SM", "truncated", "missing", "no context"],
    )
    def test_the_command_of_an_engine_error_cures_it(
        self, built: Path, machine: Machine, harm: Callable[[Machine, Path], None]
    ) -> None:
        bundle = open_bundle(built)
        harm(machine, bundle.file(next(one.path for one in bundle.manifest.engines if one.stage.name == "fov")))
        with pytest.raises(EngineError) as caught:
            TrtBackend().open(bundle, "fov", SessionOptions())
        machine.provider = FakeTensorRt(read_with_onnxruntime, version=machine.provider.version)
        self.run(caught.value.remedy)
        open_stage(built)

    @pytest.mark.parametrize("harm", [lambda plan: plan[:-9], lambda plan: bytes(len(plan))], ids=["cut", "junk"])
    def test_a_bundle_with_a_damaged_engine_is_built_again(
        self, built: Path, machine: Machine, harm: Callable[[bytes], bytes]
    ) -> None:
        plan = built / open_bundle(built).manifest.engines[0].path
        plan.write_bytes(harm(plan.read_bytes()))
        with pytest.raises(EngineError, match="the manifest says") as caught:
            EdgeDepth(built, backend="trt")
        self.run(caught.value.remedy)
        assert len(open_bundle(built).manifest.engines) == 4

    def test_a_damaged_graph_is_no_engine(self, built: Path, machine: Machine) -> None:
        (built / "fov" / "fov.onnx").write_bytes(b"junk")
        assert main(["build", str(built)]) == 2
        with pytest.raises(BundleTamperedError):
            open_bundle(built, damaged_engines=True)

    def test_a_dla_engine_is_built_by_the_command_of_its_error(
        self, built: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(EngineError, match="asked for is DLA core 1") as caught:
            open_stage(built, dla_core=1)
        self.run(caught.value.remedy)
        assert "engine of fov: the DLA leaves 1 layers to the GPU: node_softmax (SOFTMAX)" in capsys.readouterr().out
        open_stage(built, dla_core=1)
        open_stage(built)  # the GPU's engines are still there
        assert main(["build", str(built)]) == 0  # and a build that doesn't ask for the DLA isn't one for it
        assert machine.provider.built[-1].options.dla_core is None

    def test_what_a_build_is_not_told_comes_from_the_kit(self, kit: Path, machine: Machine) -> None:
        recipe = BuildOptions(workspace_mb=512, optimization_level=2)
        rewritten(open_bundle(kit), kit, lambda manifest: replace(manifest, build=recipe))
        assert main(["build", str(kit), "--optimization-level", "4"]) == 0
        assert machine.provider.built[-1].options == BuildOptions(workspace_mb=512, optimization_level=4)

    @staticmethod
    def run(remedy: str) -> None:
        command = re.search(r"edgedepth (build (?:[^,;]|,(?! ))+)", remedy)
        assert command, remedy
        assert main(shlex.split(command[1])) == 0


def test_the_benchmark_runs_and_prints_one_table(
    built: Path, kit: Path, machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """benchmarks/gpu without its GPU: what is measured means nothing here, that it gets to the table does."""
    path = Path(__file__).parents[3] / "benchmarks" / "gpu" / "tensorrt_latency.py"
    spec = importlib.util.spec_from_file_location("tensorrt_latency", path)
    assert spec
    assert spec.loader
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.ROUNDS = benchmark.WARM_UP = 1
    good, bare = tmp_path / "fp32", tmp_path / "fp16"
    built.rename(good)
    rewritten(open_bundle(good), bare, lambda manifest: replace(manifest, engines=()))
    parity = {"end_to_end": {"abs_rel": 3e-7}, "passed": True}
    (tmp_path / "verify-fp32.json").write_text(json.dumps(parity))
    assert benchmark.main(["--no-torch", "--frames", "1", "--out", str(tmp_path), str(good), str(bare)]) == 0
    table = capsys.readouterr().out
    for word in ("edgedepth fp32", "frame", "patch_encoder", "decoder", "3e-07", "yes", "Orin", "driver 540.4.0"):
        assert word in table
    assert "edgedepth fp16: " in table  # no engine: told below the table, and the rest was measured
    figures = json.loads((tmp_path / "tensorrt_latency.json").read_text())
    assert set(figures["stages_ms"]) == {"fp32"}
    assert "memory_mb" in figures["frames"]["edgedepth fp32"]


def test_facts_that_agree_are_no_mismatch(built: Path) -> None:
    engine: EngineFacts = open_bundle(built).manifest.engines[0]
    assert mismatch(engine, engine) == ""
    assert "other inputs" in mismatch(replace(engine, stage=replace(engine.stage, outputs=())), engine)
    assert "fp16" in mismatch(replace(engine, precision="fp16"), engine)
