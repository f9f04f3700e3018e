"""What is drawn of depths: ranges that are locked, signs, holes, edges, and codes that a shader can read."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgedepth.report.clouds import CODES, CloudRange, cloud_range, depth_codes
from edgedepth.report.panels import (
    ERROR_CEILING,
    depth_edges,
    depth_panel,
    depth_stops,
    edge_panel,
    error_limit,
    error_panel,
    error_size,
    error_stops,
    photo_panel,
    signed_error,
)

DEPTHS = hnp.arrays(np.float32, (6, 8), elements=st.floats(0.5, 50, width=32))


def decoded(content: bytes) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED), np.uint8)


def test_holes_are_transparent_and_nothing_else_is() -> None:
    depth = np.full((40, 60), 2, np.float32)
    depth[:20] = np.nan
    picture = decoded(depth_panel(depth, 1, 4, 60))
    assert picture.shape == (40, 60, 4)
    assert (picture[:20, :, 3] == 0).all()
    assert (picture[20:, :, 3] == 255).all()
    assert decoded(error_panel(signed_error(depth, depth), 0.1, 60)).shape == (40, 60, 4)


def test_one_range_gives_one_depth_one_colour() -> None:
    near, far = np.full((32, 32), 1, np.float32), np.full((32, 32), 4, np.float32)
    half = np.where(np.arange(32)[None] < 16, near, far)
    alone, beside = decoded(depth_panel(near, 1, 4, 32)), decoded(depth_panel(half, 1, 4, 32))
    # WebP at quality 80 moves a flat colour by a step or two.
    assert np.abs(alone[16, 4].astype(int) - beside[16, 4]).max() <= 6
    assert np.abs(alone[16, 4].astype(int) - beside[16, 28]).max() > 60
    red, green, blue = (int(part) for part in depth_stops()[0].removeprefix("rgb(").removesuffix(")").split())
    assert np.abs(alone[16, 4].astype(int) - (blue, green, red)).max() <= 6


def test_farther_is_red_nearer_is_blue_equal_is_white() -> None:
    reference = np.full((32, 96), 2, np.float32)
    candidate = reference.copy()
    candidate[:, :32] *= 1.1
    candidate[:, 64:] *= 0.9
    picture = decoded(error_panel(signed_error(candidate, reference), 0.1, 96)).astype(int)
    farther, equal, nearer = picture[16, 8], picture[16, 48], picture[16, 88]
    assert farther[2] > farther[0] + 40
    assert nearer[0] > nearer[2] + 40
    assert equal.min() > 235


@given(st.lists(st.floats(0, 5), max_size=6))
def test_the_limit_covers_every_error_up_to_the_ceiling_and_is_round(sizes: list[float]) -> None:
    limit = error_limit(sizes)
    assert limit >= min(max([*sizes, 0]), ERROR_CEILING) * (1 - 1e-6)
    assert limit <= ERROR_CEILING
    assert f"{limit:.0e}"[0] in "125"
    assert limit == pytest.approx(float(f"{limit:.0e}"))


def test_the_size_of_an_error_looks_past_holes() -> None:
    assert error_size(np.full((2, 2), np.nan, np.float32)) == 0
    assert error_size(np.array([[0.5, np.nan, -0.5]], np.float32)) == 0.5


def test_the_legend_lies_where_the_colours_lie() -> None:
    colors, places = error_stops(0.01, [-0.01, 0, 0.01])
    assert places == pytest.approx([0, 0.5, 1])
    assert colors[0] == "rgb(5 48 97)"
    assert colors[10] == "rgb(247 247 247)"
    assert colors[-1] == "rgb(103 0 31)"


def test_edges_are_where_depths_part_and_not_at_holes() -> None:
    depth = np.ones((5, 6), np.float32)
    depth[:, 3:] = 1.2
    expected = np.zeros((5, 6), bool)
    expected[:, 2] = True
    np.testing.assert_array_equal(depth_edges(depth), expected)
    np.testing.assert_array_equal(depth_edges(1 / depth), expected)
    depth[2] = np.nan
    expected[2] = False
    np.testing.assert_array_equal(depth_edges(depth), expected)
    drawn = decoded(edge_panel(depth_edges(depth), (10, 200, 100), 6))
    assert drawn.shape == (5, 6, 4)
    assert (drawn[:, 2, 3] > 128).all()
    assert (drawn[:, 5, 3] == 0).all()


@given(DEPTHS)
def test_codes_give_depths_back_within_half_a_step(depth: npt.NDArray[np.float32]) -> None:
    """Decoded as the shader does: red * 16 + green, even in the logarithm."""
    drawn = CloudRange(near_m=0.4, far_m=60, middle_m=5)
    content, size = depth_codes(depth, drawn, 8)
    bgr = decoded(content).astype(np.float64)
    assert size == (8, 6)
    code = bgr[..., 2] * 16 + bgr[..., 1]
    assert code.min() >= 1
    read = drawn.near_m * (drawn.far_m / drawn.near_m) ** ((code - 1) / (CODES - 1))
    step = np.log(drawn.far_m / drawn.near_m) / (CODES - 1)
    assert np.abs(np.log(read / depth)).max() <= step / 2 * 1.001


def test_holes_and_what_lies_out_of_range_have_code_0() -> None:
    depth = np.array([[np.nan, 0.1, 1, 100]], np.float32)
    content, _ = depth_codes(depth, CloudRange(near_m=0.5, far_m=10, middle_m=2), 4)
    bgr = decoded(content)
    assert ((bgr[0, :, 2] > 0) | (bgr[0, :, 1] > 0)).tolist() == [False, False, True, False]


def test_a_cloud_of_nothing_is_none() -> None:
    assert cloud_range(np.full((3, 3), np.nan, np.float32)) is None
    found = cloud_range(np.linspace(1, 2, 100, dtype=np.float32).reshape(10, 10))
    assert found is not None
    assert found.near_m < 1 < found.middle_m < 1.95 < found.far_m


def test_a_photograph_is_shrunk_and_never_enlarged() -> None:
    rgb = np.zeros((30, 60, 3), np.uint8)
    rgb[..., 0] = 200
    assert decoded(photo_panel(rgb, 20)).shape == (10, 20, 3)
    same = decoded(photo_panel(rgb, 500))
    assert same.shape == (30, 60, 3)
    assert same[0, 0, 2] > 180 > 40 > same[0, 0, 0]  # BGR
