"""Every figure against hand-computed values and against plain Python of the statistics module, which shares no code."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgedepth.core.errors import SampleError, UnusableOutputError
from edgedepth.verify.metrics import (
    DEPTH_RANGE_M,
    DepthMetrics,
    align_linear,
    align_median,
    depth_metrics,
    fit_linear,
    focal_delta,
    focal_error,
)

SEEDS = st.integers(0, 2**31)


def row(*values: float) -> np.ndarray:
    return np.array([values], np.float64)


def everywhere(depth: np.ndarray) -> np.ndarray:
    return np.ones(depth.shape, np.bool_)


def figures(predicted: np.ndarray, true: np.ndarray) -> DepthMetrics:
    return depth_metrics(predicted, true, everywhere(true))


def random_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A prediction that is wrong by up to a factor of 3, and its truth of 0.5 to 80 m."""
    rng = np.random.default_rng(seed)
    true = rng.uniform(0.5, 80, (6, 7)).astype(np.float32)
    return (true * np.exp(rng.uniform(-1.1, 1.1, true.shape))).astype(np.float32), true


class TestByHand:
    def test_linear_figures(self) -> None:
        # p / t: 1, 1.2, 1.5, 1.875, 1 / 2.5 against 1.25, 1.5625, 1.953125: two, three, four of five.
        # |p - t|: 0, 0.4, 2, 7, 3; over t: 0, 0.2, 0.5, 0.875, 0.6, in sum 2.175.
        # Squares over t: 0, 0.08, 1, 6.125, 1.8, in sum 9.005. Squares: 0, 0.16, 4, 49, 9, in sum 62.16.
        got = figures(row(1, 2.4, 6, 15, 2), row(1, 2, 4, 8, 5))
        assert (got.delta1, got.delta2, got.delta3) == (0.4, 0.6, 0.8)
        assert got.abs_rel == pytest.approx(2.175 / 5)
        assert got.sq_rel == pytest.approx(9.005 / 5)
        assert got.rmse == pytest.approx(math.sqrt(62.16 / 5))

    def test_logarithmic_figures(self) -> None:
        # log10(p / t): 1, -1, 2, 0, so |.| is 1 on average; squares 1, 1, 4, 0: mean 1.5.
        # Their mean is 0.5, so the variance is 1.5 - 0.25. rmse_log and silog are of natural logarithms.
        got = figures(row(10, 0.5, 300, 4), row(1, 5, 3, 4))
        assert got.log10 == pytest.approx(1)
        assert got.rmse_log == pytest.approx(math.log(10) * math.sqrt(1.5))
        assert got.silog == pytest.approx(100 * math.log(10) * math.sqrt(1.25))

    def test_a_ratio_of_exactly_the_threshold_is_outside(self) -> None:
        got = figures(row(1.25, 1.5625, 1.953125), row(1, 1, 1))
        assert (got.delta1, got.delta2, got.delta3) == (0, 1 / 3, 2 / 3)

    def test_a_perfect_prediction(self) -> None:
        _, true = random_pair(0)
        perfect = dict.fromkeys(["abs_rel", "sq_rel", "log10", "rmse", "rmse_log", "silog"], 0.0)
        assert asdict(figures(true, true)) == {"delta1": 1.0, "delta2": 1.0, "delta3": 1.0, **perfect}

    def test_only_valid_pixels_count(self) -> None:
        spoilt_prediction, spoilt_truth = row(2, np.nan, -1, 5), row(4, 7, np.inf, 0)
        valid = np.array([[True, False, False, False]])
        assert depth_metrics(spoilt_prediction, spoilt_truth, valid) == figures(row(2), row(4))


@given(SEEDS)
def test_as_plain_python_has_it(seed: int) -> None:
    predicted, true = random_pair(seed)
    valid = np.random.default_rng(seed + 1).random(true.shape) < 0.7
    assume(valid.any())
    pairs = [
        (float(predicted[i, j]), float(true[i, j]))
        for i in range(true.shape[0])
        for j in range(true.shape[1])
        if valid[i, j]
    ]
    logs = [math.log(p / t) for p, t in pairs]
    worse = [p / t if p > t else t / p for p, t in pairs]
    expected = {
        "delta1": sum(ratio < 1.25 for ratio in worse) / len(pairs),
        "delta2": sum(ratio < 1.5625 for ratio in worse) / len(pairs),
        "delta3": sum(ratio < 1.953125 for ratio in worse) / len(pairs),
        "abs_rel": statistics.fmean(abs(p - t) / t for p, t in pairs),
        "sq_rel": statistics.fmean((p - t) ** 2 / t for p, t in pairs),
        "log10": statistics.fmean(abs(math.log10(p) - math.log10(t)) for p, t in pairs),
        "rmse": math.sqrt(statistics.fmean((p - t) ** 2 for p, t in pairs)),
        "rmse_log": math.sqrt(statistics.fmean(log**2 for log in logs)),
        "silog": 100 * statistics.pstdev(logs),
    }
    # 1e-9: sums of 42 float64 terms in another order; abs for a silog of one pixel, which is 0.
    assert asdict(depth_metrics(predicted, true, valid)) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@given(SEEDS)
def test_deltas_are_ordered_and_within_0_and_1(seed: int) -> None:
    got = figures(*random_pair(seed))
    assert 0 <= got.delta1 <= got.delta2 <= got.delta3 <= 1


@given(SEEDS, st.floats(0.01, 100))
def test_silog_is_blind_to_scale_and_rmse_log_is_not(seed: int, scale: float) -> None:
    predicted, true = (depth.astype(np.float64) for depth in random_pair(seed))
    before, after = figures(predicted, true), figures(scale * predicted, true)
    assert after.silog == pytest.approx(before.silog, rel=1e-9)
    # Mean square = variance + squared mean; a factor moves the mean of ln p - ln t by its logarithm.
    mean = float(np.log(predicted / true).mean()) + math.log(scale)
    assert after.rmse_log**2 == pytest.approx((before.silog / 100) ** 2 + mean**2, rel=1e-9)


class TestRefused:
    def test_no_valid_pixel(self) -> None:
        depth = np.ones((2, 3))
        with pytest.raises(SampleError, match="none of the 6 pixels"):
            depth_metrics(depth, depth, np.zeros((2, 3), np.bool_))

    @pytest.mark.parametrize("shapes", [((2, 3), (3, 2), (3, 2)), ((2, 3), (2, 3), (2, 4)), ((6,), (6,), (6,))])
    def test_sizes_that_differ_or_are_not_pictures(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        predicted, true, valid = shapes
        with pytest.raises(SampleError, match="one size"):
            depth_metrics(np.ones(predicted), np.ones(true), np.ones(valid, np.bool_))

    def test_a_mask_of_integers_which_numpy_would_take_for_indices(self) -> None:
        depth = np.ones((2, 3))
        with pytest.raises(SampleError, match="uint8; bool is needed"):
            depth_metrics(depth, depth, np.ones((2, 3), np.uint8))  # type: ignore[arg-type]

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -1.0])
    @pytest.mark.parametrize("take", [depth_metrics, align_median, align_linear])
    def test_what_is_no_depth_but_marked_valid(self, take, bad: float) -> None:  # type: ignore[no-untyped-def]
        good, spoilt = np.ones((2, 3)), np.ones((2, 3))
        spoilt[1, 1] = bad
        with pytest.raises(SampleError, match="1 of 6 true depths"):
            take(good, spoilt, everywhere(good))
        with pytest.raises(UnusableOutputError, match="1 of 6 predicted depths"):
            take(spoilt, good, everywhere(good))


class TestMedian:
    def test_by_hand(self) -> None:
        # Medians of the valid ones: 3 and 6. Twice as deep, outside the mask too.
        valid = np.array([[True, True, True, False]])
        got = align_median(row(1, 3, 5, 50), row(6, 4, 100, 0), valid)
        np.testing.assert_array_equal(got, row(2, 6, 10, 100))

    @given(SEEDS, st.floats(0.01, 100))
    def test_undoes_a_scale(self, seed: int, scale: float) -> None:
        _, true = random_pair(seed)
        got = align_median(scale * true.astype(np.float64), true, everywhere(true))
        np.testing.assert_allclose(got, true, rtol=1e-12)  # three float64 roundings


class TestLinear:
    @given(SEEDS)
    def test_fit_as_the_statistics_module_has_it(self, seed: int) -> None:
        values, targets = (depth.ravel().astype(np.float64) for depth in random_pair(seed))
        slope, intercept = statistics.linear_regression(values.tolist(), targets.tolist())
        # 1e-9: 42 terms in another order; the intercept is a difference of larger numbers, some 100 m.
        assert fit_linear(values, targets) == pytest.approx((slope, intercept), rel=1e-9, abs=1e-7)

    def test_by_hand(self) -> None:
        # Means 2 and 5; centred -1, 0, 1 and -2, -1, 3: scale 5 / 2, shift 5 - 2 * 5 / 2 = 0.
        assert fit_linear(np.array([1.0, 2, 3]), np.array([3.0, 4, 8])) == (2.5, 0)
        np.testing.assert_array_equal(
            align_linear(row(1, 2, 3), row(3, 4, 8), everywhere(row(1, 2, 3))), row(2.5, 5, 7.5)
        )

    @given(SEEDS, st.floats(0.1, 10), st.floats(0, 10))
    def test_undoes_scale_and_shift_of_depth(self, seed: int, scale: float, shift: float) -> None:
        _, true = random_pair(seed)
        got = align_linear(scale * true.astype(np.float64) + shift, true, everywhere(true))
        np.testing.assert_allclose(got, true, rtol=1e-9)  # conditioning: values up to 810 m for depths of 0.5 m

    @given(SEEDS, st.floats(0.1, 10), st.floats(0, 10))
    def test_undoes_scale_and_shift_of_inverse_depth(self, seed: int, scale: float, shift: float) -> None:
        _, true = random_pair(seed)
        predicted = 1 / (scale / true.astype(np.float64) + shift)
        got = align_linear(predicted, true, everywhere(true), inverse=True)
        # Inverse depths of 0.0125 1/m are found again beneath a shift of up to 100 times scale: 1e-16 * 1e4 and more.
        np.testing.assert_allclose(got, true, rtol=1e-8)

    def test_depth_and_inverse_depth_are_different_fits(self) -> None:
        predicted, true = random_pair(3)
        by_depth = align_linear(predicted, true, everywhere(true))
        by_inverse = align_linear(predicted, true, everywhere(true), inverse=True)
        assert figures(by_depth, true).rmse < figures(by_inverse, true).rmse
        inverse_error = [np.square(1 / depth - 1 / true).mean() for depth in (by_depth, by_inverse)]
        assert inverse_error[1] < inverse_error[0]

    def test_a_line_that_leads_below_nothing_is_clamped(self) -> None:
        # Through (2, 1) and (4, 9): scale 4, shift -7; the unseen 1 would be -3 m.
        valid = np.array([[True, True, False]])
        got = align_linear(row(2, 4, 1), row(1, 9, 1), valid)
        np.testing.assert_array_equal(got, row(1, 9, DEPTH_RANGE_M[0]))
        # Inverse: through (1, 1) and (1/2, 1/4): scale 1.5, shift -0.5; the unseen 1/4 would be -0.125 1/m.
        got = align_linear(row(1, 2, 4), row(1, 4, 1), valid, inverse=True, depth_range_m=(0.1, 80))
        np.testing.assert_allclose(got, row(1, 4, 80))

    @pytest.mark.parametrize("inverse", [False, True])
    def test_a_constant_prediction_becomes_the_best_constant(self, inverse: bool) -> None:
        predicted = np.full((10, 10), 0.1, np.float32)
        true = np.random.default_rng(0).uniform(1, 9, predicted.shape)
        got = align_linear(predicted, true, everywhere(true), inverse=inverse)
        assert np.ptp(got) == 0
        assert got[0, 0] == pytest.approx(1 / (1 / true).mean() if inverse else true.mean(), rel=1e-12)

    def test_a_constant_has_no_scale(self) -> None:
        # The mean of a hundred 0.1 isn't 0.1 in float64: a fit by that would make a scale out of the rounding.
        values, targets = np.full(100, 0.1), np.linspace(1, 9, 100)
        assert values.mean() != values[0]
        assert fit_linear(values, targets) == (0, pytest.approx(5))

    @pytest.mark.parametrize("inverse", [False, True])
    def test_one_pixel_is_met(self, inverse: bool) -> None:
        valid = np.array([[False, True]])
        assert align_linear(row(1, 2), row(9, 8), valid, inverse=inverse)[0, 1] == pytest.approx(8)

    @pytest.mark.parametrize("inverse", [False, True])
    def test_what_is_no_depth_outside_the_mask_disturbs_nothing(self, inverse: bool) -> None:
        valid = np.array([[True, True, True, False, False, False]])
        clean = align_linear(row(1, 2, 3), row(2, 4, 5), everywhere(row(1, 2, 3)), inverse=inverse)
        got = align_linear(row(1, 2, 3, np.nan, 0, np.inf), row(2, 4, 5, 0, np.nan, -1), valid, inverse=inverse)
        np.testing.assert_array_equal(got[:, :3], clean)


class TestFocal:
    def test_by_hand(self) -> None:
        assert focal_error(150, 100) == 0.5
        assert focal_error(75, 100) == 0.25
        assert focal_error(100, 100) == 0

    def test_fractions_below_a_threshold(self) -> None:
        errors = [0.0, 0.25, 0.3, 0.5]
        assert focal_delta(errors, 0.25) == 0.25  # exactly the threshold is outside, as with delta
        assert focal_delta(errors, 0.5) == 0.75
        assert focal_delta(np.array(errors), 1.0) == 1.0  # type: ignore[arg-type]

    @pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
    def test_no_focal_length_is_refused(self, bad: float) -> None:
        with pytest.raises(SampleError, match="true focal length"):
            focal_error(100, bad)
        with pytest.raises(UnusableOutputError, match="predicted focal length"):
            focal_error(bad, 100)

    def test_no_errors_have_no_fraction(self) -> None:
        with pytest.raises(SampleError, match="no picture has a known focal length"):
            focal_delta([], 0.25)
