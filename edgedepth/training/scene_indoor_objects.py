"""Furniture and people of solids, in the sizes that the world gives them.

Those sizes are what makes metric scale learnable: a seat is 45 cm high in every scene.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import numpy as np

from edgedepth.training.scene_builder import Maker, SceneBuilder
from edgedepth.training.scene_materials import Material
from edgedepth.training.scene_shapes import Array, Kind, yaw_matrix

__all__ = ["INDOOR", "crate", "person"]


def _clutter(b: SceneBuilder, width: float, depth: float, top: float) -> None:
    """Cups, books, boxes and balls on a surface."""
    r = b.random
    for _ in range(r.randint(0, 5)):
        x, z = r.uniform(-0.42, 0.42) * width, r.uniform(-0.42, 0.42) * depth
        paint = b.material(b.palette.plain())
        kind = r.choice(("cup", "book", "box", "ball", "bottle"))
        if kind == "cup":
            b.add(Kind.CYLINDER, (x, top + 0.05, z), (0.08, 0.1, 0.08), paint)
        elif kind == "book":
            b.add(Kind.BOX, (x, top + 0.02, z), (0.15, 0.04, 0.22), paint, turn=yaw_matrix(r.uniform(0, 3)))
        elif kind == "box":
            s = r.uniform(0.1, 0.25)
            b.add(Kind.BOX, (x, top + s / 2, z), (s * 1.3, s, s), paint, turn=yaw_matrix(r.uniform(0, 3)))
        elif kind == "ball":
            b.add(Kind.BALL, (x, top + 0.1, z), (0.2, 0.2, 0.2), paint)
        else:
            b.add(Kind.CYLINDER, (x, top + 0.1, z), (0.07, 0.2, 0.07), paint)
            b.add(Kind.CYLINDER, (x, top + 0.25, z), (0.025, 0.1, 0.025), paint)


def _table(b: SceneBuilder) -> None:
    """A table 0.72 to 0.77 m high."""
    r = b.random
    width, depth, height = r.uniform(0.9, 2.0), r.uniform(0.6, 1.0), r.uniform(0.72, 0.77)
    wood = b.material(b.palette.wood() if r.random() < 0.7 else b.palette.plain())
    if r.random() < 0.2:
        b.add(Kind.CYLINDER, (0, height - 0.02, 0), (depth, 0.04, depth), wood)
        b.add(Kind.CYLINDER, (0, height / 2, 0), (0.08, height, 0.08), wood)
        width = depth * 0.7
    else:
        b.add(Kind.BOX, (0, height - 0.02, 0), (width, 0.04, depth), wood)
        b.legs(width, depth, height - 0.04, r.uniform(0.04, 0.08), wood)
    _clutter(b, width, depth, height)


def _chair(b: SceneBuilder) -> None:
    """A chair: seat at 0.45 m, back to 0.9 m."""
    r = b.random
    frame = b.material(b.palette.wood() if r.random() < 0.6 else b.palette.plain(0.05, 0.4))
    seat = b.material(b.palette.cloth())
    b.add(Kind.BOX, (0, 0.45, 0), (0.44, 0.05, 0.42), seat)
    b.legs(0.44, 0.42, 0.43, r.uniform(0.025, 0.05), frame)
    if r.random() < 0.5:
        b.add(Kind.BOX, (0, 0.72, -0.2), (0.44, 0.45, 0.03), seat)
    else:
        for x in (-0.2, -0.1, 0.0, 0.1, 0.2):
            b.add(Kind.BOX, (x, 0.68, -0.2), (0.025, 0.46, 0.025), frame)
        b.add(Kind.BOX, (0, 0.9, -0.2), (0.44, 0.06, 0.03), frame)


def _sofa(b: SceneBuilder) -> None:
    """A sofa: seat at 0.42 m, back to 0.85 m."""
    r = b.random
    width, cloth = r.uniform(1.4, 2.3), b.material(b.palette.cloth())
    cushion = b.material(b.palette.cloth())
    b.add(Kind.BOX, (0, 0.21, 0), (width, 0.42, 0.85), cloth)
    b.add(Kind.BOX, (0, 0.6, -0.35), (width, 0.5, 0.18), cloth)
    for x in (-1, 1):
        b.add(Kind.BOX, (x * (width / 2 - 0.08), 0.5, 0), (0.16, 0.2, 0.85), cloth)
        b.add(Kind.BALL, (x * width * 0.3, 0.55, -0.15), (0.45, 0.4, 0.2), cushion)


def _bed(b: SceneBuilder) -> None:
    """A bed, two metres long."""
    r = b.random
    width, sheet = r.choice((0.9, 1.4, 1.6)), b.material(b.palette.cloth())
    b.add(Kind.BOX, (0, 0.15, 0), (width, 0.3, 2.0), b.material(b.palette.wood()))
    b.add(Kind.BOX, (0, 0.4, 0.0), (width * 0.97, 0.2, 1.95), sheet)
    b.add(Kind.BOX, (0, 0.5, -1.02), (width, 1.0, 0.06), b.material(b.palette.wood()))
    b.add(Kind.BALL, (0, 0.54, -0.75), (width * 0.8, 0.2, 0.4), b.material(b.palette.plain(0.5, 0.9)))


def _shelf(b: SceneBuilder) -> None:
    """A bookshelf 0.28 m deep, its boards 0.35 m apart."""
    r = b.random
    boards, width = r.randint(2, 6), r.uniform(0.6, 1.2)
    height, wood = boards * 0.35 + 0.05, b.material(b.palette.wood())
    books = b.material(b.palette.of("books", 1.0, 0.3, 0.9))
    for x in (-1, 1):
        b.add(Kind.BOX, (x * (width / 2 - 0.01), height / 2, 0), (0.025, height, 0.28), wood)
    for k in range(boards + 1):
        b.add(Kind.BOX, (0, 0.03 + k * 0.35, 0), (width, 0.025, 0.28), wood)
        if k < boards and r.random() < 0.7:
            filled = width * r.uniform(0.4, 0.95)
            b.add(Kind.BOX, (-(width - filled) / 2, 0.03 + k * 0.35 + 0.13, -0.03), (filled, 0.24, 0.18), books)


def _cupboard(b: SceneBuilder) -> None:
    """A wardrobe, a sideboard or a kitchen block."""
    r = b.random
    width, depth, height = r.choice(((1.0, 0.6, 2.0), (1.6, 0.6, 0.9), (1.2, 0.45, 0.8), (0.6, 0.6, 1.8)))
    front = b.material(b.palette.wood() if r.random() < 0.5 else b.palette.plain(0.3, 0.9))
    b.add(Kind.BOX, (0, height / 2, 0), (width, height, depth), front)
    knob = b.material(b.palette.plain(0.05, 0.3))
    for x in (-1, 1):
        b.add(Kind.BOX, (x * 0.05, height * 0.55, depth / 2 + 0.015), (0.02, 0.12, 0.03), knob)
    if height < 1.0:
        _clutter(b, width, depth, height)


def _lamp(b: SceneBuilder) -> None:
    """A floor lamp on a thin pole."""
    r = b.random
    height, metal = r.uniform(1.4, 1.8), b.material(b.palette.plain(0.05, 0.5))
    b.add(Kind.CYLINDER, (0, 0.015, 0), (0.3, 0.03, 0.3), metal)
    b.add(Kind.CYLINDER, (0, height / 2, 0), (0.025, height, 0.025), metal)
    b.add(Kind.CYLINDER, (0, height, 0), (0.36, 0.25, 0.36), b.material(b.palette.plain(0.7, 0.95)))


def _plant(b: SceneBuilder) -> None:
    """A potted plant with leaves on stalks."""
    r = b.random
    pot, leaf = b.material(b.palette.plain(0.1, 0.5)), b.material(b.palette.green())
    b.add(Kind.CYLINDER, (0, 0.16, 0), (0.3, 0.32, 0.3), pot)
    for _ in range(r.randint(4, 9)):
        x, y, z = r.uniform(-0.3, 0.3), r.uniform(0.5, 1.3), r.uniform(-0.3, 0.3)
        b.add(Kind.CYLINDER, (x / 2, 0.3 + y / 3, z / 2), (0.015, y * 0.8, 0.015), leaf)
        b.add(Kind.BALL, (x, y, z), (r.uniform(0.1, 0.3), 0.25, r.uniform(0.05, 0.2)), leaf, turn=_tilted(r))


def person(b: SceneBuilder) -> None:
    """A standing person, 1.5 to 1.9 m."""
    r = b.random
    s = r.uniform(1.5, 1.9) / 1.75
    shirt, trousers = b.material(b.palette.cloth()), b.material(b.palette.plain(0.05, 0.4))
    tone = r.uniform(0.15, 0.7)
    skin = b.material(
        Material(
            pattern="plaster",
            period_m=0.5,
            dark=(tone * 0.8, tone * 0.55, tone * 0.4),
            light=(tone, tone * 0.7, tone * 0.55),
        )
    )
    for x in (-1, 1):
        b.add(Kind.CYLINDER, (x * 0.1 * s, 0.42 * s, 0), (0.14 * s, 0.84 * s, 0.15 * s), trousers)
        b.add(Kind.BOX, (x * 0.1 * s, 0.04 * s, 0.05 * s), (0.1 * s, 0.08 * s, 0.26 * s), trousers)
        b.add(Kind.CYLINDER, (x * 0.26 * s, 1.12 * s, 0), (0.09 * s, 0.6 * s, 0.1 * s), shirt)
        b.add(Kind.BALL, (x * 0.26 * s, 0.79 * s, 0), (0.09 * s, 0.14 * s, 0.09 * s), skin)
    b.add(Kind.BALL, (0, 1.15 * s, 0), (0.46 * s, 0.75 * s, 0.28 * s), shirt)
    b.add(Kind.CYLINDER, (0, 1.48 * s, 0), (0.11 * s, 0.14 * s, 0.11 * s), skin)
    b.add(Kind.BALL, (0, 1.62 * s, 0), (0.18 * s, 0.25 * s, 0.21 * s), skin)


def crate(b: SceneBuilder) -> None:
    """A pile of cardboard boxes."""
    r = b.random
    top = 0.0
    for _ in range(r.randint(1, 3)):
        s = r.uniform(0.3, 0.5)
        tone = r.uniform(0.25, 0.5)
        board = Material(
            pattern="plaster",
            period_m=0.6,
            dark=(tone * 0.7, tone * 0.5, tone * 0.3),
            light=(tone, tone * 0.75, tone * 0.5),
        )
        b.add(Kind.BOX, (0, top + s / 2, 0), (s * 1.3, s, s), b.material(board), turn=yaw_matrix(r.uniform(-0.4, 0.4)))
        top += s


def _stool(b: SceneBuilder) -> None:
    """A round stool on thin legs."""
    r = b.random
    height, wood = r.choice((0.45, 0.65, 0.75)), b.material(b.palette.wood())
    b.add(Kind.CYLINDER, (0, height, 0), (0.35, 0.04, 0.35), wood)
    b.legs(0.28, 0.28, height, 0.03, wood)


def _ball(b: SceneBuilder) -> None:
    """A ball, of a football's size or a gymnast's."""
    size = b.random.choice((0.22, 0.22, 0.65))
    b.add(Kind.BALL, (0, size / 2, 0), (size, size, size), b.material(b.palette.cloth()))


def _rail(b: SceneBuilder) -> None:
    """A clothes rail or a rack: thin bars, one metre and a half high."""
    r = b.random
    metal, width = b.material(b.palette.plain(0.05, 0.6)), r.uniform(0.9, 1.5)
    for side in (-1, 1):
        b.add(Kind.BOX, (side * width / 2, 0.75, 0), (0.03, 1.5, 0.03), metal)
        b.add(Kind.BOX, (side * width / 2, 0.02, 0), (0.03, 0.03, 0.5), metal)
    b.add(Kind.BOX, (0, 1.5, 0), (width, 0.03, 0.03), metal)
    for _ in range(r.randint(0, 6)):
        x = r.uniform(-0.45, 0.45) * width
        b.add(
            Kind.BOX,
            (x, 1.05, 0),
            (0.04, 0.8, 0.42),
            b.material(b.palette.cloth()),
            turn=yaw_matrix(r.uniform(-0.3, 0.3)),
        )


def _tilted(r: Random) -> Array:
    """A random rotation: a tilt after a turn."""
    tilt = r.uniform(-0.8, 0.8)
    c, s = float(np.cos(tilt)), float(np.sin(tilt))
    tilted: Array = yaw_matrix(r.uniform(0, 6.28)) @ np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    return tilted


INDOOR: Mapping[str, Maker] = {
    "table": _table,
    "chair": _chair,
    "sofa": _sofa,
    "bed": _bed,
    "bookshelf": _shelf,
    "cupboard": _cupboard,
    "lamp": _lamp,
    "plant": _plant,
    "person": person,
    "box": crate,
    "stool": _stool,
    "ball": _ball,
    "clothes rail": _rail,
}
"""What stands in rooms, by the word that a caption uses."""
