"""The node's parameters, and what it does to a frame: all of it but ROS."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.cameras.points import PointCloud, check_clip
from edgedepth.cameras.undistort import Undistorter
from edgedepth.core.errors import OptionError
from edgedepth.facade import EdgeDepth
from edgedepth.programs.metric import focal_px_from_fov
from edgedepth.programs.reuse import reuse_policy
from edgedepth.result import DepthResult
from edgedepth.stream_steps import FovMedian, is_fault

__all__ = ["DepthWork", "NodeSettings"]

log = logging.getLogger("edgedepth")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The node's parameters, by the names that they have in ROS.

    Args:
        bundle: the folder of the bundle; "": the newest of the store.
        backend: as of EdgeDepth.
        device: as of EdgeDepth.
        reuse: the change that is overlooked; below 0: every tile is encoded.
        rate_hz: frames a second at most; 0: as many as the model can.
        compressed: subscribe to CompressedImage.
        points: publish PointCloud2 as well.
        undistort: take CameraInfo's distortion out of the frames first.
        near_m: points nearer than this are left out.
        far_m: points farther than this are left out.
        timeout_s: after which a hung backend is an error; 0: never.
        restarts: how often a backend that fails or hangs is opened anew; then the node ends with its error.
        fov_frames: without CameraInfo, as of EdgeDepth.stream().
    """

    bundle: str = ""
    backend: str = "auto"
    device: str = "auto"
    reuse: float = -1.0
    rate_hz: float = 0.0
    compressed: bool = False
    points: bool = True
    undistort: bool = False
    near_m: float = 0.0
    far_m: float = 100.0
    timeout_s: float = 0.0
    restarts: int = 1
    fov_frames: int = 5

    @classmethod
    def of(cls, parameters: Mapping[str, Any]) -> NodeSettings:
        """From parameters by name.

        Raises:
            OptionError: a name that isn't known, or a value that isn't allowed.
        """
        known = {field.name: type(field.default) for field in fields(cls)}
        for name, value in parameters.items():
            if name not in known:
                raise OptionError(f"there is no parameter {name!r}", remedy=f"known are {', '.join(known)}")
            if type(value) is not known[name] and not (known[name] is float and type(value) is int):
                raise OptionError(
                    f"parameter {name} is {value!r}; allowed is a {known[name].__name__}",
                    remedy="correct the launch file",
                )
        return cls(**dict(parameters))

    def __post_init__(self) -> None:
        """Refuse at the start what every frame would be refused for."""
        for name in ("rate_hz", "timeout_s"):
            if not 0 <= getattr(self, name) < math.inf:
                raise OptionError(
                    f"parameter {name} is {getattr(self, name)}; allowed are 0 and more",
                    remedy="correct the launch file",
                )
        for name in ("restarts", "fov_frames"):
            if getattr(self, name) < 0:
                raise OptionError(
                    f"parameter {name} is {getattr(self, name)}; allowed are 0 and more",
                    remedy="correct the launch file",
                )
        check_clip(self.near_m, self.far_m)
        if not self.reuse < 0:
            reuse_policy(self.reuse)

    def open(self) -> EdgeDepth:
        """The model.

        Raises:
            EdgeDepthError: as EdgeDepth.
        """
        return EdgeDepth(
            self.bundle or None,
            backend=self.backend,
            device=self.device,
            color="rgb",
            timeout_s=self.timeout_s or None,
        )


class DepthWork:
    """What the node does with a frame.

    Args:
        model: that takes RGB.
        settings: the parameters.
    """

    def __init__(self, model: EdgeDepth, settings: NodeSettings) -> None:
        self.restarts = 0
        self._model = model
        self._settings = settings
        self._fov = FovMedian(settings.fov_frames)
        self._undistorter: Undistorter | None = None
        self._last_s = float("-inf")

    def is_due(self) -> bool:
        """Whether rate_hz lets another frame through now; if so, it counts as taken."""
        now = time.monotonic()
        if self._settings.rate_hz > 0 and now - self._last_s < 1 / self._settings.rate_hz:
            return False
        self._last_s = now
        return True

    def infer(
        self, rgb: npt.NDArray[np.uint8], camera: Intrinsics | None
    ) -> tuple[DepthResult, Intrinsics, PointCloud | None]:
        """Depth, the camera that it is of, and the points.

        Args:
            rgb: (H, W, 3) uint8.
            camera: by CameraInfo, or None: the field of view is predicted, and fixed after the first frames.

        Raises:
            EdgeDepthError: as EdgeDepth.infer().
        """
        settings = self._settings
        reuse = settings.reuse if settings.reuse >= 0 else None
        focal_px = None
        if camera is None and not self._fov.wanted and self._fov.value is not None:
            focal_px = focal_px_from_fov(self._fov.value, rgb.shape[1])
        undistort = settings.undistort and camera is not None
        result = self._infer(rgb, camera=camera, focal_px=focal_px, undistort=undistort, reuse=reuse)
        if camera is None and focal_px is None:
            self._fov.add(result.fov_deg)
        cloud = None
        if settings.points:
            colors = self._undistorted(rgb, camera) if settings.undistort and camera is not None else rgb
            cloud = result.point_cloud(colors, near_m=settings.near_m, far_m=settings.far_m)
        return result, result.intrinsics(), cloud

    def _undistorted(self, rgb: npt.NDArray[np.uint8], camera: Intrinsics) -> npt.NDArray[np.uint8]:
        """The colours as the undistorted depth sees them; look-up tables are kept for the next frame."""
        camera = camera.for_frame(rgb.shape[1], rgb.shape[0])
        if self._undistorter is None or self._undistorter.source != camera:
            self._undistorter = Undistorter(camera)
        return self._undistorter(rgb)

    def _infer(self, rgb: npt.NDArray[np.uint8], **options: Any) -> DepthResult:
        while True:
            try:
                return self._model.infer(rgb, **options)
            except Exception as error:
                if not is_fault(error) or self.restarts >= self._settings.restarts:
                    raise
                self.restarts += 1
                log.warning("the backend failed and is opened anew: %s", error)
                self._model.reopen()
