"""Where things stand, where the camera looks and where the light comes from in a procedural place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random

import numpy as np

from edgedepth.training.scene_layouts import Pose
from edgedepth.training.scene_shapes import Array

__all__ = ["RADIUS_M", "Floor", "look_along", "towards_light"]

RADIUS_M: Mapping[str, float] = {
    "table": 0.75, "chair": 0.3, "sofa": 0.85, "bed": 1.1, "bookshelf": 0.4, "cupboard": 0.55, "lamp": 0.2,
    "plant": 0.35, "person": 0.3, "box": 0.35, "stool": 0.22, "ball": 0.2, "clothes rail": 0.6,
    "tree": 1.2, "bush": 0.8, "car": 2.2, "pole": 0.3, "fence": 0.4, "bench": 0.9,
}  # fmt: skip
"""Radius of the disc on the floor that each object keeps to itself."""


class Floor:
    """Keeps things from standing in each other and in the camera.

    Args:
        camera: (3,) position in metres.
        clear_m: radius around the camera that stays free.
    """

    def __init__(self, camera: Array, clear_m: float) -> None:
        self._taken = [(float(camera[0]), float(camera[2]), clear_m)]

    def free(self, x: float, z: float, radius_m: float) -> bool:
        """Whether a disc is free; if so it is taken."""
        if any(math.hypot(x - ox, z - oz) < radius_m + other for ox, oz, other in self._taken):
            return False
        self._taken.append((x, z, radius_m))
        return True


def look_along(random: Random, position: Array, yaw_deg: float) -> Pose:
    """A camera that looks in a direction, mostly a little down, held not quite level."""
    return Pose(
        position=position,
        yaw_rad=math.radians(yaw_deg),
        pitch_rad=math.radians(random.triangular(-28, 12, -7)),
        roll_rad=math.radians(random.triangular(-4, 4, 0)),
    )


def towards_light(random: Random, low_deg: float, high_deg: float) -> Array:
    """(3,) unit vector towards a light between two elevations, from anywhere around."""
    elevation, azimuth = math.radians(random.uniform(low_deg, high_deg)), random.uniform(0, 2 * math.pi)
    flat = math.cos(elevation)
    return np.array([flat * math.sin(azimuth), math.sin(elevation), flat * math.cos(azimuth)])
