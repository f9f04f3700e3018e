"""EdgeDepth on real bundles of the mini: what it chooses, what it refuses, what it gives."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import edgedepth
from edgedepth import EdgeDepth
from edgedepth.core.bundle import open_bundle
from edgedepth.core.errors import BundleNotFoundError, DeviceError, FrameError, OptionError, StageError
from edgedepth.core.store import bundle_folder
from edgedepth.core.tolerances import tolerance_for
from edgedepth.models.checkpoints import save_checkpoint
from edgedepth.models.loading import LoadedModel
from edgedepth.runtimes.ort_session import OrtSession
from edgedepth.runtimes.torch_reference import EagerReference
from edgedepth.verify.depth_errors import compare_depth
from edgedepth.verifying import verify_bundle

FRAME = np.random.default_rng(5).integers(0, 255, (48, 64, 3), np.uint8)
# Kernels add float32 products in another order: core/tolerances.py, fp32.
FP32_REL = 1e-4


@pytest.fixture(scope="module")
def model(mini_bundle: Path) -> EdgeDepth:
    return EdgeDepth(mini_bundle, self_test="never")


def test_depth_is_the_references(model: EdgeDepth, mini: LoadedModel) -> None:
    result = model.infer(FRAME)
    expected = EagerReference(mini).predict(FRAME[..., ::-1].astype(np.float32) / 255)
    assert np.mean(np.abs(result.depth - expected.depth) / expected.depth) <= FP32_REL
    assert result.fov_deg == pytest.approx(expected.fov_deg, abs=1e-3)
    assert (result.depth.shape, result.depth.dtype) == ((48, 64), np.float32)
    assert (result.model, result.kind, result.trained, result.backend, result.device) == (
        "depth-pro-mini",
        "metric",
        False,
        "onnx",
        "cpu",
    )
    assert result.focal_source == "predicted"
    assert {"patch_encoder", "image_encoder", "decoder", "fov"} <= set(result.timings_ms)


def test_a_known_focal_length_neither_runs_nor_loads_the_fov_stage(mini_bundle: Path) -> None:
    with EdgeDepth(mini_bundle, self_test="never") as model:
        given = model.infer(FRAME, focal_px=80.0)
        assert "fov" not in given.timings_ms
        assert "fov" not in model._pool.opened
        predicted = model.infer(FRAME)
    assert (given.focal_px, given.focal_source) == (80.0, "given")
    # Inverse depth scales with W / f_px (Depth Pro, section 3.2), so depth is proportional to the focal length.
    ratio = given.depth / predicted.depth
    assert np.allclose(ratio, 80.0 / predicted.focal_px, rtol=1e-4)  # float32, over a resize


def test_bgr_is_the_default_and_rgb_is_asked_for(mini_bundle: Path, model: EdgeDepth) -> None:
    bgr = model.infer(FRAME).depth
    with EdgeDepth(mini_bundle, color="rgb", self_test="never") as other:
        assert np.array_equal(other.infer(FRAME[..., ::-1]).depth, bgr)
        assert not np.array_equal(other.infer(FRAME).depth, bgr)


@pytest.mark.parametrize(
    "frame",
    [
        FRAME[..., 0],
        np.dstack([FRAME, FRAME[..., :1]]),
        FRAME.astype(np.float32) / 255,
        FRAME[::-1, ::-1],
        FRAME[:16, :16],
        np.asfortranarray(FRAME),
    ],
    ids=["grey", "alpha", "float", "flipped view", "16x16", "column-major"],
)
def test_frames_of_every_kind(model: EdgeDepth, frame: np.ndarray) -> None:
    frame = frame.copy(order="K")
    frame.setflags(write=False)
    before = frame.copy()
    depth = model.infer(frame).depth
    assert depth.shape == frame.shape[:2]
    assert (depth > 0).all()
    assert np.isfinite(depth).all()
    assert np.array_equal(frame, before)


def test_an_8k_frame(model: EdgeDepth) -> None:
    frame = np.tile(FRAME, (90, 120, 1))[:4320, :7680]
    assert model.infer(frame, focal_px=6000).depth.shape == (4320, 7680)


@pytest.mark.parametrize(
    "frame",
    [
        None,
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.zeros((32, 32, 5), np.uint8),
        np.zeros((32, 32, 3), np.int64),
        np.full((32, 32, 3), np.nan, np.float32),
        np.full((32, 32, 3), np.inf, np.float32),
        np.full((32, 32, 3), 255.0, np.float32),
        np.zeros((9000, 16, 3), np.uint8),
    ],
    ids=["none", "empty", "1x1", "5 channels", "int64", "nan", "inf", "0..255 as float", "too tall"],
)
def test_what_is_no_frame(model: EdgeDepth, frame: object) -> None:
    with pytest.raises(FrameError) as caught:
        model.infer(frame)
    assert caught.value.remedy


def test_results_are_the_callers_own(model: EdgeDepth) -> None:
    first = model.infer(FRAME)
    kept = first.depth.copy(), first.inverse_depth.copy()
    model.infer(255 - FRAME)
    assert np.array_equal(first.depth, kept[0])
    assert np.array_equal(first.inverse_depth, kept[1])


def test_one_stage_at_a_time_gives_the_same(mini_bundle: Path, model: EdgeDepth) -> None:
    with EdgeDepth(mini_bundle, resident="one", self_test="never") as frugal:
        assert np.array_equal(frugal.infer(FRAME).depth, model.infer(FRAME).depth)
        assert len(frugal._pool.opened) == 1
        (stage,) = frugal._pool.opened
        session = frugal._pool.session(stage)
        assert isinstance(session, OrtSession)
        assert not session._session.get_session_options().enable_cpu_mem_arena  # it takes more than it saves here


@pytest.fixture(scope="module")
def trained(exported: Callable[..., Path]) -> EdgeDepth:
    """On the published weights, whose other bundles the documentation's pages need too."""
    return EdgeDepth(exported("--model", "depth-pro-mini"), self_test="never")


def test_a_dynamic_batch_takes_any_number_of_tiles(exported: Callable[..., Path], trained: EdgeDepth) -> None:
    bundle = exported("--model", "depth-pro-mini", "--dynamic-batch")
    expected = trained.infer(FRAME).depth
    for tile_batch in (None, 1, 12, 35):
        with EdgeDepth(bundle, tile_batch=tile_batch, self_test="never") as dynamic:
            # Another batch size is another order of sums in the matrix products.
            assert np.allclose(dynamic.infer(FRAME).depth, expected, rtol=FP32_REL)


def test_the_proof_of_a_first_use_leaves_no_fov_stage_behind(mini_bundle: Path) -> None:
    with EdgeDepth(mini_bundle) as model:
        model.infer(FRAME, focal_px=80.0)
        assert "fov" not in model._pool.opened


@pytest.mark.parametrize("words", [("--fp16",), ("--layout", "single")], ids=["fp16", "single"])
def test_other_bundles_serve_and_verify(
    exported: Callable[..., Path], trained: EdgeDepth, words: tuple[str, ...]
) -> None:
    bundle = open_bundle(exported("--model", "depth-pro-mini", *words))
    with EdgeDepth(bundle.path, self_test="always") as other:
        error = compare_depth(other.infer(FRAME).depth, trained.infer(FRAME).depth)
    assert error.abs_rel <= tolerance_for(bundle.manifest.precision).abs_rel
    report = verify_bundle(bundle, [FRAME, FRAME[::-1], 255 - FRAME])
    assert report.passed, report.failures
    assert set(report.stages) == {stage.name for stage in bundle.manifest.model.stages}


def test_the_reference_runs_a_checkpoint_of_ones_own(mini: LoadedModel, model: EdgeDepth, tmp_path: Path) -> None:
    save_checkpoint(mini.module, tmp_path / "mine.safetensors")
    weights = tmp_path / "mine.safetensors"
    with EdgeDepth("depth-pro-mini", backend="torch", weights=weights) as reference:
        result = reference.infer(FRAME)
    assert compare_depth(result.depth, model.infer(FRAME).depth).abs_rel <= FP32_REL
    with pytest.raises(OptionError, match="a bundle holds its weights"):
        EdgeDepth("depth-pro-mini", backend="onnx", weights=weights)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threads": 0}, "threads is 0"),
        ({"threads": "4"}, "threads is '4'"),
        ({"device": None}, "device is None"),
        ({"color": "gbr"}, "color is 'gbr'"),
        ({"self_test": "sometimes"}, "self_test is 'sometimes'"),
        ({"resident": "two"}, "resident is 'two'"),
        ({"tile_batch": 0}, "tile_batch is 0"),
        ({"tile_batch": 36}, "tile_batch is 36"),
        ({"backend": "torch"}, "is a bundle; the torch backend runs the reference"),
        ({"device": "abacus"}, "abacus"),
    ],
)
def test_options_that_cannot_be_met(mini_bundle: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        EdgeDepth(mini_bundle, **options)  # type: ignore[arg-type]


def test_the_reference_holds_the_whole_model() -> None:
    with pytest.raises(OptionError, match="frees nothing on the torch backend"):
        EdgeDepth("depth-pro-mini", backend="torch", resident="one")


def test_a_gpu_that_is_not_there_is_not_swapped(mini_bundle: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(DeviceError, match="'cuda' was asked for"):
        EdgeDepth(mini_bundle, device="cuda")


def test_trt_without_a_bundle_names_the_export_command() -> None:
    with pytest.raises(BundleNotFoundError) as caught:
        EdgeDepth(backend="trt")
    assert caught.value.remedy == "edgedepth export --model depth-pro --target tensorrt --fp16"


def test_after_close_nothing_runs(mini_bundle: Path) -> None:
    model = EdgeDepth(mini_bundle, self_test="never")
    model.close()
    model.close()
    with pytest.raises(StageError):
        model.infer(FRAME)


def test_the_self_test_runs_once_a_device_and_again_for_another_bundle(
    mini_bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def runs(path: Path, **options: str) -> int:
        caplog.clear()
        with caplog.at_level(logging.INFO, "edgedepth"):
            EdgeDepth(path, **options).close()  # type: ignore[arg-type]
        return caplog.text.count("running its golden frame")

    assert [runs(mini_bundle), runs(mini_bundle)] == [1, 0]
    assert runs(mini_bundle, self_test="always") == 1
    copy = bundle_folder("depth-pro-mini", "onnx", "fp32")
    shutil.copytree(mini_bundle, copy)
    assert runs(copy) == 0  # the same bytes elsewhere are the same bundle


def test_the_public_names_are_these() -> None:
    for name in edgedepth.__all__:
        assert getattr(edgedepth, name) is not None
    assert dir(edgedepth) == sorted(edgedepth.__all__)
    with pytest.raises(AttributeError, match="no attribute 'verify_everything'"):
        edgedepth.verify_everything  # noqa: B018


def test_importing_edgedepth_imports_nothing_heavy() -> None:
    code = "import sys, edgedepth; print(sorted({'torch', 'onnxruntime', 'PIL', 'rich', 'cv2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
