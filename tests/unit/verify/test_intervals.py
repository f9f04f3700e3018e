"""Paired bootstrap intervals: they hold the truth as often as they say, and pairing narrows them."""

from __future__ import annotations

import numpy as np
import pytest

from edgedepth.verify.intervals import paired_intervals


def figures(values: np.ndarray) -> list[dict[str, float]]:
    return [{"abs_rel": float(value)} for value in values]


def test_equal_models_differ_by_nothing() -> None:
    values = np.random.default_rng(0).random(20)
    interval = paired_intervals(figures(values), figures(values))["abs_rel"]
    assert (interval.difference, interval.low, interval.high, interval.pictures) == (0.0, 0.0, 0.0, 20)


def test_what_is_hard_for_both_drops_out() -> None:
    generator = np.random.default_rng(0)
    hard = generator.uniform(0.05, 0.5, 50)
    cost = 0.004 + 0.001 * generator.standard_normal(50)
    interval = paired_intervals(figures(hard + cost), figures(hard))["abs_rel"]
    assert interval.low < 0.004 < interval.high
    assert interval.high - interval.low < 0.001  # the pictures themselves spread over 0.45


def test_the_same_pictures_give_the_same_interval() -> None:
    one, other = np.random.default_rng(0).random((2, 10))
    assert paired_intervals(figures(one), figures(other)) == paired_intervals(figures(one), figures(other))


def test_it_holds_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(100):
        differences = generator.normal(0.01, 0.02, 40)
        interval = paired_intervals(figures(0.2 + differences), figures(np.full(40, 0.2)))["abs_rel"]
        held += interval.low <= 0.01 <= interval.high
    assert 88 <= held <= 100  # 95 of 100 are meant; a percentile interval of 40 is a little narrow


def test_it_agrees_with_scipy() -> None:
    """An implementation that shares nothing with ours."""
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with the extras datasets and demo")
    differences = np.random.default_rng(5).normal(0.01, 0.02, 60)
    ours = paired_intervals(figures(0.2 + differences), figures(np.full(60, 0.2)))["abs_rel"]
    theirs = stats.bootstrap((differences,), np.mean, method="percentile", n_resamples=2000, rng=1).confidence_interval
    # Two draws of 2000 resamples: the ends of an interval of width 0.01 move by some percent of it.
    assert ours.low == pytest.approx(theirs.low, abs=5e-4)
    assert ours.high == pytest.approx(theirs.high, abs=5e-4)


def test_figures_that_few_pictures_have_are_left_out() -> None:
    mine = [{"a": 1.0, "b": 1.0}, {"a": 2.0}, {"a": float("inf"), "b": 2.0}]
    theirs = [{"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0}, {"a": 1.0}]
    found = paired_intervals(mine, theirs)
    assert set(found) == {"a"}
    assert (found["a"].pictures, found["a"].difference) == (2, 0.5)
