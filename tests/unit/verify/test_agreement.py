"""Figures of one picture: what is constant is told from what is noise, and the worst pixel is found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.verify.agreement import compare_picture, fit_depth, is_one_colour


def scene(seed: int = 0, shape: tuple[int, int] = (40, 60)) -> np.ndarray:
    """A wall, a box before it and a floor, with some noise, in metres."""
    generator = np.random.default_rng(seed)
    depth = np.full(shape, 8.0)
    depth[20:] = np.linspace(6, 2, shape[0] - 20)[:, None]
    depth[8:28, 10:30] = 3.0
    return (depth * generator.uniform(0.99, 1.01, shape)).astype(np.float32)


@given(st.floats(0.5, 2.0), st.integers(0, 1000))
def test_a_constant_factor_is_found_and_correlates(factor: float, seed: int) -> None:
    depth = scene(seed)
    scale, shift, correlation = fit_depth((depth * np.float64(factor)).astype(np.float32), depth)
    # float32 keeps 24 bits of each depth.
    assert scale == pytest.approx(factor, rel=1e-6)
    assert shift == pytest.approx(0, abs=1e-6)
    assert correlation == pytest.approx(1, abs=1e-9)


@given(st.floats(-0.05, 0.05), st.integers(0, 1000))
def test_a_constant_shift_of_inverse_depth_is_found(shift: float, seed: int) -> None:
    depth = scene(seed)
    shifted = (1 / (1 / depth.astype(np.float64) + shift)).astype(np.float32)
    scale, found, correlation = fit_depth(shifted, depth)
    assert scale == pytest.approx(1, rel=1e-5)
    assert found == pytest.approx(shift, abs=1e-6)
    assert correlation == pytest.approx(1, abs=1e-9)


def test_noise_lowers_the_correlation_and_leaves_the_scale() -> None:
    depth = scene()
    noisy = depth * np.random.default_rng(1).uniform(0.8, 1.2, depth.shape).astype(np.float32)
    scale, _, correlation = fit_depth(noisy, depth)
    assert correlation < 0.99
    assert scale == pytest.approx(1, abs=0.05)


def test_a_flat_reference_has_a_scale_and_no_correlation() -> None:
    flat = np.full((8, 8), 4.0, np.float32)
    scale, shift, correlation = fit_depth(2 * flat, flat)
    assert (scale, shift) == (2.0, 0.0)
    assert np.isnan(correlation)


def test_the_worst_pixel_is_where_it_was_put() -> None:
    depth = scene()
    wrong = depth.copy()
    wrong[12, 17] = 1.5
    parity = compare_picture("a.jpg", wrong, depth, fov_deg=60.0, reference_fov_deg=60.5)
    assert parity.worst is not None
    assert (parity.worst.row, parity.worst.column) == (12, 17)
    assert parity.worst.depth_m == 1.5
    assert parity.worst.reference_m == pytest.approx(3, rel=0.02)
    assert parity.fov_deg == 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_pixel_that_is_no_depth_is_the_worst_one(bad: float) -> None:
    depth = scene()
    wrong = depth.copy()
    wrong[3, 5] = bad
    parity = compare_picture("a", wrong, depth, fov_deg=60.0, reference_fov_deg=60.0)
    assert parity.abs_rel == np.inf
    assert parity.worst is not None
    assert (parity.worst.row, parity.worst.column) == (3, 5)
    assert np.isnan(parity.depth_scale)
    assert parity.boundary_f1 == 0


def test_edges_count_against_the_references_own() -> None:
    depth = scene()
    same = compare_picture("a", depth, depth, fov_deg=60.0, reference_fov_deg=60.0)
    assert same.boundary_f1 == 1.0
    blurred = depth.copy()
    blurred[:, 1:-1] = (depth[:, :-2] + depth[:, 1:-1] + depth[:, 2:]) / 3
    assert compare_picture("a", blurred, depth, fov_deg=60.0, reference_fov_deg=60.0).boundary_f1 < 0.9


def test_one_colour() -> None:
    assert is_one_colour(np.full((4, 4, 3), (0.1, 0.5, 0.9), np.float32))
    assert not is_one_colour(np.linspace(0, 1, 48, dtype=np.float32).reshape(4, 4, 3))
