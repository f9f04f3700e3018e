"""What a furnished place is: its solids, objects, light and camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgedepth.training.scene_materials import Material
from edgedepth.training.scene_shapes import Array, Solid

__all__ = ["WALL_THINGS", "Layout", "Light", "Pose"]

WALL_THINGS = ("door", "window", "picture")
"""Objects that lie flat on a wall: counted in captions, but no foreground."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """How a place is lit.

    Args:
        direction: (3,) unit vector towards the distant light.
        sun: its strength.
        ambient: strength of the light from everywhere.
        lamp: (3,) position of a lamp in metres, or None.
        reach_m: half side of the area around the camera's view in which shadows fall.
        sky: linear RGB, also of the haze.
        haze_m: distance at which haze takes half the contrast; inf indoors.
    """

    direction: Array
    sun: float
    ambient: float
    lamp: Array | None
    reach_m: float
    sky: tuple[float, float, float]
    haze_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Where the camera stands and looks.

    Args:
        position: (3,) in metres.
        yaw_rad: 0 looks along +z.
        pitch_rad: positive looks up.
        roll_rad: positive leans right.
    """

    position: Array
    yaw_rad: float
    pitch_rad: float
    roll_rad: float

    def axes(self) -> Array:
        """(3, 3), rows right, down and forward in the world."""
        cy, sy = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        cp, sp = math.cos(self.pitch_rad), math.sin(self.pitch_rad)
        forward = np.array([sy * cp, sp, cy * cp])
        right = np.array([cy, 0.0, -sy])
        down = np.cross(right, forward)
        c, s = math.cos(self.roll_rad), math.sin(self.roll_rad)
        return np.stack([c * right + s * down, c * down - s * right, forward])


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A furnished place.

    Args:
        solids: everything that can be hit.
        materials: that the solids name by index.
        objects: the name of each object, by a solid's `owner`.
        light: of the place.
        pose: of the camera.
    """

    solids: tuple[Solid, ...]
    materials: tuple[Material, ...]
    objects: tuple[str, ...]
    light: Light
    pose: Pose
