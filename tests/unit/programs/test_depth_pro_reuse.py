"""Depth Pro's program over frames that barely change: the same bits where nothing is overlooked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from edgedepth.core.errors import OptionError, UnsupportedError
from edgedepth.core.spec import ModelSpec
from edgedepth.programs.depth_pro import DepthProProgram
from edgedepth.programs.fake_session import FakeSession, fake_compute, with_tile_batch
from edgedepth.programs.reuse import ReusePolicy
from edgedepth.programs.single_graph import SingleGraphProgram
from edgedepth.programs.stages import StagePool

EXACT = ReusePolicy()
SIDE = 512


class Fakes:
    """Fake stages whose sessions can be looked at."""

    def __init__(self, spec: ModelSpec, *, fixed: int | None = None, **faults) -> None:
        self.spec, self.fixed, self.faults = spec, fixed, faults
        self.sessions: dict[str, FakeSession] = {}

    def __call__(self, name: str, /) -> FakeSession:
        stage = self.spec.stage(name)
        if self.fixed and name == "patch_encoder":
            stage = with_tile_batch(stage, self.fixed)
        self.sessions[name] = FakeSession(stage, self.faults.get(name))
        return self.sessions[name]

    def runs(self, name: str) -> int:
        return self.sessions[name].runs if name in self.sessions else 0


def frame(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).random((SIDE, SIDE, 3), dtype=np.float32)


def program(spec: ModelSpec, tile_batch: int = 5, *, fixed: bool = True, **faults) -> tuple[DepthProProgram, Fakes]:
    fakes = Fakes(spec, fixed=tile_batch if fixed else None, **faults)
    return DepthProProgram(spec, StagePool(fakes), tile_batch=tile_batch), fakes


def assert_same(got, want) -> None:
    assert_array_equal(got.depth, want.depth)
    assert_array_equal(got.canonical_inverse_depth, want.canonical_inverse_depth)
    assert got.fov_deg == want.fov_deg


boxes = st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 200), st.floats(0, 1))


@given(
    st.lists(st.lists(boxes, max_size=2), min_size=1, max_size=4),
    st.sampled_from([(1, False), (5, True), (5, False), (7, True), (35, True)]),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_exact_reuse_has_the_bits_of_fresh_runs(staged, movers, batch, known):
    """Any boxes that change on a frame, focal lengths that come and go, any micro-batch."""
    tile_batch, fixed = batch
    reusing, _ = program(staged, tile_batch, fixed=fixed)
    fresh, _ = program(staged, tile_batch, fixed=fixed)
    picture = frame()
    for step, given_focal in zip([[], *movers], [False, *known], strict=False):
        picture = picture.copy()
        for top, left, side, value in step:
            picture[top : top + side, left : left + side] = value
        focal_px = 600.0 if given_focal else None
        got, want = reusing.predict(picture, focal_px=focal_px, reuse=EXACT), fresh.predict(picture, focal_px=focal_px)
        assert_same(got, want)


def test_what_is_computed_of_a_frame(staged):
    reusing, fakes = program(staged)
    picture = frame()
    first = reusing.predict(picture, reuse=EXACT).encoded
    assert (first.tiles, first.of) == (35, 35)
    assert first.stages == ("patch_encoder", "image_encoder", "decoder", "fov")
    runs = fakes.runs("patch_encoder")
    same = reusing.predict(picture, reuse=EXACT)
    assert (same.encoded.tiles, same.encoded.stages) == (0, ())
    # The upper left corner: tile 0 of level 0, tile 0 of level 1, and the thumbnail.
    corner = picture.copy()
    corner[:8, :8] = 0
    moved = reusing.predict(corner, reuse=EXACT).encoded
    assert (moved.tiles, moved.stages) == (3, ("patch_encoder", "image_encoder", "decoder", "fov"))
    assert fakes.runs("patch_encoder") == runs + 1  # one micro-batch of five rows
    assert fakes.runs("decoder") == 2
    fresh = reusing.predict(corner).encoded
    assert (fresh.tiles, len(fresh.stages)) == (35, 4)
    # A fresh run in between leaves nothing that could be trusted.
    assert reusing.predict(corner, reuse=EXACT).encoded.tiles == 35


def test_a_result_outlives_a_frame_that_was_kept_whole(staged):
    reusing, _ = program(staged)
    picture = frame()
    first = reusing.predict(picture, reuse=EXACT)
    first.canonical_inverse_depth[:] = 0
    second = reusing.predict(picture, reuse=EXACT)
    second.canonical_inverse_depth[:] = 0
    assert reusing.predict(picture, reuse=EXACT).canonical_inverse_depth.min() > 0


def test_what_is_overlooked_stays_small_and_is_refreshed(staged):
    """Noise of 0.01: overlooked by a threshold of 0.02, and each tile made new within 40 frames all the same."""
    reusing, _ = program(staged)
    fresh, _ = program(staged)
    rng = np.random.default_rng(5)
    picture = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    encoded = []
    for _ in range(12):
        noisy = np.clip(picture + rng.normal(0, 0.01, picture.shape), 0, 1).astype(np.float32)
        got = reusing.predict(noisy, reuse=ReusePolicy(threshold=0.02, refresh=5))
        encoded.append(got.encoded.tiles)
        want = fresh.predict(noisy)
        # A patch's mean may be off by the threshold, times two for the input's range, times the decoder's weights.
        assert np.abs(got.depth - want.depth).max() < 0.02
    assert encoded == [35] + [5] * 11


def test_a_run_that_fails_halfway_leaves_nothing_to_reuse(staged):
    left = [1]

    def failing(stage, feeds):
        if not left[0]:
            raise RuntimeError("the device is gone")
        return fake_compute(stage, feeds)

    reusing, _ = program(staged, decoder=failing)
    fresh, _ = program(staged)
    picture, later = frame(1), frame(2)
    reusing.predict(picture, reuse=EXACT)
    left[0] = 0
    with pytest.raises(RuntimeError, match="gone"):
        reusing.predict(later, reuse=EXACT)
    left[0] = 1
    assert_same(reusing.predict(picture, reuse=EXACT), fresh.predict(picture))


def test_a_tile_of_nan_is_told_and_the_next_frame_is_right(staged):
    from edgedepth.core.errors import UnusableOutputError

    reusing, _ = program(staged)
    picture = frame()
    reusing.predict(picture, reuse=ReusePolicy(threshold=0.5))
    broken = picture.copy()
    broken[:10, :10] = np.nan
    with pytest.raises(UnusableOutputError):
        reusing.predict(broken, reuse=ReusePolicy(threshold=0.5), focal_px=500)
    after = reusing.predict(picture, reuse=ReusePolicy(threshold=0.5), focal_px=500)
    assert np.isfinite(after.depth).all()


def test_a_backend_whose_features_depend_on_the_row_is_refused(staged):
    def by_row(stage, feeds):
        rows = 1 + np.arange(len(feeds["tiles"]), dtype=np.float32)[:, None, None, None] * np.float32(1e-6)
        return {name: features * rows for name, features in fake_compute(stage, feeds).items()}

    reusing, _ = program(staged, patch_encoder=by_row)
    with pytest.raises(UnsupportedError, match="place in its micro-batch") as caught:
        reusing.predict(frame(), reuse=EXACT)
    assert "reuse=0.001" in caught.value.remedy
    assert reusing.predict(frame(), reuse=ReusePolicy(threshold=0.001)).encoded.tiles == 35


def test_where_nothing_can_be_kept(staged, single):
    fakes = Fakes(staged, fixed=5)
    frugal = DepthProProgram(staged, StagePool(fakes, resident="one"), tile_batch=5)
    with pytest.raises(OptionError, match="resident='one'"):
        frugal.predict(frame(), reuse=EXACT)
    whole = SingleGraphProgram(single, StagePool(Fakes(single)))
    with pytest.raises(OptionError, match="one graph"):
        whole.predict(frame(), reuse=EXACT)
    odd, _ = program(staged, 4, fixed=False)
    with pytest.raises(OptionError, match="divides 35"):
        odd.predict(frame(), reuse=EXACT)


def test_a_planted_fault_shows(staged, monkeypatch):
    """A memory that takes every tile for equal would keep old depth: the comparison with fresh runs must notice."""
    from edgedepth.programs.reuse import TileChange
    from edgedepth.programs.tile_memory import TileMemory

    reusing, _ = program(staged)
    reusing.predict(frame(1), reuse=EXACT)
    monkeypatch.setattr(TileMemory, "_change", lambda *_: TileChange(equal=True, change=0.0))
    fresh, _ = program(staged)
    assert not np.array_equal(reusing.predict(frame(2), reuse=EXACT).depth, fresh.predict(frame(2)).depth)
