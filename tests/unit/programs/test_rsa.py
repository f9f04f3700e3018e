"""The program of RSA and of relative models, over fake sessions: the published formula, the cache, what is refused."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedepth.core.errors import FrameError, OptionError, UnsupportedError, UnusableOutputError
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec, PreprocessSpec, RelativeSpec, StageSpec
from edgedepth.models.clip_text_config import ClipTextConfig, text_encoder_stage
from edgedepth.models.relative_config import relative_stage
from edgedepth.models.rsa_head_config import HeadConfig, scale_shift_stage
from edgedepth.programs.fake_session import Compute, FakeSession
from edgedepth.programs.guidance import Guidance, guidance_of
from edgedepth.programs.rsa import PROOF_CAPTION, ProofProgram, RsaProgram, metric_depth
from edgedepth.programs.stages import StagePool

pytest.importorskip("tokenizers", reason="captions need the captions extra: tokenizers")
pytest.importorskip("ftfy", reason="captions need the captions extra: ftfy")

LIMITS = RelativeSpec(typical=10.0, min_depth_m=1e-3, max_depth_m=80.0)
PREPROCESS = PreprocessSpec(size=24, width=32, resize="bicubic")
TEXT = ClipTextConfig(width=8, heads=1, layers=1, projection=16)
SPEC = ModelSpec(
    name="rsa-fake",
    family="rsa",
    kind="metric",
    stages=(
        relative_stage(PREPROCESS),
        text_encoder_stage(TEXT),
        scale_shift_stage(HeadConfig(text=16, scene=(4,), own=(1,))),
    ),
    preprocess=PREPROCESS,
    tiling=None,
    parameters=1,
    licence="Apache-2.0",
    source="fake",
    weights_sha256="0" * 64,
    trained=True,
    relative=LIMITS,
)
RELATIVE = replace(SPEC, name="relative-fake", family="relative", kind="relative_inverse", stages=SPEC.stages[:1])


def compute(stage: StageSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Relative depth 2 to 30 by the picture; scale and shift by the sum of the caption's ids."""
    if stage.name == "relative_depth":
        return {"relative_inverse_depth": np.float32(16) + 7 * feeds["image"].mean(axis=1, keepdims=True)}
    if stage.name == "text_encoder":
        return {"text_features": np.full((1, 16), feeds["tokens"].sum() % 997, np.float32)}
    mean = feeds["text_features"].mean()
    return {
        "scale": np.full((1, 1), 0.01 + mean / 1e4, np.float32),
        "shift": np.full((1, 1), 0.1 + mean / 1e3, np.float32),
    }


class Opened:
    """A program and its fake sessions."""

    def __init__(self, spec: ModelSpec = SPEC, faults: Mapping[str, Compute] | None = None) -> None:
        self.sessions: dict[str, FakeSession] = {}
        self.faults = faults or {}
        self.spec = spec
        self.program = RsaProgram(spec, StagePool(self._open))

    def _open(self, stage: str) -> FakeSession:
        self.sessions[stage] = FakeSession(self.spec.stage(stage), self.faults.get(stage, compute))
        return self.sessions[stage]

    def runs(self, stage: str) -> int:
        return self.sessions[stage].runs if stage in self.sessions else 0


FRAME = np.random.default_rng(0).random((48, 64, 3), np.float32)


def captions(*texts: str) -> Guidance:
    return guidance_of(caption=list(texts))


def test_metres_are_the_published_formula_of_the_raw_relative_depth() -> None:
    opened = Opened()
    relative = opened.program.predict(FRAME, guidance=guidance_of(kind="relative_inverse"))
    metric = opened.program.predict(FRAME, guidance=captions("a room"))
    scale, shift = opened.program.read_caption("a room")
    assert relative.kind == "relative_inverse"
    assert relative.scale_shift is None
    assert metric.kind == "metric"
    expected = 1 / (np.float64(scale) * relative.inverse_depth + shift)
    np.testing.assert_allclose(metric.depth, expected, rtol=1e-6)
    np.testing.assert_allclose(metric.inverse_depth, 1 / expected, rtol=1e-6)
    np.testing.assert_allclose(relative.depth, 1 / relative.inverse_depth, rtol=1e-6)
    assert metric.depth.shape == FRAME.shape[:2]


def test_a_caption_is_read_once_and_a_frame_costs_the_network_alone() -> None:
    opened = Opened()
    for _ in range(3):
        opened.program.predict(FRAME, guidance=captions("a room"))
    assert (opened.runs("relative_depth"), opened.runs("text_encoder"), opened.runs("scale_shift")) == (3, 1, 1)
    opened.program.predict(FRAME, guidance=captions("a room", "a street"))
    assert opened.runs("text_encoder") == 2


def test_a_pinned_scale_opens_no_text_stage() -> None:
    opened = Opened()
    prediction = opened.program.predict(FRAME, guidance=guidance_of(scale_shift=(0.02, 0.3)))
    assert opened.runs("text_encoder") == 0
    assert "text_encoder" not in opened.sessions
    assert prediction.scale_shift is not None
    assert prediction.scale_shift.source == "given"
    assert (prediction.scale_shift.scale, prediction.scale_shift.shift) == (0.02, 0.3)


@given(st.lists(st.sampled_from(["a", "b c", "two chairs", "street", "a lamp"]), min_size=1, max_size=5))
@settings(deadline=None, max_examples=25)
def test_several_captions_give_their_median_and_their_spread(texts: list[str]) -> None:
    program = Opened().program
    each = np.array([program.read_caption(text) for text in texts])
    told = program.predict(FRAME, guidance=captions(*texts)).scale_shift
    assert told is not None
    assert [told.scale, told.shift] == np.median(each, axis=0).tolist()
    assert told.scale_range == (each[:, 0].min(), each[:, 0].max())
    assert told.shift_range == (each[:, 1].min(), each[:, 1].max())
    assert told.captions == tuple(texts)


def test_depths_outside_of_the_limits_are_clamped_as_published_and_counted() -> None:
    relative = np.array([[1.0, 10.0, 0.001, 0.0]], np.float32)
    # 1 / (r - 0.5): 2 m, 0.105 m, and two negative ones, which the published code makes the smallest depth
    inverse, depth, clamped = metric_depth(relative, 1.0, -0.5, LIMITS)
    np.testing.assert_allclose(depth, [[2.0, 1 / 9.5, 1e-3, 1e-3]], rtol=1e-6)
    np.testing.assert_allclose(inverse, relative - 0.5)
    assert clamped == 2
    _, depth, clamped = metric_depth(relative, 1.0, 0.0, LIMITS)  # 0 is infinitely far
    np.testing.assert_allclose(depth, [[1.0, 0.1, 80.0, 80.0]], rtol=1e-6)
    assert clamped == 2
    _, depth, clamped = metric_depth(relative, 1.0, 1.0, LIMITS)
    assert clamped == 0


def test_the_count_of_clamped_pixels_is_in_the_result() -> None:
    told = Opened().program.predict(FRAME, guidance=guidance_of(scale_shift=(0.01, -5.0))).scale_shift
    assert told is not None
    assert told.clamped == FRAME.shape[0] * FRAME.shape[1]


def test_without_words_there_is_no_scale() -> None:
    with pytest.raises(OptionError, match="takes its scale from words") as caught:
        Opened().program.predict(FRAME)
    assert "caption=" in caught.value.remedy
    assert "relative_inverse" in caught.value.remedy


def test_a_relative_model_gives_relative_depth_or_metres_of_a_given_scale() -> None:
    program = Opened(RELATIVE).program
    assert program.predict(FRAME).kind == "relative_inverse"
    assert program.predict(FRAME, guidance=guidance_of(scale_shift=(0.1, 0.1))).kind == "metric"
    with pytest.raises(OptionError, match="reads no captions"):
        program.predict(FRAME, guidance=captions("a room"))


def test_the_focal_length_is_the_callers_or_unknown() -> None:
    program = Opened().program
    unknown = program.predict(FRAME, guidance=captions("a room"))
    given = program.predict(FRAME, guidance=captions("a room"), focal_px=64.0)
    assert np.isnan(unknown.focal_px)
    assert unknown.focal_source == "unknown"
    assert (given.focal_px, given.focal_source) == (64.0, "given")
    np.testing.assert_array_equal(unknown.depth, given.depth)


def test_proofs_run_from_a_frame_alone() -> None:
    opened = Opened()
    proof = ProofProgram(opened.program).predict(FRAME)
    assert proof.scale_shift is not None
    assert proof.scale_shift.captions == (PROOF_CAPTION,)
    relative = ProofProgram(Opened(RELATIVE).program).predict(FRAME)
    assert relative.scale_shift is not None
    assert (relative.scale_shift.scale, relative.scale_shift.shift) == (0.1, 1.0)


def raw(values: Array) -> Compute:
    def fault(stage: StageSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"relative_inverse_depth": np.broadcast_to(values, (1, 1, 24, 32)).astype(np.float32)}

    return fault


RAMP = np.linspace(0, 1, 32, dtype=np.float32)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (np.where(RAMP > 0.9, np.nan, 5 * RAMP), "are NaN or infinite"),
        (np.where(RAMP > 0.9, np.inf, 5 * RAMP), "are NaN or infinite"),
        (-RAMP, "nothing is above 0"),
        (0 * RAMP, "nothing is above 0"),
        (RAMP, "it was normalised"),
        (255 * RAMP, "it was normalised"),
        (65535 * RAMP, "it was normalised"),
    ],
)
def test_relative_depth_that_no_head_was_fitted_to_is_refused(output: Array, told: str) -> None:
    program = Opened(faults={"relative_depth": raw(output)}).program
    for guidance in (captions("a room"), guidance_of(kind="relative_inverse")):
        with pytest.raises(UnusableOutputError, match=told):
            program.predict(FRAME, guidance=guidance)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_head_that_gives_no_scale_is_told(value: float) -> None:
    def fault(stage: StageSpec, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {"scale": np.full((1, 1), value, np.float32), "shift": np.ones((1, 1), np.float32)}

    with pytest.raises(UnusableOutputError, match="gives scale"):
        Opened(faults={"scale_shift": fault}).program.predict(FRAME, guidance=captions("a room"))


def test_frames_and_specs_that_are_none() -> None:
    with pytest.raises(FrameError, match="uint8"):
        Opened().program.predict((255 * FRAME).astype(np.uint8), guidance=captions("a"))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedError, match="says nothing"):
        Opened(replace(SPEC, relative=None))


def test_only_so_many_captions_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgedepth.programs.rsa._CACHED", 2)
    opened = Opened()
    for caption in ("a", "b", "a", "c", "a", "b"):
        opened.program.read_caption(caption)
    assert opened.runs("text_encoder") == 4  # a, b, c, and b again: the least recently used went
