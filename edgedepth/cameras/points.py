"""Depth as points in space, and the files that keep them."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from enum import IntEnum
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.core.errors import FrameError, OptionError
from edgedepth.core.files import write_file
from edgedepth.core.session import Array

__all__ = ["Hole", "PointCloud", "back_project", "check_clip", "make_points", "ply_bytes"]


class Hole(IntEnum):
    """Why a pixel has no point. The model tells no confidence: nothing is left out for being unsure."""

    NONE = 0
    NO_DEPTH = 1
    TOO_NEAR = 2
    TOO_FAR = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PointCloud:
    """Points in the order of the picture's pixels.

    Args:
        points: (H, W, 3) float32 in m, in the camera's frame: X right, Y down, Z forward. NaN in holes.
        colors: (H, W, 3) uint8 RGB, or None.
        holes: (H, W) uint8, see Hole.
    """

    points: Array
    colors: npt.NDArray[np.uint8] | None
    holes: npt.NDArray[np.uint8]

    def flat(self) -> tuple[Array, npt.NDArray[np.uint8] | None]:
        """(N, 3) points and (N, 3) colours, without the holes."""
        whole = self.holes == Hole.NONE
        return self.points[whole], None if self.colors is None else self.colors[whole]

    def hole_counts(self) -> dict[str, int]:
        """Pixels without a point, by the reason's name."""
        return {hole.name.lower(): int(np.count_nonzero(self.holes == hole)) for hole in Hole if hole != Hole.NONE}

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save as .ply (binary, without the holes) or .npz (points, colors and holes, in the picture's order).

        Raises:
            OptionError: another suffix.
            OutputError: it can't be written. The file is then the old one, or none.
        """
        suffix = Path(path).suffix.lower()
        if suffix == ".ply":
            return write_file(path, ply_bytes(*self.flat()))
        if suffix == ".npz":
            arrays: dict[str, Any] = {"points": self.points, "holes": self.holes}
            buffer = io.BytesIO()
            np.savez(buffer, **(arrays if self.colors is None else arrays | {"colors": self.colors}))
            return write_file(path, buffer.getbuffer())
        raise OptionError(
            f"the file name {Path(path).name!r} ends in neither .ply nor .npz", remedy="call it cloud.ply"
        )


def back_project(depth: Array, focal_px: tuple[float, float], center: tuple[float, float]) -> Array:
    """(H, W, 3) float32 points in m of a depth map, by the pinhole camera's fx, fy and cx, cy."""
    height, width = depth.shape
    points = np.empty((height, width, 3), np.float32)
    x = ((np.arange(width) - center[0]) / focal_px[0]).astype(np.float32)
    y = ((np.arange(height) - center[1]) / focal_px[1]).astype(np.float32)
    np.multiply(x, depth, out=points[..., 0])
    np.multiply(y[:, None], depth, out=points[..., 1])
    points[..., 2] = depth
    return points


def make_points(
    depth: Array,
    camera: Intrinsics,
    rgb: npt.NDArray[np.uint8] | None = None,
    *,
    near_m: float = 0.0,
    far_m: float = float("inf"),
) -> PointCloud:
    """A point cloud of a depth map.

    Args:
        depth: (H, W) float32 in m.
        camera: of this frame; its distortion is not looked at.
        rgb: (H, W, 3) uint8, the colours.
        near_m: nearer points are holes.
        far_m: farther points are holes.

    Raises:
        FrameError: colours of another size.
        OptionError: a range that isn't 0 <= near_m < far_m.
    """
    check_clip(near_m, far_m)
    if rgb is not None and not (
        isinstance(rgb, np.ndarray) and rgb.shape == (*depth.shape, 3) and rgb.dtype == np.uint8
    ):
        got = f"{rgb.dtype} {rgb.shape}" if isinstance(rgb, np.ndarray) else f"a {type(rgb).__name__}"
        raise FrameError(
            f"the colours are {got}; allowed is uint8 {(*depth.shape, 3)}",
            remedy="pass the frame that the depth is of, in RGB",
        )
    holes = np.full(depth.shape, Hole.NONE, np.uint8)
    holes[depth > far_m] = Hole.TOO_FAR
    holes[depth < near_m] = Hole.TOO_NEAR
    holes[~(np.isfinite(depth) & (depth > 0))] = Hole.NO_DEPTH
    points = back_project(depth, (camera.fx, camera.fy), (camera.cx, camera.cy))
    points[holes != Hole.NONE] = np.nan
    return PointCloud(points=points, colors=rgb, holes=holes)


def check_clip(near_m: object, far_m: object) -> None:
    """Refuse limits between which no point can lie.

    Raises:
        OptionError: not 0 <= near_m < far_m.
    """
    numbers = isinstance(near_m, Real) and isinstance(far_m, Real)
    if not (numbers and 0 <= near_m < far_m):  # type: ignore[operator]
        raise OptionError(
            f"near_m is {near_m!r} and far_m {far_m!r}; allowed are 0 <= near_m < far_m", remedy="far_m=30"
        )


def ply_bytes(points: Array, colors: npt.NDArray[np.uint8] | None) -> bytes:
    """A binary little-endian PLY of (N, 3) float32 points and (N, 3) uint8 colours."""
    fields = [("x", "<f4"), ("y", "<f4"), ("z", "<f4")]
    if colors is not None:
        fields += [("red", "u1"), ("green", "u1"), ("blue", "u1")]
    vertices = np.empty(len(points), fields)
    for index, name in enumerate("xyz"):
        vertices[name] = points[:, index]
    if colors is not None:
        for index, name in enumerate(("red", "green", "blue")):
            vertices[name] = colors[:, index]
    kinds = {"<f4": "float", "u1": "uchar"}
    header = ["ply", "format binary_little_endian 1.0", "comment metres; X right, Y down, Z forward"]
    header += [f"element vertex {len(points)}", *(f"property {kinds[kind]} {name}" for name, kind in fields)]
    return "\n".join([*header, "end_header", ""]).encode("ascii") + vertices.tobytes()
