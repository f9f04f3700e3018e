"""A camera's intrinsics, and how they change with the picture. Pure functions.

Pixel centres have whole numbers, as in OpenCV and ROS: the middle of a picture is ((W - 1) / 2, (H - 1) / 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import IntrinsicsError
from edgedepth.programs.metric import MAX_FOV_DEG, MIN_FOV_DEG, fov_deg_from_focal

__all__ = ["DISTORTION_MODELS", "Intrinsics", "distortion_of"]

DISTORTION_MODELS = {
    "none": (0,),
    "plumb_bob": (4, 5),
    "rational_polynomial": (8, 12, 14),
    "equidistant": (4,),
}
"""Distortion models by ROS's names, and how many coefficients each may have, in OpenCV's order."""

_MAX_SIDE = 1 << 16
_ENDLESS = 1e15  # no camera has such a number
_REMEDY = "calibrate the camera, or leave its description out and let the model predict the focal length"


@dataclass(frozen=True, slots=True, kw_only=True)
class Intrinsics:
    """A pinhole camera with distortion.

    Args:
        fx: horizontal focal length in pixels.
        fy: vertical focal length in pixels.
        cx: column of the principal point; the centre of the first pixel is 0.
        cy: row of the principal point.
        width: of the picture that this holds for, in pixels.
        height: likewise.
        model: of the distortion, one of DISTORTION_MODELS.
        distortion: its coefficients: k1, k2, p1, p2, k3, ... of plumb_bob and rational_polynomial, k1 to k4 of
            equidistant (fisheye).
        source: where this came from, for people.

    Raises:
        IntrinsicsError: a focal length that isn't positive or can't be one of this width, a principal point far off
            the picture, a distortion model that isn't known, coefficients that aren't numbers.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    model: str = "none"
    distortion: tuple[float, ...] = ()
    source: str = "given"

    def __post_init__(self) -> None:
        """Refuse what can't be a camera."""
        for name in ("width", "height"):
            side = getattr(self, name)
            if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= _MAX_SIDE:
                raise IntrinsicsError(
                    f"the camera's {name} is {side!r:.40}; allowed are 1 to {_MAX_SIDE} whole pixels", remedy=_REMEDY
                )
        for name in ("fx", "fy", "cx", "cy"):
            value = getattr(self, name)
            if not _is_number(value):
                raise IntrinsicsError(f"the camera's {name} is {value!r:.40}; allowed are numbers", remedy=_REMEDY)
        for name, side in (("fx", self.width), ("fy", self.height)):
            _check_focal(name, getattr(self, name), side)
        if not (-self.width <= self.cx <= 2 * self.width and -self.height <= self.cy <= 2 * self.height):
            raise IntrinsicsError(
                f"the camera's principal point is ({self.cx:g}, {self.cy:g}), far off its {self.width} x {self.height} "
                "pixels",
                remedy=_REMEDY,
            )
        self._check_distortion()

    @property
    def matrix(self) -> npt.NDArray[np.float64]:
        """K, (3, 3) float64."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float64)

    @property
    def fov_deg(self) -> float:
        """The horizontal field of view in degrees, of a pinhole camera in the middle of the picture."""
        return fov_deg_from_focal(self.fx, self.width)

    @property
    def distorts(self) -> bool:
        """Whether straight lines come out bent."""
        return any(self.distortion)

    def resized(self, width: int, height: int) -> Intrinsics:
        """Of the same picture resized to other sides; they may be squashed."""
        across, down = width / self.width, height / self.height
        return replace(
            self,
            fx=self.fx * across,
            fy=self.fy * down,
            # Corners of the picture scale about each other, and centres lie half a pixel from them.
            cx=(self.cx + 0.5) * across - 0.5,
            cy=(self.cy + 0.5) * down - 0.5,
            width=width,
            height=height,
        )

    def cropped(self, left: int, top: int, width: int, height: int) -> Intrinsics:
        """Of a part of the picture.

        Raises:
            IntrinsicsError: it doesn't lie within the picture.
        """
        if min(left, top) < 0 or min(width, height) < 1 or left + width > self.width or top + height > self.height:
            raise IntrinsicsError(
                f"the part at ({left}, {top}) of {width} x {height} pixels doesn't lie within {self.width} x "
                f"{self.height}",
                remedy="crop within the picture",
            )
        return replace(self, cx=self.cx - left, cy=self.cy - top, width=width, height=height)

    def for_frame(self, width: int, height: int) -> Intrinsics:
        """Of a frame of this size, which is this camera's whole picture.

        Raises:
            IntrinsicsError: the frame has another aspect ratio: whether it was cropped or squashed can't be told.
        """
        if (width, height) == (self.width, self.height):
            return self
        # A resize rounds each side by up to a pixel.
        if abs(width * self.height - height * self.width) > max(self.width, self.height):
            raise IntrinsicsError(
                f"the frame is {width} x {height} pixels, the camera's description is of {self.width} x {self.height}: "
                "another aspect ratio",
                remedy="give the intrinsics of this frame: camera.cropped(...) or camera.resized(...)",
            )
        return self.resized(width, height)

    def _check_distortion(self) -> None:
        if self.model not in DISTORTION_MODELS:
            raise IntrinsicsError(
                f"the distortion model is {self.model!r}; known are {', '.join(DISTORTION_MODELS)}",
                remedy="undistort the frames with what calibrated the camera, and describe the result",
            )
        if not all(map(_is_number, self.distortion)):
            raise IntrinsicsError(f"the distortion is {self.distortion!r:.90}; allowed are numbers", remedy=_REMEDY)
        counts = DISTORTION_MODELS[self.model]
        if len(self.distortion) not in counts:
            raise IntrinsicsError(
                f"{self.model} distortion has {' or '.join(map(str, counts))} coefficients; got {len(self.distortion)}",
                remedy=_REMEDY,
            )


def distortion_of(model: str, coefficients: Sequence[float]) -> tuple[str, tuple[float, ...]]:
    """A distortion as files tell it: all zeros, or none, are no distortion."""
    values = tuple(float(value) for value in coefficients)
    return (model, values) if any(values) or model not in DISTORTION_MODELS else ("none", ())


def _is_number(value: object) -> bool:
    number = isinstance(value, Real) and not isinstance(value, bool)
    # Compared, not converted: float() of a huge int overflows.
    return number and -_ENDLESS < value < _ENDLESS  # type: ignore[operator]


def _check_focal(name: str, focal_px: float, side: int) -> None:
    fov_deg = fov_deg_from_focal(focal_px, side) if focal_px > 0 else 180.0
    # Wider than the limits of a width: a panorama's height is an eighth of it.
    if focal_px <= 0 or not MIN_FOV_DEG / 8 <= fov_deg <= MAX_FOV_DEG:
        raise IntrinsicsError(
            f"the camera's {name} is {focal_px:g}; allowed are positive numbers, in pixels of a picture {side} pixels "
            "long (is it in millimetres?)",
            remedy=_REMEDY,
        )
