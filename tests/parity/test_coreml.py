"""Core ML packages of the trained mini, evaluated off-device, against the eager reference's stages and metres."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.session import Array, Session
from edgedepth.core.spec import Precision
from edgedepth.core.tolerances import tolerance_for
from edgedepth.exporters.golden import draw_golden_frame
from edgedepth.models.loading import LoadedModel
from edgedepth.models.module_session import module_stages
from edgedepth.off_device import open_off_device
from edgedepth.programs.frames import as_rgb
from edgedepth.programs.opening import open_program
from edgedepth.programs.prediction import Prediction
from edgedepth.programs.stages import StagePool
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.coreml_session import CoreMlBackend
from edgedepth.verify.depth_errors import compare_depth, compare_tensors
from edgedepth.verify.shadow import ShadowSession, StageScore

BACKEND = CoreMlBackend(open_off_device)

# Largest error of a stage's output over the reference's largest value, on the reference's own inputs, for trained
# weights. fp32: operations in another order, 2e-6 measured; it also tells an exact GELU from its approximation.
# fp16: 11 bits, 1.7e-3 measured. int8: what eight bits a weight cost, 8.1e-3 measured.
LARGEST = {"fp32": 1e-5, "fp16": 5e-3, "int8": 5e-2}
ABS_REL = {"fp32": 1e-5, "fp16": 5e-3, "int8": 1e-2}

# A bundle takes ten to fifteen seconds to convert: two of them cover both layouts and both gates.
CASES = [
    pytest.param(("fp16", "gpu"), id="fp16-gpu"),
    pytest.param(("fp32", "ane"), id="fp32-ane"),
    *(
        pytest.param(case, id="-".join(case), marks=pytest.mark.slow)
        for case in (("fp32", "gpu"), ("int8", "gpu"), ("fp16", "ane"))
    ),
]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> tuple[Precision, str]:
    return request.param


@pytest.fixture(scope="module")
def bundle(case: tuple[Precision, str], mini_coreml: Callable[..., Path]) -> Bundle:
    return open_bundle(mini_coreml(*case))


@pytest.fixture(scope="module")
def frame() -> Array:
    return as_rgb(draw_golden_frame()[::-1, ::-1], "rgb")


@pytest.fixture(scope="module")
def expected(frame: Array, trained_mini: LoadedModel) -> Prediction:
    with StagePool(module_stages(trained_mini)) as pool:
        return open_program(trained_mini.spec, pool, layout="staged", tile_batch=5).predict(frame)


def open_stage(bundle: Bundle) -> Callable[[str], Session]:
    return lambda stage: BACKEND.open(bundle, stage, SessionOptions())


def test_every_stage_on_the_references_own_inputs(
    bundle: Bundle, case: tuple[Precision, str], frame: Array, trained_mini: LoadedModel
) -> None:
    reference, scores = module_stages(trained_mini), {stage.name: StageScore() for stage in trained_mini.spec.stages}

    def shadow(stage: str) -> Session:
        return ShadowSession(reference(stage), BACKEND.open(bundle, stage, SessionOptions()), scores[stage])

    with StagePool(shadow) as pool:
        open_program(bundle.manifest.model, pool, layout="staged", tile_batch=5).predict(frame)
    assert {name: score.failure for name, score in scores.items()} == dict.fromkeys(scores)
    assert max(score.max_rel for score in scores.values()) <= LARGEST[case[0]], scores
    assert scores["patch_encoder"].comparisons == 7 * 3


def test_metres(bundle: Bundle, case: tuple[Precision, str], frame: Array, expected: Prediction) -> None:
    with StagePool(open_stage(bundle)) as pool:
        actual = open_program(bundle.manifest.model, pool, layout="staged", tile_batch=5).predict(frame)
    error, tolerance = compare_depth(actual.depth, expected.depth), tolerance_for(case[0])
    assert error.abs_rel <= ABS_REL[case[0]]
    assert error.max_rel <= tolerance.max_rel
    assert abs(actual.fov_deg - expected.fov_deg) <= tolerance.fov_deg


def test_a_constant_frozen_at_export_shows(bundle: Bundle) -> None:
    session = BACKEND.open(bundle, "image_encoder", SessionOptions())
    shape = [int(size) for size in session.inputs[0].shape]
    drawn = [np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32) for seed in (1, 2)]
    first, second = (session.run({"image": image})["image_features"] for image in drawn)
    assert compare_tensors(first, second).mean_rel > 1e-2


@pytest.mark.slow
def test_weights_of_8_bits_are_smaller_than_of_16(mini_coreml: Callable[..., Path]) -> None:
    sizes = {precision: open_bundle(mini_coreml(precision, "gpu")).size for precision in ("fp32", "fp16", "int8")}
    assert sizes["fp16"] < 0.55 * sizes["fp32"]
    assert sizes["int8"] < 0.6 * sizes["fp16"]
