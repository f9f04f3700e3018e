"""Which tiles are encoded: what holds for every sequence of frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgedepth.core.errors import OptionError
from edgedepth.programs.reuse import ReusePolicy, TileChange, plan_tiles, reuse_policy
from edgedepth.programs.tile_memory import TileMemory

COUNT = 35
SAME, LITTLE, MUCH = TileChange(True, 0.0), TileChange(False, 0.004), TileChange(False, 0.5)
changes = st.one_of(
    st.just(SAME), st.builds(TileChange, st.just(False), st.one_of(st.floats(0, 1), st.just(float("nan"))))
)
frames = st.lists(st.lists(changes, min_size=COUNT, max_size=COUNT), min_size=1, max_size=8)
policies = st.builds(
    ReusePolicy,
    threshold=st.sampled_from([0.0, 0.01, 0.3]),
    hysteresis=st.floats(0, 1),
    max_age=st.integers(1, 5),
    refresh=st.floats(0, 40),
)
batches = st.sampled_from([1, 4, 5, 35])
# Lists of 35 are slow to draw where the machine is busy; fewer of them are as good.
calm = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def run(sequence, policy, tile_batch):
    """The plans of a sequence, the first frame's left out."""
    history = plan_tiles(sequence[0], None, policy, tile_batch).history
    for now in sequence:
        plan = plan_tiles(now, history, policy, tile_batch)
        yield now, history, plan
        history = plan.history


@calm
@given(frames, policies, batches)
def test_what_changed_is_encoded_and_what_is_equal_is_not(sequence, policy, tile_batch):
    for now, before, plan in run(sequence, policy, tile_batch):
        assert list(plan.tiles) == sorted(set(plan.tiles))
        for index, change in enumerate(now):
            limit = policy.threshold * (policy.hysteresis if before.moving[index] else 1)
            if change.equal:
                assert index not in plan.tiles
            elif policy.exact or not change.change <= limit:  # NaN included
                assert index in plan.tiles


@calm
@given(frames, policies, batches)
def test_no_difference_lives_longer_than_max_age(sequence, policy, tile_batch):
    for now, _, plan in run(sequence * 3, policy, tile_batch):
        for index, change in enumerate(now):
            if index in plan.tiles or change.equal:
                assert plan.history.ages[index] == 0
            else:
                assert plan.history.ages[index] < policy.max_age


@calm
@given(frames, policies, batches)
def test_refreshes_use_up_whole_micro_batches_and_no_more_than_is_owed(sequence, policy, tile_batch):
    paid = 0
    for number, (now, before, plan) in enumerate(run(sequence, policy, tile_batch), start=1):
        must = [
            i
            for i, change in enumerate(now)
            if not change.equal and (plan.history.moving[i] or before.ages[i] + 1 >= policy.max_age)
        ]
        refreshed = len(plan.tiles) - len(must)
        free = -len(must) % tile_batch
        # Beyond the rows that ran empty, only whole micro-batches, and on average no more than `refresh` a frame.
        beyond = max(0, refreshed - free)
        paid += beyond
        assert beyond <= number * policy.refresh
        if policy.refresh == 0:
            assert refreshed == 0


@calm
@given(st.sampled_from([1, 5]), st.integers(0, 100))
def test_noise_alone_has_every_tile_encoded_in_turn(tile_batch, seed):
    noise = [[TileChange(False, c) for c in row] for row in np.random.default_rng(seed).uniform(0, 0.009, (45, COUNT))]
    policy = ReusePolicy(threshold=0.01, max_age=1000, refresh=1)
    seen: list[int] = []
    for _, _, plan in run(noise, policy, tile_batch):
        seen += plan.tiles
    assert sorted(seen[:COUNT]) == list(range(COUNT))  # round robin: nobody twice before all were once


def test_hysteresis_keeps_a_mover_awake():
    policy = ReusePolicy(threshold=0.01, hysteresis=0.3, refresh=0)
    quiet = [SAME] * (COUNT - 1)
    steps = [MUCH, LITTLE, LITTLE, TileChange(False, 0.002), LITTLE]
    encoded = [0 in plan.tiles for *_, plan in run([[step, *quiet] for step in steps], policy, 5)]
    assert encoded == [True, True, True, False, False]


def test_the_first_frame_is_encoded_whole():
    assert plan_tiles([SAME] * COUNT, None, ReusePolicy(), 5).tiles == tuple(range(COUNT))


@pytest.mark.parametrize(
    "options",
    [{"threshold": -0.1}, {"threshold": 1.5}, {"threshold": float("nan")}, {"threshold": "0.01"}, {"threshold": True},
     {"hysteresis": 2}, {"max_age": 0}, {"refresh": -1}],
)  # fmt: skip
def test_policies_that_cannot_be_meant(options):
    with pytest.raises(OptionError, match="reuse"):
        ReusePolicy(**options)


def test_a_number_is_a_threshold():
    assert reuse_policy(0.02) == ReusePolicy(threshold=0.02)
    assert reuse_policy(0).exact
    assert reuse_policy(ReusePolicy(max_age=3)).max_age == 3


@pytest.mark.parametrize("place", [0, 8, 15])
def test_changes_are_those_of_patch_means(place):
    """Against numpy's own block means; a patch of 16 pixels that changes by 0.2 in one channel of a range of 0..1."""
    rng = np.random.default_rng(3)
    tiles = rng.random((2, 3, 64, 64)).astype(np.float32)
    memory = TileMemory(2, 64, 16, (0.5, 0.25, 0.5))
    assert not any(change.equal for change in memory.changes(list(tiles), exact=False))  # nothing is known yet
    for index in range(2):
        memory.keep(index, tiles[index])
    memory.history = plan_tiles([SAME] * 2, None, ReusePolicy(), 1).history
    later = tiles.copy()
    rows, columns = slice(place // 4 * 16, place // 4 * 16 + 16), slice(place % 4 * 16, place % 4 * 16 + 16)
    later[1, 1, rows, columns] += np.float32(0.8)
    first, second = memory.changes(list(later), exact=False)
    assert first == SAME
    means = (later[1] - tiles[1]).reshape(3, 4, 16, 4, 16).mean((2, 4)) * np.array([0.5, 0.25, 0.5])[:, None, None]
    assert not second.equal
    assert second.change == pytest.approx(np.abs(means).max(), rel=1e-5)
    assert second.change == pytest.approx(0.2, rel=1e-5)


def test_bits_are_compared_and_nan_is_a_change():
    tile = np.zeros((3, 16, 16), np.float32)
    memory = TileMemory(1, 16, 16, (0.5,) * 3)
    memory.keep(0, tile)
    memory.history = plan_tiles([SAME], None, ReusePolicy(), 1).history
    assert memory.changes([-tile], exact=True) == [TileChange(False, pytest.approx(float("nan"), nan_ok=True))]
    tile[0, 3, 3] = np.nan
    (change,) = memory.changes([tile], exact=False)
    assert plan_tiles([change], memory.history, ReusePolicy(threshold=1.0), 1).tiles == (0,)
    memory.keep(0, tile)
    assert memory.changes([tile], exact=False) == [SAME]  # the same NaN, whose features would be the same
