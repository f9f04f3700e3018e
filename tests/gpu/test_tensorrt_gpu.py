"""What only a GPU can show of TensorRT: run by benchmarks/gpu/run.sh, or `pytest -m gpu tests/gpu`.

These have not run yet: no machine with a GPU was at hand when they were written.
"""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from edgedepth import EdgeDepth
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import EngineError
from edgedepth.core.spec import Precision
from edgedepth.core.tolerances import tolerance_for
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporters.golden import draw_golden_frame
from edgedepth.exporters.to_tensorrt import TensorRtExporter
from edgedepth.models.loading import load_model
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.trt_backend import TrtBackend
from edgedepth.sample_photos import sample_photos
from edgedepth.trt.cuda_api import CudaGpu, find_gpus
from edgedepth.trt.memory import DeviceArrays
from edgedepth.verifying import verify_bundle

pytestmark = pytest.mark.gpu

FRAME = draw_golden_frame()


@pytest.fixture(scope="module", params=["fp32", "fp16"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The trained mini with engines of this GPU."""
    precision: Precision = request.param
    out = tmp_path_factory.mktemp("gpu") / precision
    exported = TensorRtExporter().export(load_model("depth-pro-mini"), ExportOptions(precision=precision), out)
    assert all(engine.device for engine in exported.manifest.engines)
    return exported


@pytest.fixture
def gpu() -> CudaGpu:
    return CudaGpu(0, find_gpus()[0])


class TestCuda:
    def test_copies_go_there_and_back(self, gpu: CudaGpu) -> None:
        arrays = DeviceArrays(gpu)
        values = np.random.default_rng(0).standard_normal((6, 7, 8), dtype=np.float32)
        array = arrays.resident(values.shape)
        staged = arrays.staging(values.shape)
        np.copyto(staged, values)
        gpu.upload(array.address, staged)
        cut = arrays.resident((3, 4, 8))
        arrays.copy(cut, array[2:5, 1:5])
        down = arrays.staging(cut.shape)
        gpu.download(down, cut.address)
        gpu.synchronise()
        np.testing.assert_array_equal(down, values[2:5, 1:5])

    def test_memory_comes_back(self, gpu: CudaGpu) -> None:
        import torch

        before = torch.cuda.mem_get_info()[0]
        array = DeviceArrays(gpu).resident((64, 1024, 1024))
        assert torch.cuda.mem_get_info()[0] < before
        del array
        gc.collect()
        assert torch.cuda.mem_get_info()[0] >= before

    def test_events_measure(self, gpu: CudaGpu) -> None:
        stop = gpu.timer()
        gpu.mark()()
        assert 0 <= stop() < 1e3


def test_parity_with_the_reference(bundle: Bundle) -> None:
    report = verify_bundle(bundle, [photo.pixels_rgb for photo in sample_photos()], color="rgb")
    assert report.passed, report.failures


def test_infer_again_and_again_gives_the_same(bundle: Bundle) -> None:
    """Outside of a graph, recorded, replayed."""
    with EdgeDepth(bundle.path, backend="trt") as model:
        first, *others = [model.infer(FRAME).depth for _ in range(5)]
        model.infer(FRAME[:, ::-1])
        others.append(model.infer(FRAME).depth)
    for depth in others:
        error = float(np.mean(np.abs(depth - first) / first))
        assert error <= tolerance_for(bundle.manifest.precision).abs_rel


def test_a_frame_on_the_gpu_is_a_frame(bundle: Bundle) -> None:
    """Written in torch's stream just before: DLPack makes ours wait for it."""
    import torch

    with EdgeDepth(bundle.path, backend="trt") as model:
        expected = model.infer(FRAME).depth
        for _ in range(3):
            frame = torch.from_numpy(FRAME).cuda(non_blocking=True).flip(1).flip(1)
            np.testing.assert_allclose(model.infer(frame).depth, expected, rtol=1e-3)


def test_torch_tensors_are_read_where_they_lie(bundle: Bundle) -> None:
    import torch

    session = TrtBackend().open(bundle, "image_encoder", SessionOptions())
    image = np.random.default_rng(0).standard_normal((1, 3, 128, 128), dtype=np.float32)
    expected = session.run({"image": image})["image_features"]
    on_device = torch.from_numpy(image).cuda()
    torch.cuda.synchronize()
    result = session.run({"image": on_device})["image_features"]  # type: ignore[dict-item]
    np.testing.assert_array_equal(result, expected)


def test_a_cut_plan_is_refused(bundle: Bundle) -> None:
    opened = open_bundle(bundle.path)
    plan = bundle.file(opened.manifest.engines[0].path)
    whole = plan.read_bytes()
    try:
        plan.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(EngineError, match="bytes"):
            TrtBackend().open(opened, opened.manifest.engines[0].stage.name, SessionOptions())
    finally:
        plan.write_bytes(whole)


def test_a_kit_builds_on_first_use(tmp_path: Path) -> None:
    from edgedepth.exporters.to_onnx import OnnxExporter
    from edgedepth.exporters.trt_engines import build_bundle
    from edgedepth.trt.options import EngineOptions

    onnx = OnnxExporter().export(load_model("depth-pro-mini"), ExportOptions(), tmp_path / "onnx")
    built = build_bundle(onnx, tmp_path / "built", EngineOptions())
    with EdgeDepth(built.path, backend="trt", build_if_missing=True) as model:
        assert np.isfinite(model.infer(FRAME).depth).all()
