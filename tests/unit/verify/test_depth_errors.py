"""Figures against hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.verify.depth_errors import DepthError, TensorError, compare_depth, compare_tensors


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, -1)


def test_depth_by_hand() -> None:
    # |2-1|/1 = 1, |2-2|/2 = 0, |3-4|/4 = 0.25, |1.2-1|/1 = 0.2: mean 0.3625.
    # Ratios 2, 1, 4/3, 1.2: two of four lie below 1.25.
    error = compare_depth(f32(2, 2, 3, 1.2), f32(1, 2, 4, 1))
    assert error.abs_rel == pytest.approx(0.3625, rel=1e-6)  # float32 of 1.2
    assert error.delta1 == 0.5
    # Inverse: 1, 1/2, 1/4, 1 with mean 0.6875; differences 1/2, 0, 1/12 (over the mean: 0.121), 1/6. Largest 1/2.
    assert error.max_rel == pytest.approx(0.5, rel=1e-6)


def test_tensors_by_hand() -> None:
    # Largest error 0.5 of a largest value 4; mean error 0.25 of a mean size 2.
    error = compare_tensors(f32(0, -2.5, 4, -1.5), f32(0, -2, 4, -2))
    assert (error.max_rel, error.mean_rel) == (0.125, 0.125)
    # Errors 0, 0.5, 0, 0.5 with median 0.25 over a mean size of 2; 2.5 * 2 + 16 + 1.5 * 2 of two lengths.
    assert error.p50_rel == 0.125
    assert error.cosine == pytest.approx(24 / (np.sqrt(24.5) * np.sqrt(24)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0.0, -1.0])
def test_one_pixel_that_is_no_depth_spoils_every_figure(bad: float) -> None:
    reference = np.ones((8, 8), np.float32)
    depth = reference.copy()
    depth[3, 3] = bad
    assert compare_depth(depth, reference) == DepthError(abs_rel=np.inf, delta1=0.0, max_rel=np.inf)


def test_one_value_that_is_not_finite_spoils_a_tensor() -> None:
    error = compare_tensors(f32(1, np.nan, np.inf, -np.inf), f32(1, 1, 1, 1))
    assert error.max_rel == error.mean_rel == error.p50_rel == error.p99_rel == np.inf
    assert np.isnan(error.cosine)
    assert (error.nan, error.inf) == (1, 2)


def test_a_reference_of_zeros_forgives_nothing() -> None:
    zeros = np.zeros((2, 2), np.float32)
    assert compare_tensors(zeros, zeros) == TensorError(max_rel=0.0, mean_rel=0.0)
    error = compare_tensors(zeros + 1e-30, zeros)
    assert error.max_rel == error.mean_rel == np.inf
    assert error.cosine == 0


@pytest.mark.parametrize("compare", [compare_depth, compare_tensors])
def test_nothing_and_other_shapes_are_refused(compare) -> None:  # type: ignore[no-untyped-def]
    empty = np.empty((0, 4), np.float32)
    with pytest.raises(ValueError, match="two equal shapes"):
        compare(empty, empty)
    with pytest.raises(ValueError, match="two equal shapes"):
        compare(f32(1, 2), f32(1, 2, 3))


@given(st.floats(0.5, 2.0), st.integers(0, 2**31))
def test_a_constant_factor_is_its_own_abs_rel(factor: float, seed: int) -> None:
    reference = np.random.default_rng(seed).uniform(0.5, 80, (4, 5)).astype(np.float32)
    error = compare_depth((reference.astype(np.float64) * factor).astype(np.float32), reference)
    # float32 rounding of depth: 6e-8 relative, twice.
    assert error.abs_rel == pytest.approx(abs(factor - 1), abs=2e-7)
    # The nearest pixel's inverse depth is above the mean, so there it is the relative error of inverse depth.
    assert error.max_rel == pytest.approx(abs(1 / factor - 1), abs=4e-7)


def test_a_far_pixel_is_judged_by_its_inverse_depth() -> None:
    # 2122 m against the clamp of 10 km, beside a scene 2 m away: 3.7e-4 1/m of 0.5 1/m.
    reference = np.full((10, 10), 2, np.float32)
    reference[0, 0] = 2122
    depth = reference.copy()
    depth[0, 0] = 10_000
    assert compare_depth(depth, reference).max_rel == pytest.approx(7.5e-4, rel=0.02)
    depth[0, 0] = 2  # what is near instead is an error as large as the scene
    assert compare_depth(depth, reference).max_rel == pytest.approx(1.0, abs=0.02)
