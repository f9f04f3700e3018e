"""The shapes of a picture's parts, against hand-computed values and numpy's own correlation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.verify.structure import CELLS, FLAT, lost_structure


def scene(seed: int = 0, side: int = 8 * CELLS) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 20, (side, side)).astype(np.float32)


def by_numpy(depth: np.ndarray, reference: np.ndarray) -> float:
    side = len(depth) // CELLS
    worst = -np.inf
    for top in range(0, len(depth), side):
        for left in range(0, len(depth), side):
            part = np.s_[top : top + side, left : left + side]
            cell, truth = 1 / depth[part].astype(np.float64), 1 / reference[part].astype(np.float64)
            if truth.std() > FLAT * truth.mean():
                worst = max(worst, 1 - np.corrcoef(cell.ravel(), truth.ravel())[0, 1])
    return worst


@given(st.integers(0, 1000))
def test_it_is_numpys_correlation_of_the_worst_cell(seed: int) -> None:
    reference = scene(seed)
    depth = reference * np.random.default_rng(seed + 1).uniform(0.5, 2, reference.shape).astype(np.float32)
    assert lost_structure(depth, reference) == pytest.approx(by_numpy(depth, reference), rel=1e-9)


def test_by_hand() -> None:
    # A picture of one row and one cell a pixel has no shapes; of two pixels a cell it has 1 or -1.
    reference = np.array([[1, 2] * CELLS], np.float32)
    exchanged = reference.copy()
    exchanged[0, :2] = 2, 1
    assert lost_structure(reference, reference) == pytest.approx(0, abs=1e-12)
    assert lost_structure(exchanged, reference) == pytest.approx(2)
    level = reference.copy()
    level[0, -2:] = 1.5
    assert lost_structure(level, reference) == 1
    assert np.isnan(lost_structure(reference[:, ::2], reference[:, ::2]))


@given(st.floats(0.5, 2), st.floats(0, 0.05), st.integers(0, 1000))
def test_scale_and_shift_of_inverse_depth_are_others_business(scale: float, shift: float, seed: int) -> None:
    reference = scene(seed)
    depth = (1 / (scale / reference.astype(np.float64) + shift)).astype(np.float32)
    # Inverse depths of 0.05 to 1 with a spread of 0.2, rounded to 24 bits.
    assert lost_structure(depth, reference) == pytest.approx(0, abs=1e-9)


def test_a_misplaced_part_is_seen_where_the_means_of_all_pixels_hardly_move() -> None:
    reference, side = scene(), 8
    wrong = reference.copy()
    wrong[:side, :side], wrong[:side, side : 2 * side] = reference[:side, side : 2 * side], reference[:side, :side]
    assert lost_structure(wrong, reference) > 0.5
    rounded = reference * np.random.default_rng(1).uniform(0.95, 1.05, reference.shape).astype(np.float32)
    assert np.abs(rounded / reference - 1).mean() > 0.5 * np.abs(wrong / reference - 1).mean()
    assert lost_structure(rounded, reference) < 0.05


def test_a_flat_cell_is_left_out() -> None:
    reference = scene()
    reference[:8, :8] = np.random.default_rng(1).uniform(5, 5.01, (8, 8))
    noisy = reference.copy()
    noisy[:8, :8] = np.random.default_rng(2).uniform(5, 5.01, (8, 8))
    assert lost_structure(noisy, reference) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (50, 33)])
def test_any_size_has_a_figure(shape: tuple[int, int]) -> None:
    reference = np.random.default_rng(0).uniform(1, 20, shape).astype(np.float32)
    lost = lost_structure(reference, reference)
    assert np.isnan(lost) == (min(shape) < CELLS and max(shape) <= CELLS)
    assert np.isnan(lost) or lost == pytest.approx(0, abs=1e-12)
