"""The contract of edgedepth.core.session.Session: one suite that every backend passes.

To add a backend, write a function that opens the toy stage below on it (build the artefact in `folder` if it needs
one) and add it to BACKENDS with one line. Whatever the backend is, these tests are all it has to pass.

The toy stage has two inputs whose roles differ, so that swapped names show, and two outputs:
    combined = 2 * left + right      (tiles, 4)
    dot = sum(left * right, axis=1)  (tiles, 1)
"""

from __future__ import annotations

import functools
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgedepth.core.engine import BuildOptions
from edgedepth.core.errors import StageError
from edgedepth.core.progress import silent
from edgedepth.core.session import Session
from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.exporters.to_coreml_stage import quietly
from edgedepth.exporters.to_openvino_stage import onnx_to_ir
from edgedepth.off_device import open_off_device
from edgedepth.programs.fake_session import FakeSession
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.coreml_session import CoreMlSession
from edgedepth.runtimes.openvino_session import OpenVinoSession
from edgedepth.runtimes.ort_session import OrtSession
from edgedepth.runtimes.torch_session import TorchSession
from edgedepth.runtimes.trt_session import TrtSession
from edgedepth.trt.adapter import BuildRequest
from edgedepth.trt.fake_api import FakeGpu, FakeTensorRt
from edgedepth.trt.memory import DeviceArrays


def toy_stage(tiles: int | str) -> StageSpec:
    def tensor(name: str, width: int) -> TensorSpec:
        return TensorSpec(name=name, dtype="float32", shape=(tiles, width))

    return StageSpec(
        name="toy", inputs=(tensor("left", 4), tensor("right", 4)), outputs=(tensor("combined", 4), tensor("dot", 1))
    )


def toy_numpy(feeds: Mapping[str, Any]) -> dict[str, Any]:
    left, right = feeds["left"], feeds["right"]
    return {"combined": np.float32(2) * left + right, "dot": (left * right).sum(axis=1, keepdims=True)}


class ToyModule(torch.nn.Module):
    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return 2 * left + right, (left * right).sum(dim=1, keepdim=True)


def toy_onnx(stage: StageSpec) -> onnx.ModelProto:
    def info(spec: TensorSpec) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, spec.shape)

    graph = helper.make_graph(
        [
            helper.make_node("Add", ["left", "left"], ["doubled"]),
            helper.make_node("Add", ["doubled", "right"], ["combined"]),
            helper.make_node("Mul", ["left", "right"], ["product"]),
            helper.make_node("ReduceSum", ["product", "axes"], ["dot"], keepdims=1),
        ],
        stage.name,
        [info(spec) for spec in stage.inputs],
        [info(spec) for spec in stage.outputs],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def open_torch(stage: StageSpec, folder: Path) -> Session:
    return TorchSession(ToyModule(), stage)


def open_onnx(stage: StageSpec, folder: Path) -> Session:
    path = folder / "toy.onnx"
    onnx.save(toy_onnx(stage), str(path))
    return OrtSession(path, stage, SessionOptions(device="cpu", threads=1))


@functools.cache
def toy_ir(stage: StageSpec) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        source, path = Path(folder, "toy.onnx"), Path(folder, "toy.xml")
        onnx.save(toy_onnx(stage), str(source))
        onnx_to_ir(source, path, stage, precision="fp32", about={}, fp32_weights=frozenset())
        return {file.name: file.read_bytes() for file in (path, path.with_suffix(".bin"))}


def open_openvino(stage: StageSpec, folder: Path) -> Session:
    for name, data in toy_ir(stage).items():
        folder.joinpath(name).write_bytes(data)
    return OpenVinoSession(folder / "toy.xml", stage, SessionOptions(device="cpu", threads=1))


@functools.cache
def toy_package(stage: StageSpec) -> Path:
    with quietly():
        import coremltools as ct

        sizes = [[ct.RangeDim(1, 16) if isinstance(size, str) else size for size in x.shape] for x in stage.inputs]
        traced = torch.jit.trace(ToyModule(), (torch.zeros(3, 4), torch.zeros(3, 4)))
        model = ct.convert(
            traced,
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            inputs=[ct.TensorType(name=x.name, shape=s) for x, s in zip(stage.inputs, sizes, strict=True)],
            outputs=[ct.TensorType(name=spec.name) for spec in stage.outputs],
            skip_model_load=True,
        )
        path = Path(tempfile.mkdtemp(), "toy.mlpackage")  # kept for the process: the cache names it
        model.save(str(path))
    return path


def open_coreml(stage: StageSpec, folder: Path) -> Session:
    """On the evaluator: all of the session but Core ML itself."""
    package = shutil.copytree(toy_package(stage), folder / "toy.mlpackage", dirs_exist_ok=True)
    return CoreMlSession(package, stage, SessionOptions(), open_predictor=open_off_device)


def open_fake(stage: StageSpec, folder: Path) -> Session:
    return FakeSession(stage, lambda _, feeds: toy_numpy(feeds))


def open_tensorrt(stage: StageSpec, folder: Path) -> Session:
    """The whole session over the shipped fake of TensorRT and CUDA: no machine that tests run on has a GPU."""

    def read(path: Path) -> tuple[StageSpec, Callable[[Mapping[str, Any]], Mapping[str, Any]]]:
        return stage, toy_numpy

    provider, gpu = FakeTensorRt(read), FakeGpu()
    plan = provider.build(BuildRequest(onnx=folder / "toy.onnx", sms=(), options=BuildOptions()), silent)
    return TrtSession(stage, provider.load(plan.data, gpu, dla_core=None), DeviceArrays(gpu), "fake GPU")


BACKENDS: dict[str, Callable[[StageSpec, Path], Session]] = {
    "torch": open_torch,
    "onnx": open_onnx,
    "openvino": open_openvino,
    "coreml": open_coreml,
    "fake": open_fake,
    "tensorrt": open_tensorrt,
}

OpenToy = Callable[..., Session]
TILES = 3


@pytest.fixture(params=BACKENDS)
def open_toy(request: pytest.FixtureRequest, tmp_path: Path) -> OpenToy:
    def open_(tiles: int | str = "tiles") -> Session:
        return BACKENDS[request.param](toy_stage(tiles), tmp_path)

    return open_


@pytest.fixture
def session(open_toy: OpenToy) -> Session:
    return open_toy()


def draw(seed: int, tiles: int = TILES) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal((tiles, 4), dtype=np.float32) for name in ("left", "right")}


def check_values(results: Mapping[str, Any], feeds: Mapping[str, Any]) -> None:
    for name, expected in toy_numpy(feeds).items():
        # A sum of four float32 products: the order of adding is the backend's own.
        np.testing.assert_allclose(results[name], expected, rtol=1e-5, atol=1e-5)


class TestDeclaration:
    def test_it_is_a_session(self, session: Session) -> None:
        assert isinstance(session, Session)

    @pytest.mark.parametrize("tiles", ["tiles", 3])
    def test_it_declares_its_tensors(self, open_toy: OpenToy, tiles: int | str) -> None:
        session = open_toy(tiles)
        assert session.inputs == toy_stage(tiles).inputs
        assert session.outputs == toy_stage(tiles).outputs

    def test_it_says_where_it_runs(self, session: Session) -> None:
        assert isinstance(session.device, str)
        assert session.device


class TestResults:
    def test_every_declared_output_comes_and_nothing_else(self, session: Session) -> None:
        results = session.run(draw(0))
        assert list(results) == ["combined", "dot"]
        assert {name: (array.dtype, array.shape) for name, array in results.items()} == {
            "combined": (np.float32, (TILES, 4)),
            "dot": (np.float32, (TILES, 1)),
        }

    def test_values_are_those_of_numpy(self, session: Session) -> None:
        for seed in range(3):
            check_values(session.run(draw(seed)), draw(seed))

    def test_order_of_the_feeds_does_not_count(self, session: Session) -> None:
        feeds = draw(1)
        check_values(session.run(dict(reversed(feeds.items()))), feeds)

    def test_a_named_dimension_takes_any_size(self, session: Session) -> None:
        for tiles in (1, 7, 2):
            check_values(session.run(draw(0, tiles)), draw(0, tiles))

    def test_same_feeds_same_bits(self, session: Session) -> None:
        first, second = session.run(draw(2)), session.run(draw(2))
        assert all(np.array_equal(first[name], second[name]) for name in first)

    def test_later_runs_leave_earlier_results_alone(self, session: Session) -> None:
        results = session.run(draw(3))
        session.run(draw(4))
        check_values(results, draw(3))


class TestFeeds:
    def test_they_are_not_written_to(self, session: Session) -> None:
        feeds = draw(5)
        session.run(feeds)
        assert all(np.array_equal(feeds[name], draw(5)[name]) for name in feeds)

    def test_read_only_arrays_are_fine(self, session: Session) -> None:
        feeds = draw(6)
        for array in feeds.values():
            array.flags.writeable = False
        check_values(session.run(feeds), feeds)

    @pytest.mark.parametrize(
        "view",
        [
            np.asfortranarray,
            lambda array: np.repeat(array, 2, axis=1)[:, ::2],
            lambda array: array[::-1, ::-1].copy()[::-1, ::-1],
            lambda array: np.concatenate([array, array])[: len(array)],
            lambda array: np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(np.float32).reshape(array.shape),
        ],
        ids=["fortran", "strided", "reversed", "slice", "unaligned"],
    )
    def test_any_strides_are_fine(self, session: Session, view: Callable[[Any], Any]) -> None:
        feeds = draw(7)
        check_values(session.run({name: view(array) for name, array in feeds.items()}), feeds)

    def test_a_broadcast_view_is_fine(self, session: Session) -> None:
        feeds = draw(8)
        feeds["right"] = np.broadcast_to(feeds["right"][:1], (TILES, 4))
        check_values(session.run(feeds), feeds)

    @pytest.mark.parametrize(
        ("fault", "named"),
        [
            (lambda feeds: feeds.pop("right"), "right"),
            (lambda feeds: feeds.update(extra=feeds["left"]), "extra"),
            (lambda feeds: feeds.update(Right=feeds.pop("right")), "Right"),
            (lambda feeds: feeds.update(right=feeds["right"].astype(np.float64)), "float64"),
            (lambda feeds: feeds.update(right=feeds["right"].astype(np.float16)), "float16"),
            (lambda feeds: feeds.update(right=feeds["right"].astype(">f4")), ">f4"),
            (lambda feeds: feeds.update(right=feeds["right"][:, :3]), r"\(3, 3\)"),
            (lambda feeds: feeds.update(right=feeds["right"][None]), r"\(1, 3, 4\)"),
            (lambda feeds: feeds.update(right=feeds["right"][:2]), r"\(2, 4\)"),
            (lambda feeds: feeds.update({name: array[:0] for name, array in feeds.items()}), r"\(0, 4\)"),
        ],
        ids=[
            "missing",
            "extra",
            "misspelt",
            "float64",
            "float16",
            "big-endian",
            "narrow",
            "another rank",
            "tiles disagree",
            "no tiles",
        ],
    )
    def test_faults_are_named(self, session: Session, fault: Callable[[dict[str, Any]], None], named: str) -> None:
        feeds = draw(9)
        fault(feeds)
        with pytest.raises(StageError, match=named):
            session.run(feeds)
        check_values(session.run(draw(9)), draw(9))  # a refusal leaves the session usable

    def test_a_fixed_batch_takes_no_other(self, open_toy: OpenToy) -> None:
        session = open_toy(3)
        check_values(session.run(draw(0, 3)), draw(0, 3))
        for tiles in (1, 2, 4):
            with pytest.raises(StageError, match=rf"\({tiles}, 4\)"):
                session.run(draw(0, tiles))


class TestOut:
    def test_results_are_written_into_it(self, session: Session) -> None:
        out = {"combined": np.full((TILES, 4), np.nan, np.float32), "dot": np.full((TILES, 1), np.nan, np.float32)}
        results = session.run(draw(10), out)
        assert all(results[name] is out[name] for name in out)
        check_values(out, draw(10))

    def test_the_rest_is_allocated(self, session: Session) -> None:
        out = {"dot": np.empty((TILES, 1), np.float32)}
        results = session.run(draw(11), out)
        assert list(results) == ["combined", "dot"]
        assert results["dot"] is out["dot"]
        assert list(out) == ["dot"]
        check_values(results, draw(11))

    def test_a_slice_of_a_larger_buffer_is_fine_and_its_surroundings_stay(self, session: Session) -> None:
        buffer = np.full((TILES + 2, 4), 7, np.float32)
        session.run(draw(12), {"combined": buffer[1:-1]})
        check_values({"combined": buffer[1:-1], "dot": toy_numpy(draw(12))["dot"]}, draw(12))
        assert (buffer[[0, -1]] == 7).all()

    @pytest.mark.parametrize(
        "out",
        [
            {"unknown": np.empty((TILES, 4), np.float32)},
            {"combined": np.empty((TILES + 1, 4), np.float32)},
            {"combined": np.empty((TILES, 4), np.float64)},
            {"combined": np.empty((4, TILES), np.float32).T},
            {"combined": np.broadcast_to(np.zeros((1, 4), np.float32), (TILES, 4))},
            {"combined": np.frombuffer(bytes(TILES * 16), np.float32).reshape(TILES, 4)},
        ],
        ids=["unknown name", "wrong shape", "wrong dtype", "not contiguous", "broadcast", "read-only"],
    )
    def test_faults_are_refused(self, session: Session, out: dict[str, Any]) -> None:
        with pytest.raises(StageError, match=next(iter(out))):
            session.run(draw(13), out)


class TestLife:
    def test_closing_twice_is_fine(self, session: Session) -> None:
        session.run(draw(14))
        session.close()
        session.close()

    def test_running_after_closing_is_refused(self, session: Session) -> None:
        session.close()
        with pytest.raises(StageError, match="closed"):
            session.run(draw(14))

    def test_declarations_outlive_closing(self, session: Session) -> None:
        session.close()
        assert session.inputs == toy_stage("tiles").inputs
        assert session.device

    def test_two_sessions_at_once(self, open_toy: OpenToy) -> None:
        first, second = open_toy(), open_toy()
        kept = first.run(draw(15))
        check_values(second.run(draw(16)), draw(16))
        second.close()
        check_values(first.run(draw(17)), draw(17))
        check_values(kept, draw(15))

    def test_sessions_run_in_threads_of_their_own(self, open_toy: OpenToy) -> None:
        problems: list[BaseException] = []

        def work(session: Session, seed: int) -> None:
            try:
                for step in range(50):
                    feeds = draw(seed + step)
                    check_values(session.run(feeds), feeds)
            except BaseException as error:
                problems.append(error)

        threads = [threading.Thread(target=work, args=(open_toy(), 1000 * number)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not problems


def test_the_suite_catches_swapped_inputs() -> None:
    """The toy's inputs have different roles: a backend that mixes them up is caught by check_values."""
    stage = toy_stage("tiles")
    swapped = FakeSession(stage, lambda _, feeds: toy_numpy({"left": feeds["right"], "right": feeds["left"]}))
    with pytest.raises(AssertionError):
        check_values(swapped.run(draw(0)), draw(0))
