"""Trees, cars and street furniture of solids, in the sizes that the world gives them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgedepth.training.scene_builder import Maker, SceneBuilder
from edgedepth.training.scene_indoor_objects import crate, person
from edgedepth.training.scene_materials import Material
from edgedepth.training.scene_shapes import Kind

__all__ = ["OUTDOOR"]


def _tree(b: SceneBuilder) -> None:
    """A tree of three to nine metres."""
    r = b.random
    height, leaf = r.uniform(3, 9), b.material(b.palette.green())
    trunk = b.material(b.palette.wood())
    b.add(Kind.CYLINDER, (0, height * 0.3, 0), (height * 0.05, height * 0.6, height * 0.05), trunk)
    for _ in range(r.randint(4, 10)):
        x, y, z = (r.uniform(-0.22, 0.22) * height for _ in range(3))
        size = r.uniform(0.15, 0.35) * height
        b.add(Kind.BALL, (x, height * 0.7 + y, z), (size, size * 0.8, size), leaf)


def _bush(b: SceneBuilder) -> None:
    """A bush up to a person's chest."""
    r, leaf = b.random, b.material(b.palette.green())
    for _ in range(r.randint(2, 5)):
        s = r.uniform(0.5, 1.2)
        b.add(Kind.BALL, (r.uniform(-0.5, 0.5), s * 0.4, r.uniform(-0.5, 0.5)), (s, s, s), leaf)


def _car(b: SceneBuilder) -> None:
    """A car, 4.3 m long and 1.45 m high."""
    color = b.palette.color(0.05, 0.8, 0.6)
    paint = b.material(Material(pattern="plaster", period_m=3.0, dark=color, light=color, gloss=0.8))
    glass = b.material(
        Material(pattern="plaster", period_m=3.0, dark=(0.02, 0.03, 0.04), light=(0.06, 0.07, 0.08), gloss=1.0)
    )
    tyre = b.material(Material(pattern="speckle", period_m=0.4, dark=(0.02, 0.02, 0.02), light=(0.06, 0.06, 0.06)))
    b.add(Kind.BOX, (0, 0.6, 0), (1.75, 0.6, 4.3), paint)
    b.add(Kind.BOX, (0, 1.12, -0.25), (1.5, 0.5, 2.1), glass)
    b.add(Kind.BOX, (0, 1.4, -0.25), (1.45, 0.08, 1.8), paint)
    side = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    for x in (-1, 1):
        for z in (-1, 1):
            b.add(Kind.CYLINDER, (x * 0.8, 0.32, z * 1.35), (0.64, 0.22, 0.64), tyre, turn=side)


def _pole(b: SceneBuilder) -> None:
    """A street lamp, a sign or a bollard."""
    r, metal = b.random, b.material(b.palette.plain(0.1, 0.6))
    kind = r.choice(("lamp", "sign", "bollard"))
    height = {"lamp": 5.0, "sign": 2.4, "bollard": 0.9}[kind]
    b.add(Kind.CYLINDER, (0, height / 2, 0), (0.1, height, 0.1), metal)
    if kind == "lamp":
        b.add(Kind.BOX, (0.5, height, 0), (1.0, 0.08, 0.15), metal)
    elif kind == "sign":
        b.add(Kind.BOX, (0, 2.2, 0.06), (0.6, 0.6, 0.02), b.material(b.palette.of("stripes", 0.6)))


def _fence(b: SceneBuilder) -> None:
    """Three metres of fence, a metre high."""
    wood = b.material(b.palette.wood() if b.random.random() < 0.6 else b.palette.plain(0.4, 0.9))
    for k in range(13):
        b.add(Kind.BOX, (k * 0.25 - 1.5, 0.5, 0), (0.07, 1.0, 0.025), wood)
    for y in (0.3, 0.8):
        b.add(Kind.BOX, (0, y, -0.03), (3.1, 0.08, 0.03), wood)


def _bench(b: SceneBuilder) -> None:
    """A park bench."""
    wood, iron = b.material(b.palette.wood()), b.material(b.palette.plain(0.03, 0.2))
    for k in range(4):
        b.add(Kind.BOX, (0, 0.45, k * 0.11 - 0.16), (1.6, 0.03, 0.09), wood)
    for k in range(3):
        b.add(Kind.BOX, (0, 0.6 + k * 0.12, -0.25), (1.6, 0.09, 0.03), wood)
    for x in (-0.7, 0.7):
        b.add(Kind.BOX, (x, 0.22, 0), (0.05, 0.44, 0.45), iron)
        b.add(Kind.BOX, (x, 0.65, -0.23), (0.05, 0.45, 0.04), iron)


OUTDOOR: Mapping[str, Maker] = {
    "tree": _tree,
    "bush": _bush,
    "car": _car,
    "person": person,
    "pole": _pole,
    "fence": _fence,
    "bench": _bench,
    "box": crate,
}
"""What stands outdoors."""
