"""Depth Pro's stages as Core ML packages: what the evaluator computes, against the eager reference."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.loading import load_model
from edgedepth.verify.mil import MilProgram, load_package

if TYPE_CHECKING:
    from edgedepth.core.spec import StageSpec
    from edgedepth.models.loading import LoadedModel

# coremltools leaves its temporary folders to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")

TILES = 5
STAGES = ("patch_encoder", "image_encoder", "decoder", "fov")
# fp32: the sums' order; 1.1e-6 was measured on the mini. fp16: 11 bits through up to 12 blocks; 1.7e-3 was measured.
GATES = {False: 1e-5, True: 5e-3}
Feeds = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def ct() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("coremltools", reason="coremltools (the extra coreml) makes the packages")


def feeds_for(stage: StageSpec) -> Feeds:
    rng = np.random.default_rng(7)
    shapes = {spec.name: [TILES if isinstance(size, str) else size for size in spec.shape] for spec in stage.inputs}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def convert(ct: Any, model: LoadedModel, stage: StageSpec, feeds: Feeds, path: Path, *, half: bool) -> MilProgram:
    tensors = tuple(torch.from_numpy(array) for array in feeds.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = stage_modules(model.module)[stage.name].eval()
        package = ct.convert(
            torch.export.export(module, tensors).run_decompositions({}),
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT16 if half else ct.precision.FLOAT32,
            inputs=[ct.TensorType(name=name, shape=array.shape, dtype=np.float32) for name, array in feeds.items()],
            outputs=[ct.TensorType(name=spec.name, dtype=np.float32) for spec in stage.outputs],
            skip_model_load=True,
        )
        package.save(str(path))
    return load_package(path)


def assert_parity(model: LoadedModel, stage: StageSpec, feeds: Feeds, program: MilProgram, gate: float) -> None:
    with torch.no_grad():
        reference = stage_modules(model.module)[stage.name](*(torch.from_numpy(feed) for feed in feeds.values()))
    got = program.run(feeds)
    assert list(got) == [spec.name for spec in stage.outputs]
    for spec, expected in zip(stage.outputs, reference, strict=True):
        array = expected.numpy()
        assert np.abs(array).max() > 1e-3, "an output of next to nothing proves nothing"
        error = np.abs(got[spec.name] - array).max() / np.abs(array).max()
        assert error <= gate, f"{stage.name}: {spec.name}"


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", STAGES)
def test_stages(ct: Any, tiny: LoadedModel, tmp_path: Path, name: str, half: bool) -> None:
    stage = next(stage for stage in tiny.spec.stages if stage.name == name)
    feeds = feeds_for(stage)
    program = convert(ct, tiny, stage, feeds, tmp_path / "stage.mlpackage", half=half)
    assert_parity(tiny, stage, feeds, program, GATES[half])


class Output(torch.nn.Module):
    """A model of transformers that returns one of its outputs."""

    def __init__(self, model: torch.nn.Module, argument: str, output: str) -> None:
        super().__init__()
        self.model, self.argument, self.output = model, argument, output

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return getattr(self.model(**{self.argument: x}), self.output)


def small_models() -> dict[str, tuple[Output, torch.Tensor]]:
    """Depth Anything, DPT and CLIP's text encoder, a few thousand weights each: other ops than Depth Pro's."""
    from transformers import (
        CLIPTextConfig,
        CLIPTextModelWithProjection,
        DepthAnythingConfig,
        DepthAnythingForDepthEstimation,
        Dinov2Config,
        DPTConfig,
        DPTForDepthEstimation,
    )

    size = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4}
    neck = {"neck_hidden_sizes": [8, 16, 24, 32], "fusion_hidden_size": 16}
    backbone = Dinov2Config(
        **size,
        image_size=56,
        patch_size=14,
        out_indices=[1, 2, 3, 4],
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    anything = DepthAnythingConfig(backbone_config=backbone, reassemble_hidden_size=32, head_hidden_size=8, **neck)
    dpt = DPTConfig(
        **size, **neck, intermediate_size=64, image_size=64, patch_size=16, backbone_out_indices=[0, 1, 2, 3]
    )
    text = CLIPTextConfig(
        **{**size, "num_hidden_layers": 2},
        vocab_size=100,
        intermediate_size=64,
        projection_dim=16,
        max_position_embeddings=16,
        bos_token_id=98,
        eos_token_id=99,
    )
    torch.manual_seed(0)
    models = {
        "depth_anything": (
            Output(DepthAnythingForDepthEstimation(anything), "pixel_values", "predicted_depth"),
            torch.randn(1, 3, 56, 56),
        ),
        "dpt": (Output(DPTForDepthEstimation(dpt), "pixel_values", "predicted_depth"), torch.randn(1, 3, 64, 64)),
        "clip_text": (
            Output(CLIPTextModelWithProjection(text), "input_ids", "text_embeds"),
            torch.tensor([[98, 6, 7, 99, 1, 1]], dtype=torch.int32),
        ),
    }
    with torch.no_grad():
        for model, _ in models.values():
            for weights in model.parameters():  # as initialised, outputs are next to nothing
                weights.normal_(0.3 if weights.ndim == 1 else 0.0, 0.1)
    return models


@pytest.mark.slow  # half a minute: transformers, and three conversions
def test_models_of_transformers(ct: Any, tmp_path: Path) -> None:
    for name, (module, x) in small_models().items():
        path = tmp_path / f"{name}.mlpackage"
        dtype = np.int32 if x.dtype == torch.int32 else np.float32
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            expected = module.eval()(x).numpy()
            ct.convert(
                torch.export.export(module, (x,)).run_decompositions({}),
                convert_to="mlprogram",
                minimum_deployment_target=ct.target.iOS17,
                compute_precision=ct.precision.FLOAT32,
                inputs=[ct.TensorType(name="x", shape=x.shape, dtype=dtype)],
                outputs=[ct.TensorType(name="y", dtype=np.float32)],
                skip_model_load=True,
            ).save(str(path))
        got = load_package(path).run({"x": x.numpy()})["y"]
        assert np.abs(expected).max() > 1e-3
        assert np.abs(got - expected).max() <= GATES[False] * np.abs(expected).max(), name


@pytest.mark.slow  # a minute: coremltools takes ten seconds for a stage
def test_the_trained_mini(ct: Any, tmp_path: Path) -> None:
    mini = load_model("depth-pro-mini")
    seconds = 0.0
    for half in (False, True):
        for stage in mini.spec.stages:
            feeds = feeds_for(stage)
            program = convert(ct, mini, stage, feeds, tmp_path / f"{stage.name}-{half}.mlpackage", half=half)
            assert_parity(mini, stage, feeds, program, GATES[half])
            start = time.perf_counter()
            program.run(feeds)
            seconds += (time.perf_counter() - start) / 2
    assert seconds <= 20  # all stages once, on two cores
