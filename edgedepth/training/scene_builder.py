"""Collects the solids, materials and objects of a procedural scene while they are placed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

import numpy as np

from edgedepth.training.scene_layouts import Layout, Light, Pose
from edgedepth.training.scene_materials import Material
from edgedepth.training.scene_palette import Palette
from edgedepth.training.scene_shapes import Array, Kind, Solid, yaw_matrix

__all__ = ["Maker", "SceneBuilder"]


@dataclass(slots=True)
class SceneBuilder:
    """Collects solids, materials and objects while a layout places them.

    Makers build an object around the origin, with y = 0 as the floor; `begin` says where it stands.

    Args:
        random: that everything is drawn from.
    """

    random: Random
    palette: Palette = field(init=False)
    solids: list[Solid] = field(default_factory=list)
    materials: list[Material] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    _offset: Array = field(default_factory=lambda: np.zeros(3))
    _turn: Array = field(default_factory=lambda: np.eye(3))

    def __post_init__(self) -> None:
        """Give the builder its palette."""
        self.palette = Palette(self.random)

    def material(self, material: Material) -> int:
        """Index of a material, added."""
        self.materials.append(material)
        return len(self.materials) - 1

    def begin(self, name: str, *, x: float, z: float, yaw_rad: float) -> None:
        """Start an object on the floor: what is added from now on is part of it."""
        self.objects.append(name)
        self._offset, self._turn = np.array([x, 0.0, z]), yaw_matrix(yaw_rad)

    def add(
        self,
        kind: Kind,
        center: tuple[float, float, float],
        size: tuple[float, float, float],
        material: int,
        *,
        turn: Array | None = None,
    ) -> None:
        """Add a solid of the object begun last, by full sizes in metres."""
        solid = Solid(
            kind=kind,
            center=self._turn @ np.array(center) + self._offset,
            half=np.array(size) / 2,
            turn=self._turn if turn is None else self._turn @ turn,
            materials=(material, material, material),
            owner=len(self.objects) - 1,
        )
        self.solids.append(solid)

    def place(
        self,
        center: tuple[float, float, float],
        size: tuple[float, float, float],
        materials: tuple[int, int, int],
        *,
        kind: Kind = Kind.BOX,
    ) -> None:
        """Add a solid of the place itself, by full sizes in metres; materials of its sides, top and bottom."""
        solid = Solid(
            kind=kind,
            center=np.array(center),
            half=np.array(size) / 2,
            turn=np.eye(3),
            materials=materials,
            casts_shadow=kind is not Kind.SHELL,
        )
        self.solids.append(solid)

    def finish(self, light: Light, pose: Pose) -> Layout:
        """What was placed, with its light and the camera."""
        return Layout(
            solids=tuple(self.solids),
            materials=tuple(self.materials),
            objects=tuple(self.objects),
            light=light,
            pose=pose,
        )

    def legs(self, width: float, depth: float, height: float, thick: float, material: int) -> None:
        """Four upright legs inside a width x depth footprint."""
        for x in (-1, 1):
            for z in (-1, 1):
                self.add(
                    Kind.BOX,
                    (x * (width - thick) / 2, height / 2, z * (depth - thick) / 2),
                    (thick, height, thick),
                    material,
                )


Maker: TypeAlias = Callable[[SceneBuilder], None]
"""Adds the solids of an object that was begun."""
