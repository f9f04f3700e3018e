"""Bicubic resizing against torch's."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedepth.programs.resize_bicubic import resize_bicubic

SIDES = st.integers(1, 40)


def torchs(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    planes = torch.from_numpy(image.reshape(*image.shape[:2], -1)).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(planes, size, mode="bicubic", align_corners=False)
    return resized[0].permute(1, 2, 0).numpy().reshape(*size, *image.shape[2:])


@given(height=SIDES, width=SIDES, size=st.tuples(SIDES, SIDES), channels=st.sampled_from([None, 1, 3]))
@settings(deadline=None)
def test_any_sizes(height: int, width: int, size: tuple[int, int], channels: int | None) -> None:
    shape = (height, width) if channels is None else (height, width, channels)
    image = np.random.default_rng(height * 41 + width).random(shape, np.float32)
    resized = resize_bicubic(image, size)
    assert resized.dtype == np.float32
    assert resized.flags.c_contiguous
    assert resized is not image
    np.testing.assert_allclose(resized, torchs(image, size), atol=1e-5)  # of a range of 1


@pytest.mark.parametrize(
    ("old", "new"), [((480, 640), (434, 560)), ((375, 1242), (350, 1204)), ((434, 560), (480, 640))]
)
def test_the_sizes_of_rsa(old: tuple[int, int], new: tuple[int, int]) -> None:
    image = np.random.default_rng(1).random(old, np.float32)
    # positions are float32 on both sides, and noise turns a rounding of 3e-5 pixels into this
    np.testing.assert_allclose(resize_bicubic(image, new), torchs(image, new), atol=2e-4)
    smooth = np.outer(np.linspace(0, 1, old[0]), np.linspace(0, 1, old[1])).astype(np.float32)
    np.testing.assert_allclose(resize_bicubic(smooth, new), torchs(smooth, new), atol=5e-6)  # the same rounding
