"""Causes that are told from pictures and figures: each on evidence of its own, and none without."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.verify.causes import cause_of_input, cause_of_scale, displacement


def waves(dx: float = 0.0, dy: float = 0.0, stretch: float = 0.0, size: int = 96) -> np.ndarray:
    """A smooth picture whose content lies dx to the right and dy down: known between pixels too."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    middle = (size - 1) / 2
    x, y = x - dx - stretch * (x - middle), y - dy - stretch * (y - middle)
    channels = [np.sin(x / 7 + k) + np.cos(y / 9 - k) + 0.5 * np.sin((x + y) / 11) for k in range(3)]
    return (np.stack(channels) / 3).astype(np.float32)


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-0.004, 0.004))
def test_a_displacement_is_measured(dx: float, dy: float, stretch: float) -> None:
    found = displacement(waves(dx, dy, stretch), waves())
    # First order only: what is left goes with the square of half a pixel over a wave of 44 pixels.
    assert found.x_px == pytest.approx(dx, abs=0.03)
    assert found.y_px == pytest.approx(dy, abs=0.03)
    assert found.stretch_x == pytest.approx(stretch, abs=1e-3)


def test_half_a_pixel_is_a_resize_convention() -> None:
    cause = cause_of_input(waves(0.5, 0.5), waves())
    assert cause is not None
    assert cause.kind == "resize convention"
    assert "+0.50 pixels to the right" in cause.says


def test_corners_that_are_aligned_are_a_resize_convention() -> None:
    cause = cause_of_input(waves(stretch=1 / 96), waves())
    assert cause is not None
    assert cause.kind == "resize convention"


def test_swapped_channels() -> None:
    cause = cause_of_input(waves()[::-1], waves())
    assert cause is not None
    assert cause.kind == "swapped RGB"


def test_another_mean_is_pre_processing() -> None:
    cause = cause_of_input(waves() + np.float32(0.1), waves())
    assert cause is not None
    assert cause.kind == "pre-processing"


def test_the_same_picture_has_no_cause() -> None:
    assert cause_of_input(waves() + np.float32(1e-6), waves()) is None


def test_a_factor_that_the_field_of_view_explains() -> None:
    cause = cause_of_scale(1.02, 0.99999, fov_scale=1.0198)
    assert cause is not None
    assert "the field of view explains it" in cause.says
    cause = cause_of_scale(1.02, 0.99999, fov_scale=1.0)
    assert cause is not None
    assert "doesn't explain it" in cause.says


@pytest.mark.parametrize(("scale", "correlation"), [(1.0, 1.0), (1.02, 0.9), (math.nan, math.nan)])
def test_noise_is_no_focal_length(scale: float, correlation: float) -> None:
    assert cause_of_scale(scale, correlation, fov_scale=1.0) is None
