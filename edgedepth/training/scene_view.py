"""What a camera or a parallel light sees of solids: the nearest solid and its distance at every pixel.

Each solid is intersected with the rays of its bounding box on the picture only, exactly, so depth has no
tessellation, no z-buffer bits and no sampling in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgedepth.training.scene_shapes import Array, Kind, Solid, enter, unit_corners

__all__ = ["Camera", "ParallelView", "Visible", "local_rays", "look"]

_NEAR_M = 0.05
_NOT_ZERO = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Camera:
    """A pinhole camera whose principal point is the picture's centre.

    Args:
        position: (3,) in the world, metres.
        axes: (3, 3), rows are the picture's right, its down and the viewing direction in the world.
        width: of the picture in pixels.
        height: of the picture in pixels.
        focal_x_px: horizontal focal length.
        focal_y_px: vertical; differs from the horizontal in a picture that was squashed.
    """

    position: Array
    axes: Array
    width: int
    height: int
    focal_x_px: float
    focal_y_px: float

    def coordinates(self) -> tuple[Array, Array]:
        """x of the columns and y of the rows on the plane z = 1."""
        x = (np.arange(self.width) + 0.5 - self.width / 2) / self.focal_x_px
        y = (np.arange(self.height) + 0.5 - self.height / 2) / self.focal_y_px
        return x, y

    def bounds(self, corners: Array) -> tuple[slice, slice] | None:
        """Rows and columns that the hull of `corners` (N, 3) can cover; None where it is out of sight."""
        seen = (corners - self.position) @ self.axes.T
        z = seen[:, 2]
        if (z <= _NEAR_M).all():
            return None
        if (z <= _NEAR_M).any():
            return slice(0, self.height), slice(0, self.width)
        columns = seen[:, 0] / z * self.focal_x_px + self.width / 2
        rows = seen[:, 1] / z * self.focal_y_px + self.height / 2
        return _clipped(rows, columns, self.height, self.width)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ParallelView:
    """Parallel rays through a square window, as a distant light sends them.

    Args:
        center: (3,) middle of the window in the world, metres, before everything that can be hit.
        axes: (3, 3), rows as a camera's.
        half_m: half the window's side in metres.
        side: of the map in pixels.
    """

    center: Array
    axes: Array
    half_m: float
    side: int

    @property
    def width(self) -> int:
        """Of the map in pixels."""
        return self.side

    @property
    def height(self) -> int:
        """Of the map in pixels."""
        return self.side

    def coordinates(self) -> tuple[Array, Array]:
        """x of the columns and y of the rows in metres from the window's middle."""
        steps = ((np.arange(self.side) + 0.5) / self.side * 2 - 1) * self.half_m
        return steps, steps

    def bounds(self, corners: Array) -> tuple[slice, slice] | None:
        """Rows and columns that the hull of `corners` (N, 3) can cover; None where it is outside."""
        seen = (corners - self.center) @ self.axes.T / self.half_m
        return _clipped((seen[:, 1] + 1) / 2 * self.side, (seen[:, 0] + 1) / 2 * self.side, self.side, self.side)


def _clipped(rows: Array, columns: Array, height: int, width: int) -> tuple[slice, slice] | None:
    top, bottom = max(0, int(np.floor(rows.min()))), min(height, int(np.ceil(rows.max())) + 1)
    left, right = max(0, int(np.floor(columns.min()))), min(width, int(np.ceil(columns.max())) + 1)
    return (slice(top, bottom), slice(left, right)) if top < bottom and left < right else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visible:
    """The nearest solid at every pixel.

    Args:
        distance: (H, W) float32: for a camera the depth along its axis, in metres; inf where nothing is hit.
        solid: (H, W) int32 index of the solid, -1 where nothing is hit.
    """

    distance: npt.NDArray[np.float32]
    solid: npt.NDArray[np.int32]


def local_rays(
    view: Camera | ParallelView, solid: Solid, x: Array, y: Array
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    """Origins and directions, in a solid's coordinates, of the rays at broadcastable plane coordinates x and y."""
    local = solid.local_from_world()
    start = view.position if isinstance(view, Camera) else view.center
    origin = local @ (start - solid.center)
    right, down, forward = (local @ view.axes.T).T

    # Summed in float64: float32 would cancel to an exact 0 now and then, and far ground would lose its digits.
    exact_x, exact_y = np.asarray(x, np.float64), np.asarray(y, np.float64)

    def spread(k: int, base: float) -> Array:
        moved: Array = (exact_x * right[k] + (exact_y * down[k] + base)).astype(x.dtype, copy=False)
        return moved

    if isinstance(view, Camera):
        points = tuple(np.asarray(origin[k]).astype(x.dtype) for k in range(3))
        return (points[0], points[1], points[2]), (
            spread(0, forward[0] + _NOT_ZERO),
            spread(1, forward[1] + _NOT_ZERO),
            spread(2, forward[2] + _NOT_ZERO),
        )
    ahead = tuple(np.asarray(forward[k] + _NOT_ZERO).astype(x.dtype) for k in range(3))
    return (spread(0, origin[0]), spread(1, origin[1]), spread(2, origin[2])), (ahead[0], ahead[1], ahead[2])


def look(view: Camera | ParallelView, solids: Sequence[Solid]) -> Visible:
    """Find the nearest solid at every pixel of a view."""
    distance = np.full((view.height, view.width), np.inf, np.float32)
    nearest = np.full((view.height, view.width), -1, np.int32)
    x, y = (c.astype(np.float32) for c in view.coordinates())
    corners = unit_corners()
    for index, solid in enumerate(solids):
        window = view.bounds(corners * solid.half @ solid.turn.T + solid.center)
        if solid.kind is Kind.SHELL:
            window = slice(0, view.height), slice(0, view.width)
        if window is None:
            continue
        rows, columns = window
        found = enter(solid.kind, *local_rays(view, solid, x[None, columns], y[rows, None])).astype(np.float32)
        part = distance[window]
        closer = found < part
        np.copyto(part, found, where=closer)
        np.copyto(nearest[window], np.int32(index), where=closer)
    return Visible(distance=distance, solid=nearest)
