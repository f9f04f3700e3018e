from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from edgedepth.core.errors import FrameError, OptionError
from edgedepth.programs.frames import as_rgb

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (17, 23, 4), dtype=np.uint8)
UNITS = RNG.random((17, 23, 4))


def expected(frame: np.ndarray, color: str) -> np.ndarray:
    """The definition, in numpy: spread grey, drop alpha, turn the order, divide bytes by 255."""
    frame = frame if frame.ndim == 3 else frame[..., None]
    frame = np.repeat(frame, 3, axis=2) if frame.shape[2] == 1 else frame[..., :3]
    frame = frame[..., ::-1] if color == "bgr" else frame
    return frame / np.float32(255) if frame.dtype == np.uint8 else frame.astype(np.float32)


@pytest.mark.parametrize("color", ["bgr", "rgb"])
@pytest.mark.parametrize("pixels", [np.s_[..., 0], np.s_[..., :1], np.s_[..., :3], np.s_[..., :4]])
@pytest.mark.parametrize("source", [BYTES, UNITS, UNITS.astype(np.float32)], ids=["uint8", "float64", "float32"])
@pytest.mark.parametrize("strides", ["contiguous", "strided", "mirrored", "fortran"])
def test_every_accepted_form(source, pixels, color, strides):
    frame = np.ascontiguousarray(source[pixels])
    if strides == "strided":
        frame = np.repeat(frame, 2, axis=1)[:, ::2]
    elif strides == "mirrored":
        frame = frame[::-1, ::-1]
    elif strides == "fortran":
        frame = np.asfortranarray(frame)
    frame.flags.writeable = False
    before = frame.copy()
    rgb = as_rgb(frame, color)
    assert rgb.dtype == np.float32
    assert rgb.shape == (17, 23, 3)
    assert rgb.flags.c_contiguous
    assert_array_equal(rgb, expected(frame, color))
    assert_array_equal(frame, before)


def test_grey_is_the_same_in_all_channels():
    rgb = as_rgb(BYTES[..., 0])
    assert_array_equal(rgb[..., 0], rgb[..., 1])
    assert_array_equal(rgb[..., 0], rgb[..., 2])


def test_bad_alpha_does_not_matter():
    frame = UNITS.copy()
    frame[..., 3] = np.nan
    assert np.isfinite(as_rgb(frame)).all()


@pytest.mark.parametrize("shape", [(16, 16), (16, 8192), (4320, 7680)])
def test_promised_sizes(shape):
    assert as_rgb(np.zeros((*shape, 3), np.uint8)).shape == (*shape, 3)


def good(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.zeros(shape, dtype)


def with_value(value: float, dtype: type = np.float32) -> np.ndarray:
    frame = np.full((16, 16, 3), 0.5, dtype)
    frame[3, 5, 1] = value
    return frame


REFUSED = {
    "none": (None, "None", "read"),
    "path": ("photo.jpg", "str", "imread"),
    "pathlib": (Path("photo.jpg"), "Path", "imread"),
    "list": ([[0, 1]], "list", "asarray"),
    "empty": (np.array([]), "(0,)", "one picture"),
    "zero rows": (good(0, 32, 3), "(0, 32, 3)", "was read"),
    "zero columns": (good(32, 0), "(32, 0)", "was read"),
    "zero channels": (good(32, 32, 0), "(32, 32, 0)", "was read"),
    "batch": (good(1, 32, 32, 3), "(1, 32, 32, 3)", "one picture"),
    "two channels": (good(32, 32, 2), "2 channels", "..., :3"),
    "five channels": (good(32, 32, 5), "5 channels", "..., :3"),
    "channels first": (good(3, 32, 32), "32 channels", "moveaxis"),
    "one pixel": (good(1, 1, 3), "1 x 1", "crop"),
    "15 rows": (good(15, 400, 3), "400 x 15", "crop"),
    "too wide": (good(16, 8193, 3), "8193 x 16", "cv2.resize"),
    "too high": (good(8193, 16, 3), "16 x 8193", "cv2.resize"),
    "int32": (good(16, 16, 3, dtype=np.int32), "int32", "uint8"),
    "bool": (good(16, 16, 3, dtype=np.bool_), "bool", "uint8"),
    "float16": (good(16, 16, 3, dtype=np.float16), "float16", "uint8"),
    "complex": (good(16, 16, 3, dtype=np.complex64), "complex64", "uint8"),
    "object": (good(16, 16, 3, dtype=object), "object", "uint8"),
    "text": (np.full((16, 16), "x"), "<U1", "uint8"),
    "uint16": (good(16, 16, 3, dtype=np.uint16), "uint16", "65535"),
    "nan": (with_value(np.nan), "1 values that are NaN", "nan_to_num"),
    "infinite": (with_value(np.inf, np.float64), "NaN or infinite", "nan_to_num"),
    "minus infinite": (with_value(-np.inf), "NaN or infinite", "nan_to_num"),
    "negative": (with_value(-0.25), "-0.25 to 0.5", "normalisation"),
    "just over": (with_value(1.0001), "1.0001", "np.clip"),
    "bytes as floats": (with_value(255.0), "0.5 to 255", "frame / 255"),
    "too large for float32": (with_value(1e300, np.float64), "1e+300", "normalisation"),
}


@pytest.mark.parametrize(("frame", "got", "remedy"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_what_was_got_what_is_allowed_and_the_remedy(frame, got, remedy):
    with pytest.raises(FrameError) as caught:
        as_rgb(frame)
    assert got in caught.value.problem
    assert remedy in caught.value.remedy


def test_unknown_color():
    with pytest.raises(OptionError, match="'gbr'"):
        as_rgb(good(16, 16, 3), "gbr")


def test_float64_is_rounded_once():
    assert_allclose(as_rgb(np.full((16, 16, 3), 1 / 3)), np.float32(1 / 3), rtol=0)
