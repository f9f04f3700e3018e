"""What is OpenVINO's own behind the contract: devices, precision, broken files, the cache, memory, forks."""

from __future__ import annotations

import gc
import logging
import os
import resource
import shutil
import subprocess
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import openvino
import psutil
import pytest
from onnx import TensorProto, helper

from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import (
    BundleError,
    BundleTamperedError,
    DeviceError,
    MissingExtraError,
    OptionError,
    StageError,
    UnsupportedError,
)
from edgedepth.core.spec import Precision, StageSpec, TensorSpec
from edgedepth.core.store import cache_folder
from edgedepth.exporters.to_openvino_stage import onnx_to_ir
from edgedepth.runtimes import openvino_session
from edgedepth.runtimes.base import SessionOptions, backend_named
from edgedepth.runtimes.openvino_session import OpenVinoBackend, OpenVinoSession

CPU = SessionOptions(device="cpu", threads=1)
HERE = openvino.Core().available_devices
BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

DOUBLE = StageSpec(
    name="double",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("n", 3)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("n", 3)),),
)


@pytest.fixture(scope="module")
def double_ir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = x + x."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 3)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "double", values[:1], values[1:])
    folder = tmp_path_factory.mktemp("double")
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(folder / "double.onnx")
    )
    path = folder / "double.xml"
    onnx_to_ir(folder / "double.onnx", path, DOUBLE, precision="fp32", about={}, fp32_weights=frozenset())
    return path


@pytest.fixture
def double(double_ir: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    for suffix in (".xml", ".bin"):
        shutil.copy(double_ir.with_suffix(suffix), tmp_path)
    return tmp_path / "double.xml"


@pytest.fixture
def fp32_bundle(mini_openvino: Callable[[Precision], Path]) -> Bundle:
    return open_bundle(mini_openvino("fp32"))


class TestDevices:
    def test_it_says_what_executes_and_in_which_precision(self, double: Path) -> None:
        name = openvino.Core().get_property("CPU", "FULL_DEVICE_NAME")
        assert OpenVinoSession(double, DOUBLE, CPU).device == f"cpu ({name}, f32)"

    def test_a_gpu_that_was_asked_for_is_never_the_cpu(self, double: Path) -> None:
        if any(name.startswith("GPU") for name in HERE):
            pytest.skip("this machine has a GPU that OpenVINO finds; the refusal is for those without")
        with pytest.raises(DeviceError, match=r"OpenVINO finds .*cpu") as caught:
            OpenVinoSession(double, DOUBLE, SessionOptions(device="gpu"))
        assert "device='cpu'" in caught.value.remedy

    @pytest.mark.skipif(not BF16, reason="OpenVINO has no bf16 on this processor")
    def test_bf16_is_computed_in_bf16(self, double: Path) -> None:
        assert OpenVinoSession(double, DOUBLE, CPU, precision="bf16").device.endswith(", bf16)")

    def test_fp16_on_a_cpu_is_computed_in_fp32(self, double: Path) -> None:
        assert OpenVinoSession(double, DOUBLE, CPU, precision="fp16").device.endswith(", f32)")

    def test_bf16_without_bf16_is_refused(self, double: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The real Core, telling of an older processor."""

        class OlderProcessor:
            def __getattr__(self, name: str) -> object:
                return getattr(openvino.Core(), name)

            def get_property(self, device: str, name: str) -> object:
                found = openvino.Core().get_property(device, name)
                return [one for one in found if one != "BF16"] if name == "OPTIMIZATION_CAPABILITIES" else found

        monkeypatch.setattr(openvino_session, "_core", OlderProcessor)
        with pytest.raises(UnsupportedError, match="does not compute in bf16") as caught:
            OpenVinoSession(double, DOUBLE, CPU, precision="bf16")
        assert "--fp32 or --fp16" in caught.value.remedy
        assert OpenVinoSession(double, DOUBLE, CPU).device.endswith(", f32)")

    def test_threads_and_streams_and_performance_arrive(self, double: Path) -> None:
        options = SessionOptions(device="cpu", threads=1, streams=1, performance="throughput")
        compiled = OpenVinoSession(double, DOUBLE, options)._compiled
        assert compiled.get_property("INFERENCE_NUM_THREADS") == 1
        assert str(compiled.get_property("NUM_STREAMS")) == "1"
        assert "THROUGHPUT" in str(compiled.get_property("PERFORMANCE_HINT"))


class TestFiles:
    @pytest.mark.parametrize(
        "spoil",
        [
            lambda data: b"not a graph",
            lambda data: b"",
            lambda data: data[: len(data) // 2],
            lambda data: data.replace(b'type="Add"', b'type="Bdd"'),
        ],
        ids=["text", "empty", "cut", "unknown operator"],
    )
    def test_broken_ones_end_in_one_line(
        self, double: Path, spoil: Callable[[bytes], bytes], capfd: pytest.CaptureFixture[str]
    ) -> None:
        double.write_bytes(spoil(double.read_bytes()))
        with pytest.raises(BundleTamperedError, match=r"double\.xml (doesn't load in|is not an) OpenVINO") as caught:
            OpenVinoSession(double, DOUBLE, CPU)
        assert "\n" not in str(caught.value)
        assert "src/" not in str(caught.value)
        assert capfd.readouterr() == ("", "")

    def test_a_missing_one(self, tmp_path: Path) -> None:
        with pytest.raises(BundleTamperedError, match=r"gone\.xml"):
            OpenVinoSession(tmp_path / "gone.xml", DOUBLE, CPU)

    def test_missing_weights(self, fp32_bundle: Bundle, tmp_path: Path) -> None:
        bundle = open_bundle(shutil.copytree(fp32_bundle.path, tmp_path / "bundle"))
        bundle.file("fov/fov.bin").unlink()
        with pytest.raises(BundleTamperedError, match=r"fov\.xml"):
            OpenVinoBackend().open(bundle, "fov", CPU)

    def test_too_many_open_files_are_no_fault_of_the_bundle(self, double: Path) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        openvino_session._core()  # what OpenVINO keeps open
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            with pytest.raises(BundleError, match="Too many open files") as caught:
                OpenVinoSession(double, DOUBLE, CPU)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert "ulimit -n" in caught.value.remedy

    def test_an_ir_edited_by_hand_is_refused_before_it_is_loaded(self, fp32_bundle: Bundle, tmp_path: Path) -> None:
        copy = shutil.copytree(fp32_bundle.path, tmp_path / "bundle")
        file = copy / "fov" / "fov.xml"
        file.write_bytes(file.read_bytes().replace(b'axis="1"', b'axis="0"'))
        with pytest.raises(BundleTamperedError, match=r"fov\.xml has SHA-256"):
            open_bundle(copy)

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
            OpenVinoSession(double, declared, CPU)


class TestBackend:
    def test_it_is_found_by_name_and_alias(self) -> None:
        assert [backend_named(name).name for name in ("openvino", "ov")] == ["openvino"] * 2

    def test_availability(self) -> None:
        availability = OpenVinoBackend().availability()
        assert availability.version is not None
        assert openvino.__version__.startswith(availability.version)
        assert "cpu" in availability.devices
        assert availability.reason == ""

    def test_without_openvino(self, double: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "openvino", None)
        availability = OpenVinoBackend().availability()
        assert (availability.version, availability.devices) == (None, ())
        assert "edgedepth[openvino]" in availability.reason
        with pytest.raises(MissingExtraError, match=r"edgedepth\[openvino\]"):
            OpenVinoSession(double, DOUBLE, CPU)

    def test_an_unknown_stage(self, fp32_bundle: Bundle) -> None:
        with pytest.raises(StageError, match="'whole'; it has"):
            OpenVinoBackend().open(fp32_bundle, "whole", CPU)

    def test_the_log_tells_where_a_stage_runs(self, double: Path, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG, "edgedepth"):
            OpenVinoSession(double, DOUBLE, CPU)
        assert "double runs on cpu" in caplog.text


def cached(session: OpenVinoSession) -> bool:
    return bool(session._compiled.get_property("LOADED_FROM_CACHE"))


def image_features(session: OpenVinoSession) -> np.ndarray:
    shape = [int(size) for size in session.inputs[0].shape]
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    return session.run({"image": image})["image_features"]


class TestCache:
    """The image encoder of the mini, compiled and loaded again."""

    def open(self, bundle: Bundle, options: SessionOptions = CPU) -> OpenVinoSession:
        return OpenVinoBackend().open(bundle, "image_encoder", options)

    def test_the_second_start_is_warm_and_gives_the_same(self, fp32_bundle: Bundle) -> None:
        cold, warm = self.open(fp32_bundle), self.open(fp32_bundle)
        assert (cached(cold), cached(warm)) == (False, True)
        np.testing.assert_array_equal(image_features(cold), image_features(warm))
        assert warm.device == cold.device

    def test_other_options_are_another_entry(self, fp32_bundle: Bundle) -> None:
        self.open(fp32_bundle)
        assert not cached(self.open(fp32_bundle, SessionOptions(device="cpu", threads=1, streams=1)))

    @pytest.mark.parametrize("spoil", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"blob"])
    def test_a_broken_entry_is_compiled_again(self, fp32_bundle: Bundle, spoil: Callable[[bytes], bytes]) -> None:
        expected = image_features(self.open(fp32_bundle))
        (blob,) = cache_folder().rglob("*.blob")
        data = blob.read_bytes()
        blob.chmod(0o644)
        blob.write_bytes(spoil(data))
        session = self.open(fp32_bundle)
        assert not cached(session)
        np.testing.assert_array_equal(image_features(session), expected)

    def test_another_versions_entries_are_neither_used_nor_kept(
        self, fp32_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(openvino, "__version__", "2025.0.0-1-older")
            self.open(fp32_bundle)
        older = set(cache_folder().rglob("*.blob"))
        assert not cached(self.open(fp32_bundle))
        assert len(older) == 1
        assert not any(blob.exists() for blob in older)

    def test_a_cache_that_cannot_be_written_is_told_and_is_no_reason_to_fail(
        self, fp32_bundle: Bundle, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache_folder().parent.mkdir(parents=True, exist_ok=True)
        cache_folder().write_text("a file where the folder should be; root may write into any folder")
        with caplog.at_level(logging.WARNING, "edgedepth"):
            session = self.open(fp32_bundle)
        assert "can't be kept" in caplog.text
        assert "EDGEDEPTH_HOME" in caplog.text
        assert image_features(session).std() > 0

    def test_nothing_half_written_is_left(self, fp32_bundle: Bundle) -> None:
        self.open(fp32_bundle)
        assert not [path for path in cache_folder().rglob("*") if path.name.startswith(".")]


def test_a_forked_process_is_told_to_open_its_own(double: Path) -> None:
    """In a process of its own: this one has threads that must not be forked."""
    code = f"""
import os, sys
import numpy as np
from pathlib import Path
from edgedepth.core.errors import StageError
from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.openvino_session import OpenVinoSession
stage = StageSpec(
    name="double",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("n", 3)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("n", 3)),),
)
session = OpenVinoSession(Path({str(double)!r}), stage, SessionOptions(device="cpu"))
session.run({{"x": np.ones((2, 3), np.float32)}})
child = os.fork()
if not child:
    try:
        session.run({{"x": np.ones((2, 3), np.float32)}})
    except StageError as error:
        os._exit(7 if "forked" in str(error) and "spawn" in error.remedy else 8)
    os._exit(9)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120, env=os.environ, capture_output=True)
    assert done.returncode == 7, done.stderr


class TestMemory:
    def test_inputs_and_outputs_are_not_copied(self, double: Path) -> None:
        """60 MiB in, 60 MiB out into a given buffer: nothing of that size is allocated on the way."""
        session = OpenVinoSession(double, DOUBLE, CPU)
        feeds = {"x": np.ones((5 << 20, 3), np.float32)}
        out = {"y": np.zeros((5 << 20, 3), np.float32)}
        out["y"][:] = 1  # touched, so that its pages are there before the measurement
        session.run(feeds, out)
        before = psutil.Process().memory_info().rss
        for _ in range(3):
            session.run(feeds, out)
        grown = psutil.Process().memory_info().rss - before
        assert grown < 20e6  # a copy of either would be 63 MB
        assert (out["y"] == 2).all()

    def test_closing_frees_the_compiled_stage(self, double: Path) -> None:
        session = OpenVinoSession(double, DOUBLE, CPU)
        session.run({"x": np.ones((2, 3), np.float32)})
        compiled = weakref.ref(session._compiled)
        session.close()
        gc.collect()
        assert compiled() is None
        assert session._idle == []


@pytest.mark.parametrize(
    "options",
    [{"streams": 0}, {"streams": True}, {"streams": "2"}, {"performance": "fast"}, {"threads": -1}],
    ids=str,
)
def test_options_that_are_none(options: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        SessionOptions(**options)  # type: ignore[arg-type]
