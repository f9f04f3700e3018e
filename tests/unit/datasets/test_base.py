"""make_sample: whatever was read, what comes out holds what Sample promises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from edgedepth.core.errors import DataSetError, SampleError
from edgedepth.datasets.base import make_sample, unique_frames

from .miniatures import draw

SHAPE = (3, 4)
depths = st_numpy.arrays(np.float64, SHAPE, elements=st.floats(width=64))
masks = st_numpy.arrays(np.bool_, SHAPE)


@given(depths, masks)
def test_valid_is_counted_finite_and_positive(depth: np.ndarray, counted: np.ndarray) -> None:
    before = depth.copy()
    with np.errstate(over="ignore"):
        stored = depth.astype(np.float32)  # what is beyond float32 is not known
    expected = [
        [bool(c and 0 < d < np.inf) for c, d in zip(*rows, strict=True)] for rows in zip(counted, stored, strict=True)
    ]
    assume(np.any(expected))
    sample = make_sample("a", image=draw(0, 4, 3), depth_m=depth, focal_px=5, counted=counted)
    np.testing.assert_array_equal(sample.valid, expected)
    assert np.isfinite(sample.depth_m).all()
    assert (sample.depth_m[sample.valid] > 0).all()
    np.testing.assert_array_equal(sample.depth_m[sample.valid], stored[sample.valid])
    np.testing.assert_array_equal(depth, before)


def test_depth_that_is_known_but_not_counted_is_kept_for_looking_at() -> None:
    counted = np.zeros(SHAPE, np.bool_)
    counted[0, 0] = True
    sample = make_sample("a", image=draw(0, 4, 3), depth_m=np.full(SHAPE, 2.0), focal_px=None, counted=counted)
    assert sample.valid.sum() == 1
    assert (sample.depth_m == 2).all()


@pytest.mark.parametrize("what", ["depth_m", "counted", "mask"])
def test_sizes_have_to_be_equal(what: str) -> None:
    parts = {"depth_m": np.ones(SHAPE), "counted": np.ones(SHAPE, np.bool_), "mask": np.ones(SHAPE, np.bool_)}
    parts[what] = parts[what][:, :3]
    with pytest.raises(SampleError, match=r"a: the picture is 4 x 3 pixels and the .* 3 x 3; they have to be equal"):
        make_sample("a", image=draw(0, 4, 3), focal_px=None, **parts)


def test_no_valid_pixel_tells_how_many_are_known() -> None:
    depth = np.zeros(SHAPE)
    depth[1] = 3
    with pytest.raises(SampleError, match=r"no pixel has a valid depth \(4 of 12 are finite and above 0\)"):
        make_sample("a", image=draw(0, 4, 3), depth_m=depth, focal_px=None, counted=depth == 0)


@pytest.mark.parametrize("focal_px", [0.0, -1.0, float("nan"), float("inf")])
def test_a_focal_length_is_finite_and_positive(focal_px: float) -> None:
    with pytest.raises(SampleError, match="the focal length is"):
        make_sample("a", image=draw(0, 4, 3), depth_m=np.ones(SHAPE), focal_px=focal_px)


def test_names_are_unique_and_keep_their_order() -> None:
    assert list(unique_frames([("b", 1), ("a", 2)], source="here", expected="things")) == ["b", "a"]
    with pytest.raises(DataSetError, match="here has 'b' twice"):
        unique_frames([("b", 1), ("a", 2), ("b", 1)], source="here", expected="things")
    with pytest.raises(DataSetError, match="here holds no samples; looked for were things"):
        unique_frames([], source="here", expected="things")
