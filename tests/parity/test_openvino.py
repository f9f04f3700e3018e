"""OpenVINO artefacts against the eager reference's stages and metres, on inputs that no tracer has seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino
import pytest

from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.session import Array, Session
from edgedepth.core.spec import Precision
from edgedepth.core.tolerances import tolerance_for
from edgedepth.exporters.golden import draw_golden_frame
from edgedepth.models.loading import LoadedModel
from edgedepth.models.module_session import module_stages
from edgedepth.programs.frames import as_rgb
from edgedepth.programs.opening import open_program
from edgedepth.programs.prediction import Prediction
from edgedepth.programs.stages import StagePool
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.openvino_session import OpenVinoBackend
from edgedepth.verify.depth_errors import compare_depth, compare_tensors

CPU = SessionOptions(device="cpu")
STAGES = ("patch_encoder", "image_encoder", "decoder", "fov")
BF16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture(
    scope="module",
    params=[
        "fp32",
        "fp16",
        pytest.param("bf16", marks=pytest.mark.skipif(not BF16, reason="OpenVINO has no bf16 on this processor")),
    ],
)
def precision(request: pytest.FixtureRequest) -> Precision:
    return request.param


@pytest.fixture(scope="module")
def bundle(precision: Precision, mini_openvino: Callable[[Precision], Path]) -> Bundle:
    return open_bundle(mini_openvino(precision))


@pytest.fixture(scope="module")
def reference(mini: LoadedModel) -> Callable[[str], Session]:
    return module_stages(mini)


def feeds_for(session: Session, seed: int) -> dict[str, Array]:
    """Smooth and noisy at once, as pictures and features are; another seed is another picture."""
    generator = np.random.default_rng(seed)
    feeds = {}
    for spec in session.inputs:
        shape = [int(size) for size in spec.shape]
        wave = np.sin(np.linspace(0, 2 + seed, shape[-2]))[:, None] * np.cos(np.linspace(0, 3, shape[-1]) + seed)
        feeds[spec.name] = (0.5 * wave + 0.3 * generator.standard_normal(shape)).astype(np.float32)
    return feeds


@pytest.mark.parametrize("stage", STAGES)
def test_stage(stage: str, bundle: Bundle, precision: Precision, reference: Callable[[str], Session]) -> None:
    """Two inputs, and different answers to them: a constant frozen at trace time passes on one."""
    actual, expected = OpenVinoBackend().open(bundle, stage, CPU), reference(stage)
    tolerance = tolerance_for(precision)
    results = []
    for seed in (1, 2):
        feeds = feeds_for(actual, seed)
        got, wanted = actual.run(feeds), expected.run(feeds)
        assert list(got) == [spec.name for spec in expected.outputs]
        for name in wanted:
            error = compare_tensors(got[name], wanted[name])
            assert error.max_rel <= tolerance.stage_max_rel, (name, error)
            assert error.mean_rel <= tolerance.stage_mean_rel, (name, error)
        results.append(got)
    assert all(not np.allclose(results[0][name], results[1][name], rtol=1e-3) for name in results[0])


@pytest.fixture(scope="module")
def frame() -> Array:
    return as_rgb(draw_golden_frame()[::-1, ::-1], "rgb")


@pytest.fixture(scope="module")
def expected(frame: Array, mini: LoadedModel, reference: Callable[[str], Session]) -> Prediction:
    with StagePool(reference) as pool:
        return open_program(mini.spec, pool, layout="staged", tile_batch=5).predict(frame)


def test_metres(bundle: Bundle, precision: Precision, frame: Array, expected: Prediction) -> None:
    tolerance = tolerance_for(precision)
    with StagePool(lambda stage: OpenVinoBackend().open(bundle, stage, CPU)) as pool:
        actual = open_program(bundle.manifest.model, pool, layout="staged", tile_batch=5).predict(frame)
    error = compare_depth(actual.depth, expected.depth)
    assert error.abs_rel <= tolerance.abs_rel
    assert error.max_rel <= tolerance.max_rel
    assert abs(actual.fov_deg - expected.fov_deg) <= tolerance.fov_deg


class Executed:
    """The kernels that OpenVINO made of a stage: kind, and what they compute in."""

    def __init__(self, bundle: Bundle, stage: str) -> None:
        compiled = OpenVinoBackend().open(bundle, stage, CPU)._compiled
        facts = [
            {name: value.astype(str) for name, value in op.get_rt_info().items()}
            for op in compiled.get_runtime_model().get_ordered_ops()
        ]
        self.kinds = Counter(fact["layerType"] for fact in facts)
        self.primitives = [fact["primitiveType"] for fact in facts if fact["layerType"] == "Convolution"]


def test_attention_is_fused(bundle: Bundle, mini: LoadedModel) -> None:
    """Neither its products nor its softmax are kernels of their own, and weights are transposed at export."""
    kinds = Executed(bundle, "image_encoder").kinds
    depth = mini.entry.config.depth
    assert "Softmax" not in kinds
    assert "MatMul" not in kinds
    assert kinds["FullyConnected"] == 4 * depth
    assert kinds["Transpose"] <= 2 * depth  # one a block at f32; with 24 weights turned at load it would be 5


@pytest.mark.skipif(not BF16, reason="OpenVINO has no bf16 on this processor")
def test_the_first_and_the_last_convolution_stay_fp32_at_bf16(mini_openvino: Callable[[Precision], Path]) -> None:
    """A field of view in bf16 moves in steps of a quarter of a degree."""
    primitives = Executed(open_bundle(mini_openvino("bf16")), "fov").primitives
    computed_in = [name.rpartition("_")[2] for name in primitives]
    assert computed_in[-1] == "f32"
    assert Counter(computed_in) == {"bf16": 3, "f32": 2}  # and the patch embedding, which sees the picture
