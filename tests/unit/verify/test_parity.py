"""Parity on fake sessions: what is right passes, and every planted fault is caught and named."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pytest

from edgedepth.core.errors import OptionError
from edgedepth.core.session import Array, Session
from edgedepth.core.spec import ModelSpec, StageSpec
from edgedepth.core.tolerances import Tolerance
from edgedepth.models.depth_pro_config import (
    DEPTH_PRO_MINI,
    depth_pro_preprocess,
    depth_pro_stages,
    depth_pro_tiling,
)
from edgedepth.programs.depth_pro import DepthProProgram
from edgedepth.programs.fake_session import FakeSession, fake_compute
from edgedepth.programs.stages import StagePool
from edgedepth.verify.agreement import PictureParity
from edgedepth.verify.depth_errors import TensorError
from edgedepth.verify.parity import ParityReport, judge, verify_parity
from edgedepth.verify.pictures import FramePicture
from edgedepth.verify.shadow import StageScore

TOLERANCE = Tolerance(
    abs_rel=1e-4, max_rel=1e-3, fov_deg=1e-2, stage_max_rel=1e-4, stage_mean_rel=1e-4, reason="of the test"
)
STAGES = ("patch_encoder", "image_encoder", "decoder", "fov")
CONFIG = replace(DEPTH_PRO_MINI, width=6, decoder_width=8)
SPEC = ModelSpec(
    name="small",
    family="depth-pro",
    kind="metric",
    stages=depth_pro_stages(CONFIG),
    preprocess=depth_pro_preprocess(CONFIG),
    tiling=depth_pro_tiling(CONFIG),
    parameters=1,
    licence="none",
    source="none",
    weights_sha256="0" * 64,
    trained=False,
)
Compute = Callable[[StageSpec, Mapping[str, Array]], Mapping[str, Array]]


def frames(count: int = 2) -> list[Array]:
    return [np.random.default_rng(seed).random((40, 60, 3), dtype=np.float32) for seed in range(count)]


def sources(*frames: Array) -> list[FramePicture]:
    return [FramePicture(f"picture {number}", frame, "rgb") for number, frame in enumerate(frames, 1)]


def program(open_stage: Callable[[str], Session]) -> DepthProProgram:
    return DepthProProgram(SPEC, StagePool(open_stage), tile_batch=5)


def fake(stage: str) -> Session:
    return FakeSession(SPEC.stage(stage))


def verify(faults: Mapping[str, Compute], count: int = 2) -> ParityReport:
    def candidate(stage: str) -> Session:
        return FakeSession(SPEC.stage(stage), faults.get(stage))

    return verify_parity(
        sources(*frames(count)),
        reference=program(fake),
        candidate=program(candidate),
        open_program=program,
        open_reference_stage=fake,
        open_candidate_stage=candidate,
        stage_names=STAGES,
        tolerance=TOLERANCE,
    )


def changed(change: Callable[[Array], Array], output: str) -> Compute:
    def compute(stage: StageSpec, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        outputs = dict(fake_compute(stage, feeds))
        outputs[output] = change(outputs[output]).astype(np.float32)
        return outputs

    return compute


def with_one_value(value: float) -> Callable[[Array], Array]:
    def change(array: Array) -> Array:
        array = array.copy()
        array.flat[0] = value  # a corner of the first tile, which no padding drops
        return array

    return change


def test_equal_sessions_pass_with_zero_error() -> None:
    report = verify({})
    assert report.passed
    told = report.to_dict()
    json.dumps(told, allow_nan=False)
    assert (told["images"], told["where"], told["failures"]) == (2, "verified on the device", [])
    same = {"abs_rel": 0.0, "delta1": 1.0, "max_rel": 0.0, "fov_deg": 0.0, "depth_scale": 1.0, "inverse_shift": 0.0}
    assert {name: told["end_to_end"][name] for name in same} == pytest.approx(same, abs=1e-12)
    assert told["end_to_end"]["worst_pixel"]["picture"] == "picture 1"
    assert set(told["stages"]) == set(STAGES)
    for stage in told["stages"].values():
        errors = {name: stage[name] for name in ("max_rel", "mean_rel", "p50_rel", "p99_rel", "nan", "inf")}
        assert set(errors.values()) == {0}
        assert stage["cosine"] == pytest.approx(1)
    assert told["tolerance"]["abs_rel"] == 1e-4
    assert told["tolerance"]["reason"] == "of the test"
    assert [picture["name"] for picture in told["pictures"]] == ["picture 1", "picture 2"]


@pytest.mark.parametrize(
    ("stage", "output"),
    [
        ("patch_encoder", "latent0"),
        ("patch_encoder", "latent1"),
        ("patch_encoder", "features"),
        ("image_encoder", "image_features"),
        ("decoder", "canonical_inverse_depth"),
        ("decoder", "lowres_features"),
        ("fov", "fov_deg"),
    ],
)
@pytest.mark.parametrize(
    "change", [lambda a: a * 1.01, lambda a: a + 0.01, np.zeros_like], ids=["scaled", "shifted", "zeroed"]
)
def test_a_wrong_output_is_caught_in_its_own_stage(stage: str, output: str, change: Callable[[Array], Array]) -> None:
    report = verify({stage: changed(change, output)})
    assert not report.passed
    short = [failure for failure in report.failures if failure.startswith("stage ")]
    assert {failure.split()[1] for failure in short} == {stage}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("stage", ["patch_encoder", "decoder"])
def test_one_value_that_is_not_finite_fails_and_is_null_in_json(stage: str, value: float) -> None:
    output = {"patch_encoder": "features", "decoder": "canonical_inverse_depth"}[stage]
    report = verify({stage: changed(with_one_value(value), output)})
    assert not report.passed
    assert report.to_dict()["stages"][stage]["max_rel"] is None
    assert any(failure.startswith("picture 1: ") for failure in report.failures)


def test_an_output_that_is_missing_fails() -> None:
    def compute(stage: StageSpec, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        outputs = dict(fake_compute(stage, feeds))
        del outputs["latent1"]
        return outputs

    report = verify({"patch_encoder": compute})
    assert any("stage patch_encoder" in failure and "latent1" in failure for failure in report.failures)


def test_an_output_of_another_name_is_not_taken_for_the_missing_one() -> None:
    def compute(stage: StageSpec, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        outputs = dict(fake_compute(stage, feeds))
        return {**{k: v for k, v in outputs.items() if k != "latent1"}, "latent1_": outputs["latent1"]}

    assert not verify({"patch_encoder": compute}).passed


def test_an_output_frozen_at_the_first_frame_is_caught_on_the_second() -> None:
    frozen: dict[str, Array] = {}

    def compute(stage: StageSpec, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        return {name: frozen.setdefault(name, array) for name, array in fake_compute(stage, feeds).items()}

    assert not verify({"image_encoder": compute}).passed


def test_the_worst_picture_decides_not_the_mean() -> None:
    calls = []

    def compute(stage: StageSpec, feeds: Mapping[str, Array]) -> Mapping[str, Array]:
        calls.append(stage)
        factor = 1.01 if len(calls) == 19 else 1.0  # one call of twenty, in the last picture
        return {name: array * np.float32(factor) for name, array in fake_compute(stage, feeds).items()}

    assert not verify({"image_encoder": compute}, count=10).passed


def test_the_same_picture_twice_is_one() -> None:
    frame = frames(1)[0]
    with pytest.raises(OptionError, match="got 1 different pictures"):
        verify_parity(
            sources(frame, frame.copy()),
            reference=program(fake),
            candidate=program(fake),
            open_program=program,
            open_reference_stage=fake,
            open_candidate_stage=fake,
            stage_names=STAGES,
            tolerance=TOLERANCE,
        )


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_pictures_are_refused(count: int) -> None:
    with pytest.raises(OptionError, match=f"got {count} different pictures; parity needs 2"):
        verify({}, count)


PERFECT = PictureParity(name="a", abs_rel=0.0, delta1=1.0, max_rel=0.0)


NOWHERE = PictureParity(name="b", abs_rel=np.nan, delta1=np.nan, max_rel=np.nan)
NO_FOV = replace(PERFECT, fov_deg=np.nan)


def scored(*max_rels: float, mean_rel: float = 0.0) -> StageScore:
    score = StageScore()
    for max_rel in max_rels or (0.0,):
        score.add(TensorError(max_rel=max_rel, mean_rel=mean_rel))
    return score


@pytest.mark.parametrize(
    ("scores", "errors", "said"),
    [
        ({}, [PERFECT], "stages: nothing was compared"),
        ({"decoder": StageScore()}, [PERFECT], "stage decoder: nothing was compared"),
        ({"decoder": scored()}, [], "end to end: nothing was compared"),
        ({"decoder": scored(np.nan)}, [PERFECT], "stage decoder max_rel is nan"),
        ({"decoder": scored()}, [NO_FOV], "end to end fov_deg is nan"),
        ({"decoder": scored()}, [PERFECT, NO_FOV], "end to end fov_deg is nan"),
        ({"decoder": scored()}, [PERFECT, NOWHERE], "end to end abs_rel is nan"),
        ({"decoder": scored(0.0, np.nan)}, [PERFECT], "stage decoder max_rel is nan"),
        ({"decoder": scored()}, [PERFECT, replace(PERFECT, lost_structure=0.21)], "other shapes, as misplaced tiles"),
        ({"decoder": scored()}, [replace(PERFECT, lost_structure=np.inf)], "end to end lost_structure is inf"),
        ({"decoder": scored(mean_rel=1.1e-4)}, [PERFECT], "stage decoder mean_rel is 0.00011"),
        ({"decoder": scored(1.1e-4)}, [PERFECT], "stage decoder max_rel is 0.00011"),
    ],
)
def test_what_is_empty_or_short_fails(scores: dict[str, StageScore], errors: list[PictureParity], said: str) -> None:
    report = judge(scores, errors, tolerance=TOLERANCE)
    assert not report.passed
    assert any(said in failure for failure in report.failures)


def test_just_inside_the_tolerance_passes() -> None:
    error = replace(PERFECT, abs_rel=1e-4, max_rel=1e-3, fov_deg=1e-2)
    assert judge({"decoder": scored(1e-4)}, [error], tolerance=TOLERANCE).passed
    whole = judge({"decoder": scored()}, [error, replace(error, lost_structure=0.2)], tolerance=TOLERANCE)
    assert whole.passed  # of a picture without shapes, and of another
    assert whole.end_to_end is not None
    assert whole.end_to_end.lost_structure == 0.2


@dataclass(frozen=True)
class Fixed:
    """Predicts one depth everywhere."""

    metres: float

    def predict(self, rgb: Array, /) -> Fixed:
        return self

    @property
    def depth(self) -> Array:
        return np.full((4, 4), self.metres, np.float32)

    @property
    def fov_deg(self) -> float:
        return 60.0


@pytest.mark.parametrize(("rounded", "passes"), [(2.0, True), (2.1, False)])
def test_what_rounding_costs_is_held_against_its_own_tolerance(rounded: float, passes: bool) -> None:
    report = verify_parity(
        sources(*frames()),
        reference=Fixed(2.0),
        candidate=Fixed(rounded),  # does what the rounded reference does: no fault of the bundle
        rounded=Fixed(rounded),
        open_program=program,
        open_reference_stage=None,
        open_candidate_stage=fake,
        stage_names=(),
        tolerance=TOLERANCE,
    )
    assert report.passed == passes
    assert report.end_to_end is not None
    assert report.end_to_end.abs_rel == 0
    assert report.rounding is not None
    assert report.rounding.abs_rel == pytest.approx(rounded / 2 - 1)
    assert all(failure.startswith("rounding to 8 bits") for failure in report.failures)
    assert report.to_dict()["rounding"]["abs_rel"] == report.rounding.abs_rel
