"""DepthResult: what EdgeDepth gives for a frame, and the forms in which it is kept."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.cameras.points import PointCloud, back_project, make_points
from edgedepth.coloring import color_range, colorize, stamp
from edgedepth.core.errors import OptionError, OutputError
from edgedepth.core.files import write_file
from edgedepth.core.plain import to_plain
from edgedepth.core.session import Array
from edgedepth.core.spec import Precision
from edgedepth.programs.prediction import ScaleShift
from edgedepth.programs.reuse import EncodedTiles

__all__ = ["PNG16_MAX_M", "DepthResult", "FrameStamp", "write_picture"]

PNG16_MAX_M = 65.535
"""Where 16 bits of millimetres end."""

_COLOR_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameStamp:
    """Which frame of a stream.

    Args:
        index: counted from 0 by the source, frames that were dropped included.
        time_s: of a video its own time, else seconds since 1970, as the source tells them.
    """

    index: int
    time_s: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DepthResult:
    """Depth of one frame.

    Args:
        depth: (H, W) float32 in m, at the frame's size: distance along the camera's axis (Z), not along the ray.
        inverse_depth: (H, W) float32 in 1/m, as the model gives it before it is clamped and inverted.
        focal_px: focal length in pixels of the frame, which the metres rest on.
        fov_deg: the horizontal field of view that belongs to it, in degrees.
        focal_source: where the focal length came from: "given", "predicted", "median" of a stream's first ones.
        kind: "metric"; "relative_inverse" for depth without a scale: inverse_depth is the network's raw output, and
            depth is 1 over it, in no unit, NaN where that is not positive.
        model: the model's name.
        trained: False for random weights: the depth means nothing, and pictures of it say so.
        backend: what ran it: "onnx", "torch".
        device: where, in words: "cpu".
        timings_ms: milliseconds by step.
        scale_shift: of a model of relative depth: what made metres of it, and how many pixels were clamped.
        camera: that was given, for this frame's size.
        encoded: what of it was computed and what kept of earlier frames; None where nothing is ever kept.
        stamp: which frame of a stream it is of.
        precision: that the bundle is for: "fp16"; of the reference "fp32".
    """

    depth: Array = field(repr=False)
    inverse_depth: Array = field(repr=False)
    focal_px: float
    fov_deg: float
    focal_source: str
    kind: Literal["metric", "relative_inverse"]
    model: str
    trained: bool
    backend: str
    device: str
    timings_ms: Mapping[str, float]
    scale_shift: ScaleShift | None = None
    camera: Intrinsics | None = None
    encoded: EncodedTiles | None = None
    stamp: FrameStamp | None = None
    precision: Precision = "fp32"

    def color_range(self) -> tuple[float, float]:
        """near_m and far_m that colorize() takes by itself: lock them for a video, or its colours flicker.

        >>> near_m, far_m = first.color_range()                     # doctest: +SKIP
        >>> pictures = [r.colorize(near_m, far_m) for r in results]  # doctest: +SKIP
        """
        return color_range(self.depth)

    def colorize(
        self, near_m: float | None = None, far_m: float | None = None, colormap: str = "turbo"
    ) -> npt.NDArray[np.uint8]:
        """A picture of the depth, coloured by inverse depth: near is warm, far is cold, no data is black.

        Args:
            near_m: metres that get the warmest colour. None: by this frame (color_range).
            far_m: metres that get the coldest colour. None: by this frame.
            colormap: "turbo", "inferno", "magma", "plasma", "viridis" or "cividis".

        Returns:
            (H, W, 3) uint8, BGR as OpenCV shows and writes it. "UNTRAINED" stands in it when the weights are random.

        Raises:
            OptionError: an unknown colormap, or a range that isn't 0 < near_m < far_m.
        """
        picture = colorize(self.depth, near_m, far_m, colormap)
        if not self.trained:
            stamp(picture, "UNTRAINED")
        return picture

    def intrinsics(self) -> Intrinsics:
        """The camera: the one that was given, else a pinhole camera with square pixels and its axis through the middle.

        Pixel centres have whole numbers, so that the middle is ((W - 1) / 2, (H - 1) / 2).

        Raises:
            OptionError: nothing tells the focal length.
        """
        if self.camera is not None:
            return self.camera
        self._check_focal()
        height, width = self.depth.shape
        return Intrinsics(
            fx=self.focal_px,
            fy=self.focal_px,
            cx=(width - 1) / 2,
            cy=(height - 1) / 2,
            width=width,
            height=height,
            source=self.focal_source,
        )

    def points(self) -> Array:
        """The frame's pixels as points in space, looked through at their centres; see intrinsics().

        Returns:
            (H, W, 3) float32 in m, in the camera's frame: X right, Y down, Z forward (OpenCV, ROS optical).
            reshape(-1, 3) makes a list of them; NaN where the depth is NaN.

        Raises:
            OptionError: nothing tells the focal length, or the depth is relative.
        """
        self._check_metric("points in space")
        camera = self.camera
        if camera is not None:
            return back_project(self.depth, (camera.fx, camera.fy), (camera.cx, camera.cy))
        self._check_focal()
        height, width = self.depth.shape
        return back_project(self.depth, (self.focal_px, self.focal_px), ((width - 1) / 2, (height - 1) / 2))

    def point_cloud(
        self, rgb: npt.NDArray[np.uint8] | None = None, *, near_m: float = 0.0, far_m: float = math.inf
    ) -> PointCloud:
        """The points with colours, without what is nearer or farther; PointCloud.save() writes .ply and .npz.

        Args:
            rgb: (H, W, 3) uint8: the frame, in RGB.
            near_m: nearer points are holes.
            far_m: farther points are holes: skies reach out to 10 km.

        Raises:
            OptionError: as points(), or a range that isn't one.
            FrameError: colours of another size.
        """
        self._check_metric("points in space")
        return make_points(self.depth, self.intrinsics(), rgb, near_m=near_m, far_m=far_m)

    def save_png16(self, path: str | os.PathLike[str]) -> Path:
        """Save the depth as a 16-bit PNG in whole millimetres, as RGB-D tools and ROS (16UC1) read it.

        0 is no data; 65535 is 65.535 m and everything beyond; what is nearer than 1 mm is 1.

        Raises:
            OptionError: the name doesn't end in .png, or the depth is relative.
            OutputError: it can't be written. The file is then the old one, or none.
        """
        self._check_metric("millimetres")
        _check_suffix(path, (".png",))
        return write_picture(path, self.millimetres())

    def millimetres(self) -> npt.NDArray[np.uint16]:
        """(H, W) uint16: depth in whole millimetres as save_png16 writes it; 0 is no data, 65535 the end.

        Raises:
            OptionError: the depth is relative.
        """
        self._check_metric("millimetres")
        millimetres = np.rint(np.clip(self.depth, 0.001, PNG16_MAX_M) * np.float32(1000))
        return np.where(self.depth > 0, millimetres, 0).astype(np.uint16)

    def save_npy(self, path: str | os.PathLike[str]) -> Path:
        """Save the depth as numpy's file of float32 metres, without loss.

        Raises:
            OptionError: the name doesn't end in .npy.
            OutputError: it can't be written. The file is then the old one, or none.
        """
        _check_suffix(path, (".npy",))
        buffer = io.BytesIO()
        np.save(buffer, self.depth, allow_pickle=False)
        return write_file(path, buffer.getbuffer())

    def save_color(
        self,
        path: str | os.PathLike[str],
        near_m: float | None = None,
        far_m: float | None = None,
        colormap: str = "turbo",
    ) -> Path:
        """Save colorize()'s picture as PNG, JPEG or WebP, by the name's suffix.

        Raises:
            OptionError: another suffix, or what colorize() refuses.
            OutputError: it can't be written. The file is then the old one, or none.
        """
        _check_suffix(path, _COLOR_SUFFIXES)
        return write_picture(path, self.colorize(near_m, far_m, colormap))

    def summary(self) -> dict[str, Any]:
        """Everything but the maps, as JSON's plain values; depths in m, null where nothing was measured."""
        height, width = self.depth.shape
        measured = self.depth[(self.depth > 0) & np.isfinite(self.depth)]
        low, median, high = np.percentile(measured, (0, 50, 100)).tolist() if measured.size else (None, None, None)
        return {
            "model": self.model,
            "kind": self.kind,
            "trained": self.trained,
            "backend": self.backend,
            "device": self.device,
            "width": width,
            "height": height,
            "focal_px": _known(self.focal_px),
            "focal_source": self.focal_source,
            "fov_deg": _known(self.fov_deg),
            "depth_m": {"min": low, "median": median, "max": high},
            "timings_ms": {step: float(value) for step, value in self.timings_ms.items()},
            "scale_shift": to_plain(self.scale_shift),
            "encoded": to_plain(self.encoded),
            "stamp": to_plain(self.stamp),
        }

    def _check_focal(self) -> None:
        if math.isnan(self.focal_px):
            raise OptionError(
                f"{self.model} predicts no focal length, and none was given: points in space need one",
                remedy="infer(frame, focal_px=...)",
            )

    def _check_metric(self, what: str) -> None:
        if self.kind != "metric":
            raise OptionError(
                f"this depth is relative, without a scale: there are no {what}",
                remedy="pass a caption or scale_shift to infer(); save_npy() and colorize() work without",
            )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _check_suffix(path: str | os.PathLike[str], allowed: tuple[str, ...]) -> None:
    path = Path(path)
    if path.suffix.lower() not in allowed:
        raise OptionError(
            f"the file name {path.name!r} ends in {path.suffix or 'no suffix'}; allowed: {', '.join(allowed)}",
            remedy=f"call it {path.with_suffix(allowed[0]).name}" if path.name else "give a file name",
        )


def write_picture(path: str | os.PathLike[str], picture: npt.NDArray[Any]) -> Path:
    """Encode a picture by its name's suffix and write it whole.

    Args:
        path: ends in .png, .jpg, .jpeg or .webp.
        picture: (H, W) or (H, W, 3) in BGR, uint8 or uint16.

    Raises:
        OutputError: it can't be encoded or written.
    """
    # Encoded in memory: cv2.imwrite tells a full disk by returning False, and leaves half a file.
    suffix = Path(path).suffix.lower()
    try:
        encoded, content = cv2.imencode(suffix, picture)
    except cv2.error:  # OpenCV 4 raises where OpenCV 5 returns False
        encoded = False
    if not encoded:
        raise OutputError(f"OpenCV can't encode {path} as {suffix}", remedy="save it as .png")
    return write_file(path, content.data)
