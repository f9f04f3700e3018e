"""Boundary figures against hand-computed values and against pixel-by-pixel loops, which share no code with them."""

from __future__ import annotations

import time
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.core.errors import SampleError, UnusableOutputError
from edgedepth.verify.boundaries import boundary_f1, boundary_recall

SEEDS = st.integers(0, 2**31)
THRESHOLDS = [1.05 + 0.2 * i / 9 for i in range(10)]
ALL_WEIGHTS = sum(THRESHOLDS)  # 11.5
STEPS = {"right": (0, 1), "left": (0, -1), "below": (1, 0), "above": (-1, 0)}


def everywhere(depth: np.ndarray) -> np.ndarray:
    return np.ones(depth.shape, np.bool_)


def f1(predicted: np.ndarray, true: np.ndarray) -> float:
    return boundary_f1(predicted, true, everywhere(true))


def square(ratio: float, *, top: int = 3, left: int = 3, side: int = 4) -> np.ndarray:
    """A square object 2 m away before a wall that is `ratio` times as far: a contour in each direction."""
    depth = np.full((10, 10), 2.0 * ratio)
    depth[top : top + side, left : left + side] = 2
    return depth


def blocks(seed: int, shape: tuple[int, int] = (9, 11)) -> np.ndarray:
    """Depths in powers of 1.04: flat stretches, ramps, equal ratios side by side, steps below and above 5 to 25 %."""
    rng = np.random.default_rng(seed)
    exponents = rng.integers(-3, 4, shape).cumsum(axis=1) + rng.integers(-3, 4, (shape[0], 1)).cumsum(axis=0)
    return np.asarray(2 * 1.04**exponents)


# The loops. A contour is a pair (near pixel, direction) whose neighbour in that direction is far.


def contours(depth: np.ndarray, valid: np.ndarray, direction: str, threshold: float) -> set[tuple[int, int]]:
    height, width = depth.shape
    down, right = STEPS[direction]
    found = set()
    for i in range(height):
        for j in range(width):
            k, m = i + down, j + right
            inside = 0 <= k < height and 0 <= m < width
            if inside and valid[i, j] and valid[k, m] and depth[k, m] / depth[i, j] > threshold:
                found.add((i, j))
    return found


def f1_by_loops(predicted: np.ndarray, true: np.ndarray, valid: np.ndarray) -> float:
    total = 0.0
    for threshold in THRESHOLDS:
        precision = recall = 0.0
        for direction in STEPS:
            p = contours(predicted, valid, direction, threshold)
            t = contours(true, valid, direction, threshold)
            precision += len(p & t) / len(p) / 4 if p else 0
            recall += len(p & t) / len(t) / 4 if t else 0
        if precision + recall > 0:
            total += threshold * 2 * precision * recall / (precision + recall)
    return total / ALL_WEIGHTS


def thinned(depth: np.ndarray, direction: str, threshold: float) -> set[tuple[int, int]]:
    """Contours less those that aren't the first steepest of their run along the direction's axis."""
    horizontal = direction in ("right", "left")
    lines = [[(i, j) for j in range(depth.shape[1])] for i in range(depth.shape[0])]
    if not horizontal:
        lines = [list(line) for line in zip(*lines, strict=True)]
    seen = contours(depth, everywhere(depth), direction, threshold)
    down, right = STEPS[direction]
    kept = set()
    for line in lines:
        for is_contour, run in groupby(line, key=seen.__contains__):
            if is_contour:
                kept.add(max(run, key=lambda at: depth[at[0] + down, at[1] + right] / depth[at]))
    return kept


def recall_by_loops(predicted: np.ndarray, mask: np.ndarray) -> float:
    total = 0.0
    # An outline is a contour of a depth map whose foreground is near.
    two_levels = np.where(mask, 1.0, 2.0)
    for threshold in THRESHOLDS:
        for direction in STEPS:
            outline = contours(two_levels, everywhere(mask), direction, 1.5)
            if outline:
                total += threshold * len(thinned(predicted, direction, threshold) & outline) / len(outline) / 4
    return total / ALL_WEIGHTS


class TestF1:
    def test_the_truth_itself(self) -> None:
        assert f1(square(1.5), square(1.5)) == pytest.approx(1)

    def test_weights_by_hand(self) -> None:
        # The truth steps by 10 %, the prediction by 20 %. Below 10 % lie 1.05, 1.0722, 1.0944: both see it, F1 is 1.
        # Above, one of them doesn't: F1 is 0. Weights are proportional to the thresholds, whose sum is 11.5.
        expected = (1.05 + 1.05 + 0.2 / 9 + 1.05 + 0.4 / 9) / 11.5
        assert f1(square(1.2), square(1.1)) == pytest.approx(expected)
        assert expected == pytest.approx(0.27971, abs=1e-5)

    def test_shifted_by_one_pixel(self) -> None:
        # The vertical edges miss; of the horizontal ones three of four pairs agree: (0 + 0 + 3/4 + 3/4) / 4.
        assert f1(square(1.5, left=4), square(1.5)) == pytest.approx(0.375)

    def test_precision_and_recall_by_hand(self) -> None:
        # A second square of the same size somewhere else: precision 1/2, recall 1, F1 2/3; and the other way round.
        one, both = np.full((10, 20), 3.0), np.full((10, 20), 3.0)
        one[3:6, 3:6] = both[3:6, 3:6] = both[3:6, 13:16] = 2
        assert f1(both, one) == pytest.approx(2 / 3)
        assert f1(one, both) == pytest.approx(2 / 3)

    def test_precision_and_recall_are_means_over_directions(self) -> None:
        # True: a 4 x 4 square. Predicted: its left half. Up and down: recall 2/4, precision 1. Left: 1 and 1.
        # Right: 0 and 0. So recall is (0.5 + 0.5 + 1 + 0) / 4 = 0.5 and precision 0.75; F1 = 0.75 / 1.25.
        # (Over all pairs at once, recall would be 8/16 and precision 8/12: F1 4/7.)
        half = square(1.5)
        half[:, 5:] = 3
        assert f1(half, square(1.5)) == pytest.approx(0.6)

    def test_near_and_far_swapped(self) -> None:
        assert f1(1 / square(1.5), square(1.5)) == 0

    def test_a_blurred_edge(self) -> None:
        # 1.5 over two pixels, in one row: steps of 22.5 % instead of one of 50 %. Of directions only one has contours,
        # so a fourth is the most. Up to 22.5 % precision is 1/2 and recall 1, of a fourth: F1 = 2/3 of a fourth.
        true = np.array([[1, 1, 1.5, 1.5]])
        blurred = np.array([[1, 1.5**0.5, 1.5, 1.5]])
        seeing = sum(t for t in THRESHOLDS if t < 1.5**0.5)
        assert f1(blurred, true) == pytest.approx(2 / 3 / 4 * seeing / 11.5)

    def test_a_step_of_exactly_the_threshold_is_none(self) -> None:
        assert f1(square(1.25), square(1.25)) == pytest.approx(1 - 1.25 / 11.5)

    def test_a_picture_without_contours(self) -> None:
        flat = np.full((5, 6), 3.0)
        assert f1(flat, flat) == 0
        assert f1(square(1.5), np.full((10, 10), 3.0)) == 0

    @pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
    def test_pictures_of_one_row_or_column(self, shape: tuple[int, int]) -> None:
        depth = 2.0 ** np.arange(shape[0] * shape[1]).reshape(shape)
        # Contours in one direction of four, or in none.
        assert f1(depth, depth) == pytest.approx(0.25 if depth.size > 1 else 0)

    def test_invalid_pixels_belong_to_no_pair(self) -> None:
        # One pixel of the left edge is invalid, and there the prediction sees what isn't there: nothing is lost.
        true, predicted, valid = square(1.5), square(1.5), everywhere(square(1.5))
        true[4, 3], predicted[4, 3], valid[4, 3] = np.nan, 900, False
        assert boundary_f1(predicted, true, valid) == pytest.approx(1)
        # As sensors leave them: 0, side by side.
        true[8, 8:], predicted[8, 8:], valid[8, 8:] = 0, np.inf, False
        assert boundary_f1(predicted, true, valid) == pytest.approx(1)
        # Where every second pixel is invalid no pair is left.
        checkers = np.indices(true.shape).sum(axis=0) % 2 == 0
        assert boundary_f1(square(1.5), square(1.5), checkers) == 0

    @given(SEEDS, SEEDS)
    def test_as_the_loops_have_it(self, seed: int, other: int) -> None:
        true = blocks(seed)
        # Partly right: some columns are another picture's.
        predicted = np.where(np.random.default_rng(other).random(true.shape[1]) < 0.5, true, blocks(other))
        valid = np.random.default_rng(other).random(true.shape) < 0.8
        # 1e-12: sums in another order; every decision is the same float64 comparison.
        assert boundary_f1(predicted, true, valid) == pytest.approx(f1_by_loops(predicted, true, valid), abs=1e-12)

    @given(SEEDS, st.floats(1e-3, 1e3))
    def test_is_blind_to_scale(self, seed: int, scale: float) -> None:
        # Continuous depths: no ratio lies so near to a threshold that the rounding of scale * depth could move it.
        rng = np.random.default_rng(seed)
        true, predicted = np.exp(rng.normal(0, 0.15, (2, 9, 11)))
        assert f1(scale * predicted, true) == f1(predicted, true)

    @given(SEEDS, SEEDS)
    def test_turning_and_swapping_change_nothing(self, seed: int, other: int) -> None:
        predicted, true = blocks(seed), blocks(other)
        score = f1(predicted, true)
        assert 0 <= score <= 1
        for turned in (f1(predicted.T, true.T), f1(predicted[::-1], true[::-1]), f1(true, predicted)):
            assert turned == pytest.approx(score, abs=1e-12)  # sums in another order

    def test_half_a_thousand_pixels_a_side_in_no_time(self) -> None:
        rng = np.random.default_rng(0)
        predicted, true = np.exp(rng.normal(0, 0.15, (2, 512, 512))).astype(np.float32)
        start = time.process_time()  # its own seconds: the machine may be busy
        f1(predicted, true)
        assert time.process_time() - start < 0.3


class TestRecall:
    def test_an_object_and_its_mask(self) -> None:
        assert boundary_recall(square(1.5), square(1.5) == 2) == pytest.approx(1)

    def test_weights_by_hand(self) -> None:
        # 10 %: seen at the three lowest thresholds, which weigh what they are.
        assert boundary_recall(square(1.1), square(1.1) == 2) == pytest.approx(3.15 / 11.5 + 0.2 / 3 / 11.5)

    def test_a_step_of_exactly_the_threshold_is_none(self) -> None:
        assert boundary_recall(square(1.25), square(1.25) == 2) == pytest.approx(1 - 1.25 / 11.5)

    def test_a_mask_turned_inside_out(self) -> None:
        assert boundary_recall(square(1.5), square(1.5) != 2) == 0

    def test_contours_beside_the_outline_cost_nothing(self) -> None:
        depth = square(1.5)
        depth[8:, 8:] = 1
        assert boundary_recall(depth, square(1.5) == 2) == pytest.approx(1)

    def test_of_a_run_only_the_steepest_counts(self) -> None:
        # Steps of 30, 50 and 30 %, then flat, then 40 %: two runs, kept are the second and the fourth step.
        depth = np.cumprod([[1, 1.3, 1.5, 1.3, 1, 1.4]], axis=1)
        by_outline = {
            edge: boundary_recall(depth, np.arange(6)[None] < edge) * 4  # one direction of four has an outline
            for edge in range(1, 6)
        }
        assert by_outline == pytest.approx({1: 0, 2: 1, 3: 0, 4: 0, 5: 1})

    def test_of_equal_steps_the_first_counts(self) -> None:
        depth = np.array([[1.0, 2, 4]])
        assert boundary_recall(depth, np.array([[True, False, False]])) == pytest.approx(0.25)
        assert boundary_recall(depth, np.array([[True, True, False]])) == 0

    def test_a_run_ends_with_its_row(self) -> None:
        # The last step of the first row and the first of the second: two runs, although side by side in memory.
        depth = np.array([[1, 1, 2.0], [1, 3, 3]])
        mask = np.array([[True, True, False], [True, False, False]])
        # Right: 2 of 2. Below: 1 of 1 (1 over 3). The other two directions have no outline.
        assert boundary_recall(depth, mask) == pytest.approx(0.5)

    def test_a_matte_is_foreground_above_a_tenth(self) -> None:
        depth = square(1.5)
        matte = np.where(depth == 2, 0.11, 0.1)
        assert boundary_recall(depth, matte) == pytest.approx(1)
        assert boundary_recall(depth, (depth == 2).astype(np.uint8)) == pytest.approx(1)

    def test_a_mask_without_outline(self) -> None:
        assert boundary_recall(square(1.5), np.ones((10, 10), np.bool_)) == 0
        assert boundary_recall(np.ones((10, 10)), square(1.5) == 2) == 0

    @given(SEEDS, SEEDS)
    def test_as_the_loops_have_it(self, seed: int, other: int) -> None:
        depth = blocks(seed)
        # The left of a wavy line, so that outlines and runs meet; and noise.
        rng = np.random.default_rng(other)
        mask = (np.arange(11) < rng.integers(2, 9, (9, 1))) ^ (rng.random(depth.shape) < 0.2)
        assert boundary_recall(depth, mask) == pytest.approx(recall_by_loops(depth, mask), abs=1e-12)

    @given(SEEDS, st.floats(1e-3, 1e3))
    def test_is_blind_to_scale(self, seed: int, scale: float) -> None:
        rng = np.random.default_rng(seed)
        depth, mask = np.exp(rng.normal(0, 0.15, (9, 11))), rng.random((9, 11)) < 0.5
        assert boundary_recall(scale * depth, mask) == boundary_recall(depth, mask)


class TestRefused:
    def test_no_valid_pixel(self) -> None:
        with pytest.raises(SampleError, match="none of the 100 pixels"):
            boundary_f1(square(2), square(2), np.zeros((10, 10), np.bool_))

    def test_sizes_that_differ(self) -> None:
        with pytest.raises(SampleError, match="one size"):
            boundary_f1(square(2), square(2)[1:], everywhere(square(2)))
        with pytest.raises(SampleError, match="one size"):
            boundary_recall(square(2), np.ones((10, 9), np.bool_))

    @pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
    def test_what_is_no_depth(self, bad: float) -> None:
        spoilt = square(2)
        spoilt[0, 0] = bad
        with pytest.raises(SampleError, match="1 of 100 true depths"):
            f1(square(2), spoilt)
        with pytest.raises(UnusableOutputError, match="1 of 100 predicted depths"):
            f1(spoilt, square(2))
        with pytest.raises(UnusableOutputError, match="1 of 100 predicted depths"):
            boundary_recall(spoilt, square(2) == 4)

    @pytest.mark.parametrize("matte", [np.full((10, 10), 255, np.uint8), np.full((10, 10), np.nan), -np.ones((10, 10))])
    def test_a_matte_outside_0_to_1(self, matte: np.ndarray) -> None:
        with pytest.raises(SampleError, match="outside 0 to 1"):
            boundary_recall(square(2), matte)
