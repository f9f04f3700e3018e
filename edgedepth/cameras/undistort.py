"""A distorted camera's frames as a pinhole camera would see them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.core.errors import IntrinsicsError

__all__ = ["Undistorter"]


class Undistorter:
    """Undistorts frames of one camera; its look-up tables are made once.

    The focal lengths and the principal point stay; what the pinhole camera doesn't see is cut off, and where it sees
    more than the camera did, the picture's edge is repeated: black would be a thing in the scene to the model.

    Args:
        camera: with or without distortion.
    """

    def __init__(self, camera: Intrinsics) -> None:
        self.camera = replace(camera, model="none", distortion=())
        """What the undistorted frames are seen by."""
        self.source = camera
        """The camera itself."""
        self._maps: tuple[Any, Any] | None = None

    def __call__(self, frame: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The undistorted frame, of the same size and dtype; the frame itself where nothing is distorted.

        Raises:
            IntrinsicsError: a frame of another size.
        """
        camera = self.source
        if frame.shape[:2] != (camera.height, camera.width):
            raise IntrinsicsError(
                f"the frame is {frame.shape[1]} x {frame.shape[0]} pixels, the camera's description is of "
                f"{camera.width} x {camera.height}",
                remedy="give the intrinsics of this frame: camera.for_frame(width, height)",
            )
        if not camera.distorts:
            return frame
        if self._maps is None:
            self._maps = _maps(camera)
        undistorted = cv2.remap(frame, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(undistorted)


def _maps(camera: Intrinsics) -> tuple[Any, Any]:
    size = (camera.width, camera.height)
    coefficients = np.array(camera.distortion, np.float64)
    matrix = camera.matrix
    if camera.model == "equidistant":
        return cv2.fisheye.initUndistortRectifyMap(matrix, coefficients, np.eye(3), matrix, size, cv2.CV_32FC1)
    return cv2.initUndistortRectifyMap(matrix, coefficients, np.eye(3), matrix, size, cv2.CV_32FC1)
