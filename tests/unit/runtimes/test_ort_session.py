"""What is ONNX Runtime's own behind the contract: providers, broken files, declarations, memory."""

from __future__ import annotations

import logging
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edgedepth.core.bundle import open_bundle
from edgedepth.core.errors import BundleTamperedError, DeviceError, MissingExtraError, OptionError, StageError
from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.runtimes.base import SessionOptions, backend_named
from edgedepth.runtimes.ort_session import OrtBackend, OrtSession, check_started, providers_for

CPU_ONLY = ["CPUExecutionProvider"]
GPU_BUILD = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
CPU = SessionOptions(device="cpu")

DOUBLE = StageSpec(
    name="double",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("n", 3)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("n", 3)),),
)


@pytest.fixture
def double(tmp_path: Path) -> Path:
    """y = x + x."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 3)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", values[:1], values[1:])
    path = tmp_path / "double.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(path))
    return path


class TestProviders:
    @pytest.mark.parametrize(
        ("device", "available", "expected"),
        [
            ("auto", CPU_ONLY, ["CPUExecutionProvider"]),
            ("cpu", CPU_ONLY, ["CPUExecutionProvider"]),
            ("cpu", GPU_BUILD, ["CPUExecutionProvider"]),
            ("auto", GPU_BUILD, ["CUDAExecutionProvider", "CPUExecutionProvider"]),
            ("cuda", GPU_BUILD, ["CUDAExecutionProvider", "CPUExecutionProvider"]),
        ],
    )
    def test_order(self, device: str, available: list[str], expected: list[str]) -> None:
        assert [name for name, _ in providers_for(device, available)] == expected

    def test_a_gpu_is_chosen_by_its_number(self) -> None:
        assert providers_for("cuda:1", GPU_BUILD)[0][1]["device_id"] == "1"
        assert providers_for("cuda", GPU_BUILD)[0][1]["device_id"] == "0"

    @pytest.mark.parametrize("device", ["gpu", "CPU", "cpu:0", "cuda:-1", "cuda:x", "auto:1", ""])
    def test_unknown_devices(self, device: str) -> None:
        with pytest.raises(OptionError, match="allowed are auto, cpu, cuda"):
            providers_for(device, GPU_BUILD)

    def test_a_gpu_that_was_asked_for_is_never_the_cpu(self, double: Path) -> None:
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this onnxruntime has CUDA; the refusal is for builds without")
        with pytest.raises(DeviceError, match="CPUExecutionProvider") as caught:
            OrtSession(double, DOUBLE, SessionOptions(device="cuda"))
        assert "onnxruntime-gpu" in caught.value.remedy

    def test_a_provider_that_did_not_start_is_noticed(self, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(DeviceError, match="could not start CUDAExecutionProvider"):
            check_started("CUDAExecutionProvider", CPU_ONLY, "cuda:0")
        check_started("CUDAExecutionProvider", CPU_ONLY, "auto")
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "running on CPUExecutionProvider" in caplog.text

    def test_one_that_started_is_nothing_to_tell(self, caplog: pytest.LogCaptureFixture) -> None:
        check_started("CUDAExecutionProvider", GPU_BUILD, "cuda")
        assert not caplog.records


class TestFiles:
    @pytest.mark.parametrize(
        "spoil",
        [
            lambda data: b"not a graph",
            lambda data: b"",
            lambda data: data[: len(data) // 2],
            lambda data: data.replace(b"Add", b"Bdd"),
        ],
        ids=["text", "empty", "cut", "unknown operator"],
    )
    def test_broken_ones_end_in_one_line(
        self, double: Path, spoil: Callable[[bytes], bytes], capfd: pytest.CaptureFixture[str]
    ) -> None:
        double.write_bytes(spoil(double.read_bytes()))
        with pytest.raises(
            BundleTamperedError, match=r"double\.onnx (doesn't load in onnxruntime|is not an ONNX file)"
        ) as caught:
            OrtSession(double, DOUBLE, CPU)
        assert "\n" not in str(caught.value)
        assert capfd.readouterr() == ("", "")

    def test_a_missing_one(self, tmp_path: Path) -> None:
        with pytest.raises(BundleTamperedError, match=r"gone\.onnx"):
            OrtSession(tmp_path / "gone.onnx", DOUBLE, CPU)

    def test_missing_weights(self, mini_bundle: Path, tmp_path: Path) -> None:
        bundle = open_bundle(shutil.copytree(mini_bundle, tmp_path / "bundle"))
        bundle.file("fov/fov.onnx.data").unlink()
        with pytest.raises(BundleTamperedError, match=r"fov\.onnx"):
            OrtBackend().open(bundle, "fov", CPU)

    @pytest.mark.parametrize(
        "declared",
        [
            replace(DOUBLE, inputs=(replace(DOUBLE.inputs[0], name="z"),)),
            replace(DOUBLE, outputs=(replace(DOUBLE.outputs[0], shape=("n", 4)),)),
            replace(DOUBLE, outputs=(replace(DOUBLE.outputs[0], shape=(5, 3)),)),
            replace(DOUBLE, outputs=(*DOUBLE.outputs, replace(DOUBLE.outputs[0], name="more"))),
            replace(DOUBLE, inputs=(replace(DOUBLE.inputs[0], dtype="float16"),)),
        ],
        ids=["name", "shape", "fixed batch", "one more", "dtype"],
    )
    def test_another_declaration_is_refused(self, double: Path, declared: StageSpec) -> None:
        with pytest.raises(BundleTamperedError, match="the manifest declares"):
            OrtSession(double, declared, CPU)


class TestBackend:
    def test_it_is_found_by_name_and_alias(self) -> None:
        assert [backend_named(name).name for name in ("onnx", "ort", "onnxruntime")] == ["onnx"] * 3

    def test_availability(self) -> None:
        availability = OrtBackend().availability()
        assert availability.version == onnxruntime.__version__
        assert availability.devices[-1] == "cpu"
        assert availability.reason == ""

    def test_without_onnxruntime(self, double: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        availability = OrtBackend().availability()
        assert availability.version is None
        assert availability.devices == ()
        assert "edgedepth[onnx]" in availability.reason
        with pytest.raises(MissingExtraError, match=r"edgedepth\[onnx\]"):
            OrtSession(double, DOUBLE, CPU)

    def test_an_unknown_stage(self, mini_bundle: Path) -> None:
        with pytest.raises(StageError, match="'whole'; it has"):
            OrtBackend().open(open_bundle(mini_bundle), "whole", CPU)

    def test_the_log_tells_where_a_stage_runs(self, double: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG, "edgedepth"):
            OrtSession(double, DOUBLE, CPU)
        assert "double runs on cpu" in caplog.text

    def test_threads(self, double: Path) -> None:
        session = OrtSession(double, DOUBLE, SessionOptions(device="cpu", threads=1))
        assert session._session.get_session_options().intra_op_num_threads == 1


class TestMemory:
    def test_inputs_and_outputs_are_not_copied(self, double: Path) -> None:
        """64 MiB in, 64 MiB out into a given buffer: nothing of that size is allocated on the way."""
        import psutil

        session = OrtSession(double, DOUBLE, CPU)
        feeds = {"x": np.ones((16 << 20, 1), np.float32).repeat(3, axis=1)[: 5 << 20]}
        out = {"y": np.zeros((5 << 20, 3), np.float32)}
        out["y"][:] = 1  # touched, so that its pages are there before the measurement
        session.run(feeds, out)
        before = psutil.Process().memory_info().rss
        for _ in range(3):
            session.run(feeds, out)
        grown = psutil.Process().memory_info().rss - before
        assert grown < 20e6  # a copy of either would be 63 MB
        assert (out["y"] == 2).all()
