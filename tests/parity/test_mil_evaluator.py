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
