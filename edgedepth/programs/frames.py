"""What a caller may hand over as a picture, and the one form in which programs see it."""

from __future__ import annotations

from typing import Any, Literal, NoReturn

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import FrameError, OptionError
from edgedepth.core.session import Array

__all__ = ["MAX_SIDE", "MIN_SIDE", "Color", "as_rgb", "check_color"]

Color = Literal["bgr", "rgb"]

MIN_SIDE = 16
MAX_SIDE = 8192
"""Allowed sides of a frame in pixels; 8K is 7680 x 4320."""

_ALLOWED = "allowed are uint8, and float32 or float64 in 0..1"
# x / 255 in float32 for each byte: one table look-up a value is faster than dividing, and rounds the same.
_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)
_TO_RGB = {
    (1, "bgr"): cv2.COLOR_GRAY2RGB,
    (1, "rgb"): cv2.COLOR_GRAY2RGB,
    (3, "bgr"): cv2.COLOR_BGR2RGB,
    (4, "bgr"): cv2.COLOR_BGRA2RGB,
    (4, "rgb"): cv2.COLOR_RGBA2RGB,
}


def check_color(color: str) -> None:
    """Refuse an order of channels that isn't one.

    Raises:
        OptionError: neither "bgr" nor "rgb".
    """
    if color not in ("bgr", "rgb"):
        raise OptionError(f"color is {color!r}; allowed are 'bgr' and 'rgb'", remedy="color='bgr' for cv2.imread")


def as_rgb(frame: object, color: Color = "bgr") -> Array:
    """Check a frame and bring it into the programs' form.

    Args:
        frame: (H, W, 3), (H, W, 4) whose alpha is dropped, (H, W, 1) or (H, W): uint8, or float32 or float64
            in 0..1; sides of 16 to 8192 pixels; any strides; it may be read-only, and is never written to.
            uint16 is refused: whether its white is 65535, 4095 or 1023 can't be told from the array.
        color: order of the channels of (H, W, 3) and (H, W, 4): "bgr" as OpenCV reads them, or "rgb".

    Returns:
        (H, W, 3) float32, RGB in 0..1, C-contiguous. It is the caller's own array when that is already so.

    Raises:
        FrameError: anything else, with what was got, what is allowed and what cures it.
        OptionError: an unknown color.
    """
    check_color(color)
    if not isinstance(frame, np.ndarray):
        _refuse_type(frame)
    _check_shape(frame.shape)
    _check_dtype(frame)
    colours = frame[..., :3] if frame.ndim == 3 else frame
    if frame.dtype != np.uint8:
        _check_range(colours)
        frame = frame.astype(np.float32, copy=False)
    rgb = np.ascontiguousarray(frame)
    channels = frame.shape[2] if frame.ndim == 3 else 1
    if (code := _TO_RGB.get((channels, color))) is not None:
        rgb = cv2.cvtColor(rgb, code)
    return cv2.LUT(rgb, _UNIT) if rgb.dtype == np.uint8 else rgb  # type: ignore[return-value]


def _refuse_type(frame: object) -> NoReturn:
    got = f"the frame is {'None' if frame is None else 'a ' + type(frame).__name__}, not a numpy array"
    if frame is None:
        # cv2.imread and VideoCapture.read don't raise: they hand out None.
        raise FrameError(f"{got}; a camera or file that can't be read gives None", remedy="check that it was read")
    if isinstance(frame, str | bytes) or hasattr(frame, "__fspath__"):
        raise FrameError(got, remedy="read the file first: frame = cv2.imread(path)")
    raise FrameError(got, remedy="convert it first: np.asarray(frame), and color='rgb' if it came from PIL")


def _check_shape(shape: tuple[int, ...]) -> None:
    got = f"the frame's shape is {shape}"
    if len(shape) not in (2, 3):
        raise FrameError(f"{got}; allowed are (H, W), (H, W, 1), (H, W, 3), (H, W, 4)", remedy="pass one picture")
    if 0 in shape:
        raise FrameError(f"{got}: it holds no pixels", remedy="check that the picture was read")
    if len(shape) == 3 and shape[2] not in (1, 3, 4):
        first = shape[0] in (1, 3, 4)
        raise FrameError(
            f"{got}: {shape[2]} channels; allowed are 1, 3 and 4, in the last place",
            remedy="move the channels to the end: np.moveaxis(frame, 0, -1)" if first else "pass frame[..., :3]",
        )
    height, width = shape[:2]
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        small = min(height, width) < MIN_SIDE
        raise FrameError(
            f"the frame is {width} x {height} pixels; allowed are {MIN_SIDE} to {MAX_SIDE} on each side",
            remedy="pass the whole picture, not a crop" if small else "shrink it first: cv2.resize(frame, ...)",
        )


def _check_dtype(frame: npt.NDArray[Any]) -> None:
    if frame.dtype == np.uint16:
        raise FrameError(
            f"the frame's dtype is uint16; {_ALLOWED}: its white level can't be told from the array",
            remedy="divide by it: frame.astype(np.float32) / 65535 (12-bit sensors: 4095)",
        )
    if frame.dtype not in (np.uint8, np.float32, np.float64):
        raise FrameError(f"the frame's dtype is {frame.dtype}; {_ALLOWED}", remedy="convert it: frame.astype(np.uint8)")


def _check_range(colours: npt.NDArray[Any]) -> None:
    low, high = float(colours.min()), float(colours.max())
    if low >= 0 and high <= 1:
        return
    if bad := colours.size - int(np.isfinite(colours).sum()):
        raise FrameError(
            f"the frame has {bad} values that are NaN or infinite; allowed are 0..1",
            remedy="find where they come from; np.nan_to_num(frame) hides them",
        )
    bytes_like = low >= 0 and 1 < high <= 255
    raise FrameError(
        f"the frame's {colours.dtype} values run from {low:g} to {high:g}; allowed are 0..1",
        remedy="frame / 255 if white is 255, np.clip(frame, 0, 1) if it was rounding"
        if bytes_like
        else "undo the normalisation: the model does its own",
    )
