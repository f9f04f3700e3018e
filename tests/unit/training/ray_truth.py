"""What a camera sees of solids, worked out again in float64 with none of the renderer's code.

Boxes by their six faces, ellipsoids and cylinders by the closed formula of a quadratic, all in world coordinates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgedepth.training import scenes
from edgedepth.training.scene_layouts import Layout, Pose
from edgedepth.training.scene_shapes import Kind, Solid
from edgedepth.training.scene_view import Camera
from edgedepth.training.scenes import Scene, render_scene

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Staged:
    """A scene, and the place and camera that it is a picture of."""

    scene: Scene
    layout: Layout
    camera: Camera


@contextmanager
def on_stage() -> Iterator[list[tuple[Layout, Camera]]]:
    """Collects what is photographed meanwhile."""
    photographed: list[tuple[Layout, Camera]] = []
    photograph = scenes.photograph

    def remembered(layout: Layout, camera: Camera, *others: Any) -> Any:
        photographed.append((layout, camera))
        return photograph(layout, camera, *others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "photograph", remembered)
        yield photographed


def stage(seed: int, **size: Any) -> Staged:
    with on_stage() as photographed:
        scene = render_scene(seed, **size)
    layout, camera = photographed[-1]
    return Staged(scene=scene, layout=layout, camera=camera)


def place_of(layout: Layout) -> str:
    """room, corridor, street or park, told by what is in it."""
    if layout.light.lamp is None:
        # Only streets have pavements.
        return "street" if any(np.allclose(s.half, (6, 0.06, 200)) for s in layout.solids) else "park"
    walls = next(s for s in layout.solids if s.kind is Kind.SHELL)
    return "corridor" if walls.half[0] * 2 < 2.5 else "room"


def rays(pose: Pose, fov_deg: float, width: int, height: int, squash: float = 1.0) -> Floats:
    """(H, W, 3) directions in the world, one metre along the optical axis: roll, then pitch, then yaw."""
    focal = width / 2 / math.tan(math.radians(fov_deg) / 2)
    x, y = np.meshgrid(
        (np.arange(width) + 0.5 - width / 2) / focal, (np.arange(height) + 0.5 - height / 2) / (focal * squash)
    )
    cos, sin = math.cos(pose.roll_rad), math.sin(pose.roll_rad)
    right, up = x * cos - y * sin, -(x * sin + y * cos)
    cos, sin = math.cos(pose.pitch_rad), math.sin(pose.pitch_rad)
    up, ahead = up * cos + sin, cos - up * sin
    cos, sin = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    return np.stack([right * cos + ahead * sin, up, ahead * cos - right * sin], axis=-1)


def first_hit(solid: Solid, origin: Floats, direction: Floats) -> Floats:
    """(H, W) depth at which rays first meet a solid; inf where they don't."""
    if solid.kind is Kind.BALL:
        near, _ = _quadratic(solid, origin, direction, (0, 1, 2))
        return np.where(near > 0, near, np.inf)
    if solid.kind is Kind.CYLINDER:
        return _cylinder(solid, origin, direction)
    return _box(solid, origin, direction)


def nearest(solids: Sequence[Solid], origin: Floats, direction: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """(H, W) depth, inf where nothing is hit, and the index of the solid, -1 there."""
    depth = np.full(direction.shape[:-1], np.inf)
    owner = np.full(depth.shape, -1)
    for index, solid in enumerate(solids):
        hit = first_hit(solid, origin, direction)
        owner[hit < depth] = index
        depth = np.minimum(depth, hit)
    return depth, owner


def _box(solid: Solid, origin: Floats, direction: Floats) -> Floats:
    """The nearest of six faces in front of the camera; of a shell too, for the camera is in it."""
    best = np.full(direction.shape[:-1], np.inf)
    for axis in range(3):
        for side in (-1, 1):
            normal = solid.turn[:, axis]
            facing = direction @ normal
            t = (solid.center + side * solid.half[axis] * normal - origin) @ normal / np.where(facing, facing, np.nan)
            point = origin + t[..., None] * direction - solid.center
            inside = t > 0
            for other in {0, 1, 2} - {axis}:
                inside &= np.abs(point @ solid.turn[:, other]) <= solid.half[other]
            best = np.where(inside & (t < best), t, best)
    return best


def _cylinder(solid: Solid, origin: Floats, direction: Floats) -> Floats:
    """Its mantle and its two lids."""
    start, along = (origin - solid.center) @ solid.turn, direction @ solid.turn
    near, _ = _quadratic(solid, origin, direction, (0, 2))
    mantle = np.where(np.isfinite(near), near, 0.0)
    on_mantle = (mantle > 0) & (np.abs(start[1] + mantle * along[..., 1]) <= solid.half[1])
    best = np.where(on_mantle, mantle, np.inf)
    for side in (-1, 1):
        t = (side * solid.half[1] - start[1]) / along[..., 1]
        reach = sum(((start[k] + t * along[..., k]) / solid.half[k]) ** 2 for k in (0, 2))
        best = np.where((t > 0) & (reach <= 1) & (t < best), t, best)
    return best


def _quadratic(solid: Solid, origin: Floats, direction: Floats, axes: Sequence[int]) -> tuple[Floats, Floats]:
    """Both t at which the sum over axes of (coordinate / half size)² is 1; inf and -inf where there are none."""
    start = (origin - solid.center) @ solid.turn / solid.half
    along = direction @ solid.turn / solid.half
    a = sum(along[..., k] ** 2 for k in axes)
    b = sum(2 * start[k] * along[..., k] for k in axes)
    c = sum(start[k] ** 2 for k in axes) - 1
    discriminant = b * b - 4 * a * c
    # Without cancellation: one root by the sum of equal signs, the other by Vieta.
    sum_of_equal_signs = -0.5 * (b + np.copysign(np.sqrt(np.maximum(discriminant, 0)), b))
    one, other = sum_of_equal_signs / a, c / sum_of_equal_signs
    hit = discriminant > 0
    return np.where(hit, np.minimum(one, other), np.inf), np.where(hit, np.maximum(one, other), -np.inf)
