"""The solids that procedural scenes are made of, and where rays enter them.

Every solid is a unit shape under an affine map: a cube, a ball or an upright cylinder, stretched by its half
sizes, turned and moved. In its own coordinates a ray meets each solid in one interval of the ray's parameter,
the intersection of slabs |x| <= 1 and quadrics x² + z² <= 1. The shell is a cube seen from within.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Array", "Kind", "Solid", "enter", "unit_corners", "yaw_matrix"]

Array: TypeAlias = npt.NDArray[np.floating]
"""float64 for what is per solid, float32 or float64 for what is per pixel."""


class Kind(Enum):
    """The unit shape of a solid."""

    BOX = "box"
    BALL = "ball"
    CYLINDER = "cylinder"
    SHELL = "shell"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solid:
    """One solid of a scene, in a world whose y points up.

    Args:
        kind: its unit shape.
        center: (3,) in metres.
        half: (3,) half sizes along its own axes, in metres.
        turn: (3, 3) rotation whose columns are its own axes in the world.
        materials: indices of the scene's materials: of the sides, the top and the bottom (of a shell: walls,
            ceiling and floor).
        owner: index of the object that it is part of; -1 for the ground, walls and ceilings.
        casts_shadow: False for what encloses the scene.
    """

    kind: Kind
    center: Array
    half: Array
    turn: Array
    materials: tuple[int, int, int]
    owner: int = -1
    casts_shadow: bool = True

    def local_from_world(self) -> Array:
        """(3, 3) map from world directions to the unit shape's."""
        inverse: Array = self.turn.T / self.half[:, None]
        return inverse


def yaw_matrix(yaw_rad: float) -> Array:
    """(3, 3) rotation about the upward axis."""
    cosine, sine = float(np.cos(yaw_rad)), float(np.sin(yaw_rad))
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def unit_corners() -> Array:
    """(8, 3) corners of the unit cube, which bounds every unit shape."""
    signs = (-1.0, 1.0)
    return np.array([(x, y, z) for x in signs for y in signs for z in signs])


def _slab(origin: Array, direction: Array) -> tuple[Array, Array]:
    inverse = 1.0 / direction
    middle = -origin * inverse
    half = np.abs(inverse)
    return middle - half, middle + half


def _quadric(origins: tuple[Array, ...], directions: tuple[Array, ...]) -> tuple[Array, Array]:
    """Interval inside the sum of squares <= 1, empty (inf, -inf) where the ray misses.

    In float64: near the silhouette the discriminant is a small difference of large numbers.
    """
    o = [np.asarray(x, np.float64) for x in origins]
    d = [np.asarray(x, np.float64) for x in directions]
    a = sum(x * x for x in d)
    b = sum(x * y for x, y in zip(o, d, strict=True))
    c = sum(x * x for x in o) - 1.0
    discriminant = b * b - a * c
    root = np.sqrt(np.maximum(discriminant, 0.0))
    hit = discriminant > 0
    return np.where(hit, (-b - root) / a, np.inf), np.where(hit, (-b + root) / a, -np.inf)


def enter(kind: Kind, origin: tuple[Array, Array, Array], direction: tuple[Array, Array, Array]) -> Array:
    """Ray parameter at which rays meet a unit shape's surface.

    Args:
        kind: the shape.
        origin: x, y, z of the rays' origins in the shape's coordinates; each a scalar or an array.
        direction: likewise; no component may be exactly 0 (callers add a tiny offset).

    Returns:
        The broadcast shape; inf where the ray misses or the surface is behind its origin.
    """
    if kind in (Kind.BOX, Kind.SHELL):
        intervals = [_slab(o, d) for o, d in zip(origin, direction, strict=True)]
    elif kind is Kind.BALL:
        intervals = [_quadric(origin, direction)]
    else:
        intervals = [
            _slab(origin[1], direction[1]),
            _quadric((origin[0], origin[2]), (direction[0], direction[2])),
        ]
    near, far = intervals[0]
    for other_near, other_far in intervals[1:]:
        near, far = np.maximum(near, other_near), np.minimum(far, other_far)
    if kind is Kind.SHELL:
        return far
    return np.where((near < far) & (near > 0), near, np.inf)
