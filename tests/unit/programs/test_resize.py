from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from edgedepth.programs.resize import resize_bilinear, shrink

# What the program promises, as a part of the values' range (1 here). Only the rounding of a blend of four
# values in another order is left: about 2e-7.
TOLERANCE = 1e-5


def noise(*shape: int) -> np.ndarray:
    """The hardest picture: a position that is off by 1e-4 pixels is off by as much in value."""
    return np.random.default_rng(sum(shape)).random(shape, dtype=np.float32)


def by_torch(image: np.ndarray, size: tuple[int, int], *, align_corners: bool = False) -> np.ndarray:
    planes = torch.from_numpy(image if image.ndim == 3 else image[..., None]).permute(2, 0, 1)[None]
    resized = F.interpolate(planes, size=size, mode="bilinear", align_corners=align_corners, antialias=False)
    return resized[0].permute(1, 2, 0).reshape(*size, *image.shape[2:]).numpy()


SIZES = [
    ((16, 16), (512, 512)),
    ((97, 351), (512, 512)),
    ((1000, 700), (512, 512)),
    ((480, 640), (1536, 1536)),  # neither ratio is exact in binary
    ((720, 1280), (1536, 1536)),
    ((1080, 1920), (1536, 1536)),  # both are: cv2's path
    ((1080, 1920), (512, 512)),
    ((4320, 7680), (512, 512)),
    ((4319, 7681), (512, 512)),
    ((512, 512), (97, 351)),
    ((512, 512), (256, 256)),  # where cv2 turns to averaging
    ((512, 512), (1024, 256)),
    ((512, 512), (4320, 7680)),
    ((513, 511), (16, 8192)),
    ((7, 1), (5, 9)),
    ((2, 3), (1, 1)),
]


@pytest.mark.parametrize(("old", "new"), SIZES, ids=str)
def test_equals_torch(old, new):
    image = noise(*old)
    resized = resize_bilinear(image, new)
    assert resized.dtype == np.float32
    assert resized.flags.c_contiguous
    assert np.abs(resized - by_torch(image, new)).max() <= TOLERANCE


@pytest.mark.parametrize(
    ("old", "new"),
    [((572, 746), (384, 512)), ((97, 351), (512, 512)), ((512, 512), (256, 256)), ((7, 1), (5, 9))],
    ids=str,
)
def test_corners_that_stay_equal_torch(old, new):
    image = noise(*old, 3)
    resized = resize_bilinear(image, new, align_corners=True)
    assert np.abs(resized - by_torch(image, new, align_corners=True)).max() <= TOLERANCE
    np.testing.assert_array_equal(resized[0, 0], image[0, 0])


def test_one_corner_is_the_first():
    image = noise(2, 3)
    np.testing.assert_array_equal(resize_bilinear(image, (1, 1), align_corners=True), image[:1, :1])


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("old", "new"), [((97, 351), (128, 128)), ((96, 64), (48, 32))], ids=["numpy", "cv2"])
def test_any_number_of_channels(old, new, channels):
    image = noise(*old, channels)
    resized = resize_bilinear(image, new)
    assert resized.shape == (*new, channels)
    assert np.abs(resized - by_torch(image, new)).max() <= TOLERANCE


side = st.integers(1, 300)


@given(st.tuples(side, side), st.tuples(side, side))
@example((300, 299), (1, 300))
@settings(max_examples=200, deadline=None)
def test_equals_torch_at_any_size(old, new):
    image = noise(*old)
    assert np.abs(resize_bilinear(image, new) - by_torch(image, new)).max() <= TOLERANCE


@given(side, side, st.tuples(side, side))
@settings(max_examples=50, deadline=None)
def test_a_constant_stays_constant(height, width, new):
    constant = np.full((height, width), 0.3, np.float32)
    # A blend (1 - w) * c + w * c may round in the last place.
    assert np.abs(resize_bilinear(constant, new) - np.float32(0.3)).max() <= 1e-7


def test_cv2_alone_would_not_do():
    """Why there is a numpy path: cv2 rounds its positions otherwise. If this fails, it can go."""
    import cv2

    image = noise(4319, 7681)
    resized = cv2.resize(image, (1536, 1536), interpolation=cv2.INTER_LINEAR)
    assert np.abs(resized - by_torch(image, (1536, 1536))).max() > TOLERANCE


def test_same_size_is_a_copy():
    image = noise(20, 30, 3)
    resized = resize_bilinear(image, (20, 30))
    assert_array_equal(resized, image)
    assert not np.shares_memory(resized, image)


@pytest.mark.parametrize("new", [(24, 24), (16, 16), (20, 30)], ids=["numpy", "cv2", "same"])
def test_read_only_and_strided_input_is_left_alone(new):
    image = noise(40, 60, 3)[::2, ::2]
    image.flags.writeable = False
    before = image.copy()
    assert np.abs(resize_bilinear(image, new) - by_torch(before, new)).max() <= TOLERANCE
    assert_array_equal(image, before)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("size", [8, 512, 1536])
def test_shrink_equals_torch_scale_factor(scale, size):
    planes = noise(3, size, size)
    out = np.empty((3, size // scale, size // scale), np.float32)
    shrink(planes, out)
    reference = F.interpolate(
        torch.from_numpy(planes)[None], scale_factor=1 / scale, mode="bilinear", align_corners=False
    )
    # Means of four values, summed in another order.
    assert np.abs(out - reference[0].numpy()).max() <= 1e-6


def test_shrink_means_by_hand():
    planes = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    half, quarter = np.empty((1, 2, 2), np.float32), np.empty((1, 1, 1), np.float32)
    shrink(planes, half)
    shrink(planes, quarter)
    assert_array_equal(half[0], [[2.5, 4.5], [10.5, 12.5]])  # (0 + 1 + 4 + 5) / 4, ...
    assert_array_equal(quarter[0], [[7.5]])  # (5 + 6 + 9 + 10) / 4
