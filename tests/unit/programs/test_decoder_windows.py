"""Depth that is decoded where the picture changed: near fresh depth, and equal to it once nothing moves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from edgedepth.core.arrays import HOST
from edgedepth.core.errors import UnsupportedError, UnusableOutputError
from edgedepth.core.spec import ModelSpec
from edgedepth.models.depth_pro_config import DEPTH_PRO, decoder_window_stages, depth_pro_stages, depth_pro_tiling
from edgedepth.programs.decoder_windows import DecoderWindows, window_spans
from edgedepth.programs.depth_pro import DepthProProgram
from edgedepth.programs.fake_session import FakeSession, fake_compute, with_tile_batch
from edgedepth.programs.opening import proof_of
from edgedepth.programs.reuse import ReusePolicy
from edgedepth.programs.stages import StagePool

from .conftest import CONFIG, model_spec

SIDE = 512
REUSE = ReusePolicy(threshold=0.01)
ROUNDING = 3e-6  # sums of a handful of float32 terms around 1, in another order


@pytest.fixture(scope="module")
def windowed() -> ModelSpec:
    return model_spec(*depth_pro_stages(CONFIG), *decoder_window_stages(CONFIG))


def program(spec: ModelSpec, **faults) -> DepthProProgram:
    def opened(name: str) -> FakeSession:
        stage = spec.stage(name)
        return FakeSession(with_tile_batch(stage, 5) if name == "patch_encoder" else stage, faults.get(name))

    return DepthProProgram(spec, StagePool(opened), tile_batch=5)


def frame(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((SIDE, SIDE, 3), dtype=np.float32)


def touched(picture: np.ndarray, top: int = 8, left: int = 8, by: float = 0.5) -> np.ndarray:
    later = picture.copy()
    later[top : top + 8, left : left + 8] += np.float32(by)
    return later


def off(got, want) -> float:
    return float(np.abs(got.canonical_inverse_depth - want.canonical_inverse_depth).max())


def test_windows_of_the_published_model() -> None:
    """Tiles leave 21, 18, 18, 18 and 21 of 96 features; a window sees 26."""
    spans = window_spans(depth_pro_tiling(DEPTH_PRO), 26)
    assert [(span.own.start, span.own.stop) for span in spans] == [(0, 21), (21, 39), (39, 57), (57, 75), (75, 96)]
    assert [(span.fed.start, span.fed.stop) for span in spans] == [(0, 26), (17, 43), (35, 61), (53, 79), (70, 96)]
    assert [(span.right.start, span.right.stop) for span in spans] == [(0, 23), (19, 41), (37, 59), (55, 77), (73, 96)]
    middle = spans[2].weights
    assert len(middle) == 16 * 22
    assert_array_equal(middle[32:-32], 1)
    assert_allclose(middle[:32], (np.arange(32) + 0.5) / 32)
    assert_allclose(middle, middle[::-1])
    assert_array_equal(spans[0].weights[: 16 * 21], 1)  # nothing to blend with beyond the picture


@pytest.mark.parametrize("cells", [9, 13, 33])
def test_windows_that_hold_no_margin_are_refused(cells) -> None:
    with pytest.raises(UnsupportedError, match="windows of") as caught:
        window_spans(depth_pro_tiling(CONFIG), cells)
    assert "--decoder-windows" in caught.value.remedy


def test_what_is_decoded(windowed, staged) -> None:
    reusing = program(windowed)
    picture = frame()
    first = reusing.predict(picture, focal_px=500, reuse=REUSE).encoded
    assert first.stages == ("patch_encoder", "image_encoder", "decoder_coarse", "decoder")
    same = reusing.predict(picture, focal_px=500, reuse=REUSE).encoded
    assert (same.tiles, same.windows, same.stages) == (0, 0, ())
    moved = reusing.predict(touched(picture), focal_px=500, reuse=REUSE).encoded
    assert moved.stages == ("patch_encoder", "image_encoder", "decoder_coarse", "decoder_window")
    assert moved.windows == 1  # the fake's coarse features are local: all others are equal
    other = reusing.predict(frame(2), focal_px=500, reuse=REUSE).encoded
    assert (other.tiles, other.windows) == (35, 0)
    assert other.stages[-1] == "decoder"
    # Without windows in the bundle, and where nothing is overlooked, the decoder runs whole.
    for spec, reuse in ((staged, REUSE), (windowed, ReusePolicy())):
        whole = program(spec)
        whole.predict(picture, reuse=reuse)
        assert whole.predict(touched(picture), reuse=reuse).encoded.stages[-2:] == ("decoder", "fov")


boxes = st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 200), st.floats(0, 1))
calm = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@calm
@given(st.lists(st.lists(boxes, max_size=2), min_size=1, max_size=4), st.sampled_from([0.002, 0.01, 0.05]))
def test_any_movers_leave_depth_near_fresh_depth_and_equal_once_they_stand_still(windowed, movers, threshold) -> None:
    policy = ReusePolicy(threshold=threshold, max_age=8)
    reusing, fresh = program(windowed), program(windowed)
    picture = frame()
    for step in ([], *movers):
        picture = picture.copy()
        for top, left, side, value in step:
            picture[top : top + side, left : left + side] = value
        got = reusing.predict(picture, focal_px=500, reuse=policy)
        # Tiles may be off by the threshold of a range of 2, coarse features by four times it of their mean size
        # (below 0.6), and weights sum up to 0.72.
        assert off(got, fresh.predict(picture, focal_px=500)) <= (2 * 0.72 + 4 * 0.6) * threshold + ROUNDING
    # No tile is older than that, and then no window of it.
    for _ in range(2 * policy.max_age + 1):
        got = reusing.predict(picture, focal_px=500, reuse=policy)
    assert got.encoded.stages == ()
    assert off(got, fresh.predict(picture, focal_px=500)) <= ROUNDING


def test_a_window_that_is_never_refreshed_is_caught(windowed, monkeypatch) -> None:
    """A planted fault: the test above is no test if it doesn't notice that one of 25 windows stays old."""
    reusing, fresh = program(windowed), program(windowed)
    picture = frame()
    reusing.predict(picture, focal_px=500, reuse=REUSE)
    plan = DecoderWindows.plan

    def without_one(*arguments):
        windows = plan(*arguments)
        return None if windows is None else tuple(window for window in windows if window != 12)

    monkeypatch.setattr(DecoderWindows, "plan", without_one)
    later = touched(picture, 240, 240, 0.1)
    for _ in range(70):
        got = reusing.predict(later, focal_px=500, reuse=REUSE)
    assert off(got, fresh.predict(later, focal_px=500)) > 100 * ROUNDING


def test_an_exact_frame_stands_on_nothing_that_was_overlooked(windowed) -> None:
    reusing, fresh = program(windowed), program(windowed)
    picture = frame()
    later = touched(picture)
    reusing.predict(picture, reuse=REUSE)
    reusing.predict(later, reuse=REUSE)
    for _ in range(2):
        got, want = reusing.predict(later, reuse=ReusePolicy()), fresh.predict(later)
        assert_array_equal(got.depth, want.depth)
        assert got.fov_deg == want.fov_deg
    assert got.encoded.stages == ()


def test_a_run_that_fails_halfway_leaves_nothing_to_go_on_with(windowed) -> None:
    broken = [False]

    def failing(stage, feeds):
        if broken[0]:
            raise RuntimeError("the device is gone")
        return fake_compute(stage, feeds)

    for stage in ("decoder_window", "decoder_coarse"):
        reusing, fresh = program(windowed, **{stage: failing}), program(windowed)
        picture = frame()
        later = touched(picture)
        reusing.predict(picture, reuse=REUSE)
        broken[0] = True
        with pytest.raises(RuntimeError, match="gone"):
            reusing.predict(later, reuse=REUSE)
        broken[0] = False
        assert_array_equal(reusing.predict(later, reuse=REUSE).depth, fresh.predict(later).depth)


def test_coarse_features_of_nan_are_a_change(windowed) -> None:
    """NaN compares false with every limit: it must not count as small."""
    frames = iter([1.0, np.nan])

    def breaking(stage, feeds):
        factor = np.float32(next(frames))
        return {name: array * factor for name, array in fake_compute(stage, feeds).items()}

    reusing = program(windowed, decoder_coarse=breaking)
    picture = frame()
    reusing.predict(picture, focal_px=500, reuse=REUSE)
    assert reusing.predict(touched(picture), focal_px=500, reuse=REUSE).encoded.stages[-1] == "decoder"


def test_a_window_of_nan_is_told_and_the_next_frame_is_right(windowed) -> None:
    """NaN would spread: what is blended with NaN is NaN."""
    factors = iter([np.nan] + [1.0] * 50)

    def breaking(stage, feeds):
        factor = np.float32(next(factors))
        return {name: array * factor for name, array in fake_compute(stage, feeds).items()}

    reusing, fresh = program(windowed, decoder_window=breaking), program(windowed)
    picture = frame()
    later = touched(picture)
    reusing.predict(picture, focal_px=500, reuse=REUSE)
    with pytest.raises(UnusableOutputError):
        reusing.predict(later, focal_px=500, reuse=REUSE)
    assert off(reusing.predict(picture, focal_px=500, reuse=REUSE), fresh.predict(picture, focal_px=500)) <= ROUNDING


def test_a_result_is_the_callers_own(windowed) -> None:
    reusing = program(windowed)
    picture = frame()
    for shown in (picture, touched(picture), touched(picture)):
        result = reusing.predict(shown, focal_px=500, reuse=REUSE)
        assert result.canonical_inverse_depth.min() > 0
        result.canonical_inverse_depth[:] = 0


def test_no_seam_between_what_is_new_and_what_was_kept(windowed) -> None:
    """A window of ones in a picture of zeros: one within its tile's features, none beyond its reach, and no step."""
    spec = windowed.tiling
    windows = DecoderWindows(windowed, spec)
    maps = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in windowed.stage("decoder").inputs}
    outputs = {
        stage.name: {tensor.name: np.ones(tensor.shape, np.float32) for tensor in stage.outputs}
        for stage in decoder_window_stages(CONFIG)
    }
    windows.see(maps, np.empty((1, 8, 16, 16), np.float32), lambda stage, feeds, out: outputs[stage])
    canonical = np.zeros((1, 1, SIDE, SIDE), np.float32)
    windows.decode([6], canonical, maps, lambda stage, feeds, out: outputs[stage], HOST)
    got = canonical[0, 0]
    assert (got[112:208, 112:208] == 1).all()  # the second tile's features, 7 to 13 of 32
    assert max(np.abs(np.diff(got, axis=axis)).max() for axis in (0, 1)) <= 1 / 32 + 1e-6
    got[80:240, 80:240] = 0  # two features more on each side
    assert not got.any()


def test_a_proof_has_a_part_for_every_stage(windowed, staged) -> None:
    picture = frame()
    right = program(windowed).predict(picture)
    proof = proof_of(program(windowed)).predict(picture)
    assert 0 < off(proof, right) + 1e-12
    assert_allclose(proof.depth, right.depth, rtol=1e-5)
    for stage in ("decoder", "decoder_coarse", "decoder_window"):

        def wrong(declared, feeds):
            return {name: array * np.float32(1.1) for name, array in fake_compute(declared, feeds).items()}

        assert off(proof_of(program(windowed, **{stage: wrong})).predict(picture), right) > 1e-3
    plain = program(staged)
    assert proof_of(plain) is plain


def test_windows_in_a_pool_that_keeps_one_stage(windowed) -> None:
    opened: list[str] = []

    def open_stage(name: str) -> FakeSession:
        opened.append(name)
        stage = windowed.stage(name)
        return FakeSession(with_tile_batch(stage, 5) if name == "patch_encoder" else stage)

    frugal = DepthProProgram(windowed, StagePool(open_stage, resident="one"), tile_batch=5)
    assert_allclose(frugal.prove(frame()).depth, program(windowed).predict(frame()).depth, rtol=1e-5)
    assert opened == ["patch_encoder", "image_encoder", "decoder", "decoder_coarse", "decoder_window", "fov"]
