"""A second witness: Apple's Core AI runtime, which executes on Linux, against the reference and the evaluator.

Core AI (coreai-core 1.0.0b3, coreai-torch 0.4.3, betas) has wheels for CPython 3.11 on x86-64 Linux with glibc 2.34. It
has its own converter and its own format, .aimodel: what it proves is that the stages are what Apple's toolchain makes
of them, and nothing of an .mlpackage. The evaluator proves that one, on the same inputs.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.loading import load_model

if TYPE_CHECKING:
    from edgedepth.core.spec import StageSpec
    from edgedepth.models.loading import LoadedModel

STAGES = ("patch_encoder", "image_encoder", "decoder", "fov")
GATE = 1e-4  # float32 in another order; 1e-6 was measured on the trained mini
Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(scope="module")
def coreai() -> Iterator[Any]:
    """coreai_torch, which warns of versions of torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reason = (
            "Apple's Core AI is not installed: pip install coreai-torch==0.4.3 (CPython 3.11, Linux with glibc 2.34)"
        )
        pytest.importorskip("coreai.runtime", reason=reason)
        yield pytest.importorskip("coreai_torch", reason=reason)


def feeds_for(stage: StageSpec) -> Arrays:
    rng = np.random.default_rng(7)
    shapes = {spec.name: [1 if isinstance(size, str) else size for size in spec.shape] for spec in stage.inputs}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write_aimodel(coreai: Any, module: torch.nn.Module, stage: StageSpec, feeds: Arrays, path: Path) -> None:
    tensors = tuple(torch.from_numpy(array) for array in feeds.values())
    exported = torch.export.export(module.eval(), tensors).run_decompositions(coreai.get_decomp_table())
    outputs = [spec.name for spec in stage.outputs]
    converter = coreai.TorchConverter()
    program = converter.add_exported_program(exported, input_names=list(feeds), output_names=outputs).to_coreai()
    program.save_asset(path)


async def execute(path: Path, feeds: Arrays) -> Arrays:
    from coreai.authoring import AIModelAsset
    from coreai.runtime import NDArray

    async with AIModelAsset.load(path).executable() as model:
        function = model.load_function("main")
        outputs = await function({name: NDArray(array) for name, array in feeds.items()})
        return {name: np.array(output.numpy()) for name, output in outputs.items()}


def assert_witnessed(coreai: Any, model: LoadedModel, name: str, path: Path) -> None:
    stage = next(stage for stage in model.spec.stages if stage.name == name)
    module, feeds = stage_modules(model.module)[name].eval(), feeds_for(stage)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        reference = module(*(torch.from_numpy(array) for array in feeds.values()))
        write_aimodel(coreai, module, stage, feeds, path)
        got = asyncio.run(execute(path, feeds))
    assert sorted(got) == sorted(spec.name for spec in stage.outputs)
    for spec, expected in zip(stage.outputs, reference, strict=True):
        array = expected.numpy()
        assert np.abs(got[spec.name] - array).max() <= GATE * np.abs(array).max(), spec.name


@pytest.mark.parametrize("name", STAGES)
def test_stages(coreai: Any, tiny: LoadedModel, tmp_path: Path, name: str) -> None:
    assert_witnessed(coreai, tiny, name, tmp_path / "stage.aimodel")


@pytest.mark.slow  # a minute and more: the conversion
@pytest.mark.parametrize("name", STAGES)
def test_the_trained_mini(coreai: Any, tmp_path: Path, name: str) -> None:
    assert_witnessed(coreai, load_model("depth-pro-mini"), name, tmp_path / "stage.aimodel")
