"""ZoeDepth from a frame to metres against transformers' own pipeline: tiny networks with one head and with two."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers.models.zoedepth import image_processing_pil_zoedepth as theirs
from transformers.pipelines import pipeline

from edgedepth import EdgeDepth, export_bundle, verify_bundle
from edgedepth.cli import main
from edgedepth.core.errors import (
    OptionError,
    UnsupportedError,
    UnusableOutputError,
    WeightsError,
    WeightsMismatchError,
)
from edgedepth.core.spec import Precision, PreprocessSpec
from edgedepth.exporters.base import ExportOptions
from edgedepth.models.loading import load_model
from edgedepth.models.registry import MODELS
from edgedepth.models.relative_random import probe_picture, random_zoedepth
from edgedepth.models.zoedepth import ZoeDepth
from edgedepth.models.zoedepth_config import ZOEDEPTH_NYU, InputRule
from edgedepth.models.zoedepth_loading import read_input_rule
from edgedepth.models.zoedepth_stages import ZoeDepthStage
from edgedepth.programs.canonical import prepare
from edgedepth.programs.direct import DirectProgram
from edgedepth.programs.fake_session import FakeSession
from edgedepth.programs.frames import as_rgb
from edgedepth.programs.stages import StagePool

from .conftest import Frame
from .miniatures import ZOEDEPTHS

RULE = InputRule(height=64, width=96)


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Any:
    """transformers' image processor. It takes one function of torchvision, which is one of torch's by another name."""

    def resize(depth: torch.Tensor, size: list[int], interpolation: str, antialias: bool) -> torch.Tensor:
        assert (interpolation, antialias) == ("bicubic", False)
        return F.interpolate(depth[None], size, mode="bicubic", align_corners=False)[0]

    mode = types.SimpleNamespace(BICUBIC="bicubic")
    monkeypatch.setattr(theirs, "tvF", types.SimpleNamespace(resize=resize, InterpolationMode=mode), raising=False)
    return theirs.ZoeDepthImageProcessorPil(
        size={"height": RULE.height, "width": RULE.width}, ensure_multiple_of=RULE.multiple, keep_aspect_ratio=True
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Checkpoints in Hugging Face's layout."""
    root = tmp_path_factory.mktemp("zoedepth")

    def folder(name: str) -> Path:
        if not (root / name).exists():
            random_zoedepth(ZOEDEPTHS[name].network, 3).save_pretrained(root / name)  # type: ignore[operator]
        return root / name

    return folder


def frame_of(height: int, width: int) -> Frame:
    noise = np.random.default_rng(height).random((height, width, 3)).astype(np.float32)
    soft = F.avg_pool2d(torch.from_numpy(noise).permute(2, 0, 1), 9, 1, 4).permute(1, 2, 0).numpy()
    return ((soft - soft.min()) / (soft.max() - soft.min()) * 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(72, 96), (60, 200), (200, 60), (97, 131)])
def test_preprocessing_is_transformers(size: tuple[int, int], processor: Any) -> None:
    frame = frame_of(*size)
    expected = processor(images=Image.fromarray(frame), return_tensors="np")["pixel_values"][0]
    preprocess = RULE.preprocess(size)
    assert preprocess.shape == expected.shape[1:]
    np.testing.assert_allclose(prepare(as_rgb(frame, "rgb"), preprocess), expected, atol=2e-6)


def test_the_published_input_of_usual_frames() -> None:
    """By hand from the paper's rule: mirrored by int(3 sqrt(side / 2)), scaled as little as possible to 384 x 512."""
    sizes = {(480, 640): (384, 512), (375, 1242): (384, 1152), (1080, 1920): (384, 672)}
    assert {frame: ZOEDEPTH_NYU.rule.preprocess(frame).shape for frame in sizes} == sizes
    assert ZOEDEPTH_NYU.rule.preprocess().border(480, 640) == (46, 53)
    assert PreprocessSpec(size=8).border(480, 640) == (0, 0)


@pytest.mark.parametrize("name", [pytest.param("zoedepth-n-tiny", marks=pytest.mark.slow), *tuple(ZOEDEPTHS)[1:]])
def test_metres_are_those_of_transformers_pipeline(
    name: str, folders: Callable[[str], Path], processor: Any, tmp_path: Path
) -> None:
    """From a picture to metres at its size, by an exported bundle; the checkpoint is loaded by its path."""
    folder, frame = folders(name), frame_of(72, 96)
    network = load_model(name, folder).module
    assert isinstance(network, ZoeDepth)
    estimate = pipeline("depth-estimation", model=network.network, image_processor=processor, device="cpu")
    expected = estimate(Image.fromarray(frame))["predicted_depth"].numpy()
    assert expected.shape == (72, 96)
    assert expected.std() / expected.mean() > 0.01  # there is something to compare
    bundle = export_bundle(name, "onnx", weights=folder, options=_of_frames(96, 72), out=tmp_path / "bundle")
    with EdgeDepth(bundle.path, color="rgb") as model:
        result = model.infer(frame)
    assert result.kind == "metric"
    np.testing.assert_allclose(result.depth, expected, rtol=2e-5)
    np.testing.assert_allclose(result.inverse_depth, 1 / expected, rtol=2e-5)
    report = verify_bundle(bundle, [frame, frame[:, ::-1].copy()], weights=str(folder))
    assert report.passed, report.failures
    assert set(report.stages) == {"metric_depth"}


def _of_frames(width: int, height: int) -> ExportOptions:
    return ExportOptions(frame_size=(width, height))


@pytest.mark.parametrize(
    ("name", "target", "precision"),
    [
        ("zoedepth-k-tiny", "openvino", "fp32"),
        pytest.param("zoedepth-nk-tiny", "openvino", "fp32", marks=pytest.mark.slow),
        pytest.param("zoedepth-nk-tiny", "onnx", "fp16", marks=pytest.mark.slow),
    ],
)
def test_bundles_are_the_references(
    name: str, target: str, precision: Precision, pictures: list[Frame], tmp_path: Path
) -> None:
    """At the default size of input."""
    options = ExportOptions(precision=precision)
    bundle = export_bundle(name, target, options=options, weights="random:0", out=tmp_path / "bundle")
    report = verify_bundle(bundle, pictures)
    assert report.passed, report.failures


@pytest.mark.parametrize("second", [False, True])
def test_the_classifier_chooses_the_head(second: bool) -> None:
    config = ZOEDEPTHS["zoedepth-nk-tiny"]
    shape = config.rule.preprocess().shape
    reference = ZoeDepth(random_zoedepth(config.network, 0))
    head: Any = reference.network.metric_head
    with torch.inference_mode():
        head.mlp_classifier.linear2.bias.copy_(torch.tensor([-9.0, 9.0] if second else [9.0, -9.0]))
        picture = probe_picture(shape)
        expected = reference(picture)
        (staged,) = ZoeDepthStage(reference, shape)(picture)
        head.mlp_classifier.linear2.bias.neg_()
        other = reference(picture)
    torch.testing.assert_close(staged, expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(other, expected, rtol=1e-2)  # the heads differ


def test_the_stage_changes_nothing_of_the_reference() -> None:
    config = ZOEDEPTHS["zoedepth-n-tiny"]
    network: Any = random_zoedepth(config.network, 0)
    kinds = [type(module) for module in network.modules()]
    implementation = network.backbone.config._attn_implementation
    ZoeDepthStage(ZoeDepth(network), (64, 96))
    assert [type(module) for module in network.modules()] == kinds
    assert network.backbone.config._attn_implementation == implementation


class TestTold:
    """What a user is told."""

    def test_no_caption_and_no_reuse(self, pictures: list[Frame]) -> None:
        with EdgeDepth("zoedepth-n-tiny", backend="torch", weights="random:0") as model:
            for wrong in ({"caption": "a room"}, {"scale_shift": (1.0, 1.0)}, {"detections": [("chair", 1)]}):
                with pytest.raises(OptionError, match="gives metres by itself"):
                    model.infer(pictures[0], **wrong)  # type: ignore[arg-type]
            with pytest.raises(OptionError, match="no tiles to reuse"):
                model.infer(pictures[0], reuse=0.0)
            with pytest.raises(OptionError, match="reads no captions"):
                model.read_caption("a room")

    def test_points_with_a_focal_length(self, pictures: list[Frame]) -> None:
        with EdgeDepth("zoedepth-n-tiny", backend="torch", weights="random:0") as model:
            assert model.infer(pictures[0], focal_px=90).points().shape == (72, 96, 3)
            with pytest.raises(OptionError, match="none was given"):
                model.infer(pictures[0]).points()

    def test_of_a_frame_that_is_squashed_once(self, caplog: pytest.LogCaptureFixture) -> None:
        with EdgeDepth("zoedepth-n-tiny", backend="torch", weights="random:0") as model:
            for frame in (frame_of(64, 96), frame_of(60, 200), frame_of(60, 200)):
                model.infer(frame)
        told = [record.getMessage() for record in caplog.records if "squashed" in record.getMessage()]
        assert len(told) == 1
        assert "200 x 60" in told[0]
        assert "--frame-size 200x60" in told[0]

    def test_of_depth_that_is_none(self) -> None:
        spec = load_model("zoedepth-n-tiny", "random:0").spec
        rgb = as_rgb(frame_of(72, 96), "rgb")
        for value, match in ((np.nan, "NaN or infinite"), (0.0, "nothing is above 0")):
            session = FakeSession(
                spec.stages[0],
                lambda _, feeds, value=value: {
                    "depth_m": np.full((1, 1, *feeds["image"].shape[2:]), value, np.float32)
                },
            )
            with (
                StagePool(lambda _, session=session: session) as pool,
                pytest.raises(UnusableOutputError, match=match),
            ):
                DirectProgram(spec, pool).predict(rgb)

    def test_of_options_that_have_no_effect(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        out = str(tmp_path / "bundle")
        words = ["export", "--model", "zoedepth-n-tiny", "--weights", "random:0", "--out", out]
        for wrong, match in (
            (["--target", "coreml", "--int8"], "known of Depth Pro alone"),
            (["--target", "coreml", "--fp16", "--compute-layout", "ane"], "written for Depth Pro"),
            (["--target", "coreai"], "can't be exported to Core AI"),
            (["--layout", "single"], "no tiles"),
            (["--frame-size", "8x8"], "16 to 8192"),
        ):
            assert main([*words, *wrong]) == 2
            assert match in capsys.readouterr().err
        with pytest.raises(UnsupportedError, match="has one size"):
            export_bundle("depth-pro-mini", "onnx", options=_of_frames(640, 480), out=out)
        assert not (tmp_path / "bundle").exists()

    def test_of_weights(self, folders: Callable[[str], Path], tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="not downloaded by edgedepth: Intel/zoedepth-nyu"):
            load_model("zoedepth-nyu")
        with pytest.raises(WeightsError, match="there is no"):
            load_model("zoedepth-nyu", tmp_path / "nowhere")
        with pytest.raises(WeightsMismatchError, match="is a zoedepth; this model is a depth_anything"):
            load_model("depth-anything-small", str(folders("zoedepth-n-tiny")))
        assert MODELS["zoedepth-nyu-kitti"].kind == "metric"


def test_a_folder_tells_its_own_preprocessing(tmp_path: Path) -> None:
    assert read_input_rule(tmp_path, RULE) is RULE
    file = tmp_path / "preprocessor_config.json"
    facts = {"size": {"height": 128, "width": 160}, "ensure_multiple_of": 32, "do_pad": False, "image_mean": [0, 0, 0]}
    file.write_text(json.dumps(facts))
    rule = read_input_rule(tmp_path, RULE)
    assert (rule.height, rule.width, rule.reflect, rule.mean) == (128, 160, 0.0, (0.0, 0.0, 0.0))
    file.write_text(json.dumps({"ensure_multiple_of": 1 / 32}))  # what later versions of transformers write
    assert read_input_rule(tmp_path, RULE).multiple == 32
    file.write_text(json.dumps({"resample": 3}))
    with pytest.raises(UnsupportedError, match="resample=3"):
        read_input_rule(tmp_path, RULE)
    for broken in ("{", "[]", '{"size": 384}', '{"ensure_multiple_of": 0}', '{"image_mean": [1]}'):
        file.write_text(broken)
        with pytest.raises(WeightsError, match="not the configuration of an image processor"):
            read_input_rule(tmp_path, RULE)
