"""Table-tops: small things on a table, seen from an arm's length, with a wall behind.

Boxes, balls, lamps and plants stand in rooms too: what they look like doesn't tell how large they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random

import numpy as np

from edgedepth.training.scene_builder import Maker, SceneBuilder
from edgedepth.training.scene_layouts import Layout, Light, Pose
from edgedepth.training.scene_placing import Floor, towards_light
from edgedepth.training.scene_shapes import Kind

__all__ = ["lay_out_table_top"]

_TABLE_M = 0.74


def lay_out_table_top(random: Random) -> Layout:
    """Draw a table with things on it; y = 0 is its top."""
    b = SceneBuilder(random)
    width, depth = random.uniform(0.9, 1.8), random.uniform(0.6, 1.0)
    behind = depth / 2 + random.choice((0.02, random.uniform(0.1, 1.5)))
    walls, floor = b.material(b.palette.plain(0.35, 0.9)), b.material(b.palette.wood("planks"))
    room = (random.uniform(3, 5), 2.5, 4.0)
    b.place((0, room[1] / 2 - _TABLE_M, behind - room[2] / 2), room, (walls, walls, floor), kind=Kind.SHELL)
    top = b.material(b.palette.wood() if random.random() < 0.7 else b.palette.plain())
    b.place((0, -0.02, 0), (width, 0.04, depth), (top, top, top))
    eye, back = random.uniform(0.12, 0.5), depth / 2 + random.uniform(-0.1, 0.25)
    camera = np.array([random.uniform(-0.25, 0.25), eye, -back])
    _strew(b, Floor(camera, 0.16), width, depth)
    light = Light(
        direction=towards_light(random, 45, 80),
        sun=random.uniform(0.1, 0.6),
        ambient=random.uniform(0.35, 0.7),
        lamp=np.array([random.uniform(-0.6, 0.6), random.uniform(0.9, 1.5), random.uniform(-0.6, 0.2)]),
        reach_m=1.2,
        sky=(0.8, 0.85, 0.9),
        haze_m=math.inf,
    )
    aim = math.atan2(eye - 0.08, back + random.uniform(-0.1, 0.2))
    pose = Pose(
        position=camera,
        yaw_rad=math.radians(random.uniform(-16, 16)) - math.atan2(camera[0], back + 0.3),
        pitch_rad=-aim * random.uniform(0.7, 1.1),
        roll_rad=math.radians(random.triangular(-4, 4, 0)),
    )
    return b.finish(light, pose)


def _strew(b: SceneBuilder, free: Floor, width: float, depth: float) -> None:
    r = b.random
    for _ in range(r.randint(4, 14)):
        name = r.choice(tuple(_THINGS))
        radius, maker = _THINGS[name]
        x, z = r.uniform(-0.5, 0.5) * (width - 2 * radius), r.uniform(-0.5, 0.5) * (depth - 2 * radius)
        if free.free(x, z, radius):
            b.begin(name, x=x, z=z, yaw_rad=r.uniform(0, 2 * math.pi))
            maker(b)


def _cup(b: SceneBuilder) -> None:
    """A cup with a handle, 9 to 11 cm high."""
    height, paint = b.random.uniform(0.09, 0.11), b.material(b.palette.plain(0.3, 0.9))
    b.add(Kind.CYLINDER, (0, height / 2, 0), (0.08, height, 0.08), paint)
    b.add(Kind.BOX, (0.052, height / 2, 0), (0.03, 0.05, 0.012), paint)


def _bottle(b: SceneBuilder) -> None:
    """A bottle of 24 to 32 cm."""
    body, paint = b.random.uniform(0.16, 0.22), b.material(b.palette.plain())
    b.add(Kind.CYLINDER, (0, body / 2, 0), (0.075, body, 0.075), paint)
    b.add(Kind.BALL, (0, body, 0), (0.075, 0.06, 0.075), paint)
    b.add(Kind.CYLINDER, (0, body + 0.05, 0), (0.028, 0.1, 0.028), paint)


def _books(b: SceneBuilder) -> None:
    """One to four books, lying on each other."""
    height = 0.0
    for _ in range(b.random.randint(1, 4)):
        thick = b.random.uniform(0.015, 0.045)
        cover = b.material(b.palette.plain())
        b.add(Kind.BOX, (0, height + thick / 2, 0), (b.random.uniform(0.13, 0.17), thick, 0.22), cover)
        height += thick


def _box(b: SceneBuilder) -> None:
    """A carton of 5 to 18 cm."""
    side = b.random.uniform(0.05, 0.18)
    b.add(Kind.BOX, (0, side / 2, 0), (side * b.random.uniform(0.8, 1.5), side, side), b.material(b.palette.wood()))


def _ball(b: SceneBuilder) -> None:
    """A ball of 4 to 12 cm."""
    across = b.random.uniform(0.04, 0.12)
    b.add(Kind.BALL, (0, across / 2, 0), (across, across, across), b.material(b.palette.cloth()))


def _bowl(b: SceneBuilder) -> None:
    """A bowl with fruit."""
    b.add(Kind.CYLINDER, (0, 0.03, 0), (0.2, 0.06, 0.2), b.material(b.palette.plain(0.4, 0.95)))
    for _ in range(b.random.randint(1, 4)):
        x, z = b.random.uniform(-0.05, 0.05), b.random.uniform(-0.05, 0.05)
        b.add(Kind.BALL, (x, 0.08, z), (0.075, 0.075, 0.075), b.material(b.palette.plain(0.2, 0.7)))


def _plant(b: SceneBuilder) -> None:
    """A potted plant of 15 to 35 cm."""
    height, leaf = b.random.uniform(0.15, 0.35), b.material(b.palette.green())
    b.add(Kind.CYLINDER, (0, 0.05, 0), (0.11, 0.1, 0.11), b.material(b.palette.plain()))
    for _ in range(b.random.randint(3, 8)):
        x, z = b.random.uniform(-0.05, 0.05), b.random.uniform(-0.05, 0.05)
        b.add(Kind.BALL, (x, b.random.uniform(0.1, height), z), (0.09, 0.07, 0.09), leaf)


def _lamp(b: SceneBuilder) -> None:
    """A desk lamp of 35 to 50 cm."""
    height, metal = b.random.uniform(0.35, 0.5), b.material(b.palette.plain(0.05, 0.5))
    b.add(Kind.CYLINDER, (0, 0.01, 0), (0.16, 0.02, 0.16), metal)
    b.add(Kind.CYLINDER, (0, height / 2, 0), (0.02, height, 0.02), metal)
    b.add(Kind.CYLINDER, (0, height, 0), (0.2, 0.14, 0.2), b.material(b.palette.plain(0.6, 0.95)))


def _screen(b: SceneBuilder) -> None:
    """A laptop, open."""
    case = b.material(b.palette.plain(0.05, 0.6))
    b.add(Kind.BOX, (0, 0.01, 0), (0.32, 0.02, 0.22), case)
    b.add(Kind.BOX, (0, 0.12, -0.11), (0.32, 0.21, 0.012), case)
    b.add(Kind.BOX, (0, 0.12, -0.103), (0.29, 0.18, 0.004), b.material(b.palette.of("clouds", 0.4)))


_THINGS: Mapping[str, tuple[float, Maker]] = {
    "cup": (0.07, _cup),
    "bottle": (0.06, _bottle),
    "book": (0.14, _books),
    "box": (0.13, _box),
    "ball": (0.07, _ball),
    "bowl": (0.11, _bowl),
    "plant": (0.1, _plant),
    "lamp": (0.11, _lamp),
    "laptop": (0.2, _screen),
}
"""What stands on tables: the radius that each keeps to itself in metres, and what builds it."""
