"""What is ONNX Runtime's own behind the contract: providers, broken files, declarations, memory."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
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
from edgedepth.runtimes.ort_arena import _IDENTITY
from edgedepth.runtimes.ort_session import OrtBackend, OrtSession, check_started, providers_for

REPOSITORY = Path(__file__).parents[3]
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


def run_apart(code: str) -> None:
    """In a process of its own, which has an arena of its own."""
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, cwd=REPOSITORY, timeout=100)


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

    def test_threads_of_one_stage_leave_the_processor_to_the_next(self, double: Path) -> None:
        """They spin for milliseconds after a run if they are let: benchmarks/mini_ratios.py tells what it costs."""
        options = OrtSession(double, DOUBLE, CPU)._session.get_session_options()
        assert options.get_session_config_entry("session.force_spinning_stop") == "1"


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

    def test_two_sessions_use_the_same_memory_and_the_last_gives_it_back(self, tmp_path: Path) -> None:
        """Four operations on 63 MB each: a tensor between them is kept for whichever session runs next."""
        names = ("x", "first", "second", "third", "y")
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 3)) for name in "xy"]
        nodes = [helper.make_node("Softmax", [x], [y], axis=1) for x, y in pairwise(names)]
        path = tmp_path / "double.onnx"
        graph = helper.make_graph(nodes, "double", values[:1], values[1:])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(path))
        code = f"""
            import numpy as np, psutil
            from tests.unit.runtimes.test_ort_session import CPU, DOUBLE, OrtSession, Path
            feeds, out = {{"x": np.ones((5 << 20, 3), np.float32)}}, {{"y": np.ones((5 << 20, 3), np.float32)}}
            sessions = [OrtSession(Path({str(path)!r}), DOUBLE, CPU) for _ in range(2)]
            before = psutil.Process().memory_info().rss
            def grown():
                return (psutil.Process().memory_info().rss - before) / 63e6
            sessions[0].run(feeds, out)
            of_one = grown()
            assert of_one > 0.9, of_one  # tensors; the bounds leave a tenth for what the process does besides
            sessions[1].run(feeds, out)
            assert grown() < of_one + 0.1, (of_one, grown())
            sessions[0].close()
            sessions[1].close()
            assert grown() < 0.1, grown()
            sessions[0].close()  # twice is no mistake
        """
        run_apart(code)

    @pytest.mark.parametrize("least_memory", [False, True])
    def test_who_wants_the_least_memory_has_no_arena(self, double: Path, least_memory: bool) -> None:
        session = OrtSession(double, DOUBLE, replace(CPU, least_memory=least_memory))
        assert session._session.get_session_options().enable_cpu_mem_arena is not least_memory

    def test_what_shrinks_the_arena_is_a_graph(self) -> None:
        graph = onnx.load_from_string(_IDENTITY)
        onnx.checker.check_model(graph, full_check=True)
        assert [node.op_type for node in graph.graph.node] == ["Identity"]

    @pytest.mark.parametrize("refused", [False, True], ids=["this onnxruntime", "1.18 keeps the first"])
    def test_an_arena_that_the_application_registered_is_no_obstacle(self, double: Path, refused: bool) -> None:
        """What 1.18.1 says was tried there; it needs numpy 1."""
        code = f"""
            import numpy as np, onnxruntime as ort
            kind, register = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, ort.create_and_register_allocator
            register(ort.OrtMemoryInfo("Cpu", kind, 0, ort.OrtMemType.DEFAULT), None)
            def refuse(*_):
                raise RuntimeError("An allocator for this device has already been registered for sharing.")
            ort.create_and_register_allocator = refuse if {refused} else register
            from tests.unit.runtimes.test_ort_session import CPU, DOUBLE, OrtSession, Path
            session = OrtSession(Path({str(double)!r}), DOUBLE, CPU)
            assert session.run({{"x": np.ones((2, 3), np.float32)}})["y"].sum() == 12
            session.close()
        """
        run_apart(code)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks on this system")
    def test_a_fork_has_an_arena_of_its_own(self, double: Path) -> None:
        """Its parent's may be locked for ever: the thread that held it isn't in the fork."""
        code = f"""
            import os
            import numpy as np
            from edgedepth.runtimes import ort_arena
            from tests.unit.runtimes.test_ort_session import CPU, DOUBLE, OrtSession, Path
            path, feeds = Path({str(double)!r}), {{"x": np.ones((2, 3), np.float32)}}
            session = OrtSession(path, DOUBLE, CPU)
            ort_arena._lock.acquire()
            if (child := os.fork()) == 0:
                before = list(ort_arena._registered)
                twelve = OrtSession(path, DOUBLE, CPU).run(feeds)["y"].sum()
                os._exit(0 if not before and ort_arena._registered and twelve == 12 else 1)
            assert os.waitpid(child, 0)[1] == 0
        """
        run_apart(code)
