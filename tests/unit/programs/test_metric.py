from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from edgedepth.core.errors import OptionError, UnusableOutputError
from edgedepth.programs.metric import (
    check_focal_px,
    check_fov_deg,
    depth_from_inverse,
    focal_px_from_fov,
    fov_deg_from_focal,
    metric_inverse_depth,
)


@pytest.mark.parametrize(
    ("fov_deg", "width", "focal_px"),
    [
        (90, 1000, 500),  # tan 45 degrees = 1
        (60, 1536, 768 * math.sqrt(3)),  # tan 30 degrees = 1 / sqrt 3
        (2 * math.degrees(math.atan(18 / 50)), 3600, 5000),  # 50 mm on a sensor 36 mm wide: 100 px per mm
    ],
)
def test_known_lenses(fov_deg, width, focal_px):
    assert focal_px_from_fov(fov_deg, width) == pytest.approx(focal_px, rel=1e-12)
    assert fov_deg_from_focal(focal_px, width) == pytest.approx(fov_deg, rel=1e-12)


@given(st.floats(1, 179), st.integers(16, 8192))
def test_field_of_view_and_focal_length_are_inverse(fov_deg, width):
    # Near 180 degrees the tangent is steep: 1e-9 relative is a thousand roundings of float64.
    assert fov_deg_from_focal(focal_px_from_fov(fov_deg, width), width) == pytest.approx(fov_deg, rel=1e-9)


def test_scaling_uses_the_frames_own_width():
    inverse = metric_inverse_depth(np.array([[0.5, 2.0]], np.float32), 1000.0, 1500)
    assert inverse.dtype == np.float32
    assert_array_equal(inverse, np.array([[0.75, 3.0]], np.float32))


def test_depth_is_clamped_like_the_reference():
    inverse = np.array([-1, 0, 1e-5, 1e-4, 0.5, 1e4, 1e5], np.float32)
    before = inverse.copy()
    depth = depth_from_inverse(inverse)
    assert depth.dtype == np.float32
    # One division in float32: half a unit in the last place each for the clamp's bound and the quotient.
    assert_allclose(depth, [1e4, 1e4, 1e4, 1e4, 2, 1e-4, 1e-4], rtol=1.2e-7)
    assert_array_equal(inverse, before)


@pytest.mark.parametrize("focal_px", [60, 6e4, 1234.5, np.float32(700), np.int64(700)])
def test_focal_lengths(focal_px):
    assert check_focal_px(focal_px, 1200) == float(focal_px)


@pytest.mark.parametrize(("focal_px", "width"), [(4.2, 3264), (35, 3264), (2, 64), (1e6, 3264)])
def test_focal_lengths_that_no_lens_has_on_that_frame(focal_px, width):
    with pytest.raises(OptionError, match=r"on a frame .* is a view of .* \(is it in millimetres\?\)"):
        check_focal_px(focal_px, width)


@pytest.mark.parametrize(
    "focal_px",
    [0, -1, -0.0, math.nan, math.inf, -math.inf, 1e-3, 1e8, 10**400, True, np.True_, "700", b"1", [700], 1j,
     np.array([700.0]), object()],
    ids=lambda value: repr(value)[:12],
)  # fmt: skip
def test_focal_lengths_that_can_not_be_one(focal_px):
    with pytest.raises(OptionError, match="focal_px is"):
        check_focal_px(focal_px, 1200)


@pytest.mark.parametrize("fov_deg", [1.0, 55.0, 170.0])
def test_usable_fields_of_view(fov_deg):
    assert check_fov_deg(fov_deg) == fov_deg


@pytest.mark.parametrize("fov_deg", [0, 0.99, 170.01, 180, -5, 360, math.nan, math.inf, -math.inf])
def test_unusable_fields_of_view(fov_deg):
    with pytest.raises(UnusableOutputError) as caught:
        check_fov_deg(fov_deg)
    assert "focal_px" in caught.value.remedy


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
def test_inverse_depth_that_is_not_finite(value):
    canonical = np.ones((4, 5), np.float32)
    canonical[2, 3] = value  # the last overflows when it is scaled
    with pytest.raises(UnusableOutputError, match="1 of 20 values"):
        metric_inverse_depth(canonical, 100.0, 1000)
