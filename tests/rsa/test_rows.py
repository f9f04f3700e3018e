"""The rows of RSA's tables against numpy's own least squares, and what no picture's truth may reach."""

from __future__ import annotations

import numpy as np
import pytest

from edgedepth.core.errors import SampleError
from edgedepth.datasets.base import FrameSet, Sample, make_sample
from edgedepth.rsa.protocols import as_rsa_sees, range_m
from edgedepth.rsa.rows import linear_fit, median_scaled, metres

RANGE = (1e-3, 80.0)


@pytest.fixture
def relative() -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 10, (12, 16)).astype(np.float32)


def test_the_oracle_finds_the_line_and_nothing_outside_of_valid_moves_it(relative: np.ndarray) -> None:
    true_m = 1 / (0.07 * relative.astype(np.float64) + 0.2)
    valid = np.ones(relative.shape, np.bool_)
    valid[:3] = False
    spoilt = np.where(valid, true_m, 1e4).astype(np.float32)
    np.testing.assert_allclose(linear_fit(relative, spoilt, valid, RANGE)[3:], true_m[3:], rtol=1e-5)


def test_the_oracle_is_numpys_least_squares(relative: np.ndarray) -> None:
    true_m = np.random.default_rng(1).uniform(1, 9, relative.shape).astype(np.float32)
    design = np.stack((relative.ravel(), np.ones(relative.size)), 1).astype(np.float64)
    scale, shift = np.linalg.lstsq(design, 1 / true_m.ravel().astype(np.float64), rcond=None)[0]
    expected = metres(relative, scale, shift, RANGE)
    found = linear_fit(relative, true_m, np.ones(relative.shape, np.bool_), RANGE)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_the_median_row_has_the_truths_median(relative: np.ndarray) -> None:
    true_m = np.random.default_rng(1).uniform(1, 9, relative.shape).astype(np.float32)
    valid = np.random.default_rng(2).random(relative.shape) < 0.5
    found = median_scaled(relative, true_m, valid, RANGE)
    assert np.median(found[valid]) == pytest.approx(np.median(true_m[valid]), rel=1e-6)
    np.testing.assert_allclose(found * relative, (found * relative)[0, 0], rtol=1e-6)  # a scale, and no shift


def test_what_is_not_positive_is_farthest() -> None:
    relative = np.array([[-5.0, 0.0, 1.0]], np.float32)
    np.testing.assert_allclose(metres(relative, 0.5, 0.0, RANGE), [[80, 80, 2]])
    assert np.isfinite(median_scaled(relative, np.ones((1, 3)), np.ones((1, 3), np.bool_), RANGE)).all()


def sample(height: int = 375, width: int = 1242, depth_m: float = 10.0) -> Sample:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return make_sample("one", image=image, depth_m=np.full((height, width), depth_m), focal_px=None)


def data_set(name: str, max_depth_m: float | None) -> FrameSet[Sample]:
    return FrameSet(name=name, frames={"one": sample()}, read=lambda _, frame: frame, max_depth_m=max_depth_m)


def test_kitti_is_seen_cropped() -> None:
    """The KB crop of RSA's code: the lowest 352 rows, the middle 1216 columns."""
    whole = sample()
    seen = as_rsa_sees(data_set("kitti", 80.0), whole)
    np.testing.assert_array_equal(seen.image, whole.image[23:, 13:1229])
    assert seen.depth_m.shape == seen.valid.shape == (352, 1216)
    assert as_rsa_sees(data_set("nyuv2", 10.0), whole).image.shape == whole.image.shape


@pytest.mark.parametrize(
    ("name", "farthest", "expected"),
    [
        ("void", 5.0, (0.2, 5.0)),
        ("nyuv2", 10.0, (1e-3, 10.0)),
        ("sunrgbd", 10.0, (1e-3, 10.0)),
        ("kitti", 80.0, (1e-3, 80.0)),
        ("plain", None, (1e-3, 80.0)),
    ],
)
def test_ranges(name: str, farthest: float | None, expected: tuple[float, float]) -> None:
    assert range_m(data_set(name, farthest)) == expected


def test_truth_beyond_the_range_is_not_scored() -> None:
    with pytest.raises(SampleError, match=r"no valid depth from 0\.001 to 10 m"):
        as_rsa_sees(data_set("nyuv2", 10.0), sample(depth_m=12.0))
