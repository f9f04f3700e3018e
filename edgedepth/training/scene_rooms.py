"""Rooms and corridors: walls, what hangs on them, furniture against them and in between."""

from __future__ import annotations

import math
from random import Random

import numpy as np

from edgedepth.training.scene_builder import SceneBuilder
from edgedepth.training.scene_indoor_objects import INDOOR
from edgedepth.training.scene_layouts import WALL_THINGS, Layout, Light
from edgedepth.training.scene_materials import Material
from edgedepth.training.scene_placing import RADIUS_M, Floor, look_along, towards_light
from edgedepth.training.scene_shapes import Kind

__all__ = ["lay_out_room"]

_AGAINST_WALLS = ("bed", "bookshelf", "cupboard", "sofa")


def lay_out_room(random: Random, *, corridor: bool) -> Layout:
    """Draw a furnished room, or a corridor that is long, narrow and emptier."""
    b = SceneBuilder(random)
    height = random.uniform(2.4, 2.9) if random.random() < 0.85 else random.uniform(3, 4.5)
    width = random.uniform(1.4, 2.4) if corridor else random.uniform(2.6, 7)
    depth = random.uniform(6, 20) if corridor else random.uniform(3, 9)
    b.place((0, height / 2, 0), (width, height, depth), _room_materials(b), kind=Kind.SHELL)
    eye = random.uniform(1.3, 1.75) if random.random() < 0.7 else random.uniform(0.35, 1.3)
    camera = np.array([random.uniform(-0.3, 0.3) * width, eye, random.uniform(-0.46, -0.2) * depth])
    floor = Floor(camera, 0.75)
    for _ in range(random.randint(1, 5)):
        _hang(b, width, height, depth)
    if not corridor and depth > 5 and random.random() < 0.3:
        _partition(b, width, height, depth * random.uniform(0.1, 0.3))
    _furnish(b, floor, width, depth, random.randint(0, 3) if corridor else random.randint(3, 11))
    lamp = np.array([random.uniform(-0.3, 0.3) * width, height - 0.3, random.uniform(-0.3, 0.3) * depth])
    light = Light(
        direction=towards_light(random, 45, 80),
        sun=random.uniform(0.1, 0.6),
        ambient=random.uniform(0.35, 0.7),
        lamp=lamp,
        reach_m=max(width, depth) * 0.55,
        sky=(0.8, 0.85, 0.9),
        haze_m=math.inf,
    )
    spread = 14 if corridor else 42
    return b.finish(light, look_along(random, camera, random.uniform(-spread, spread)))


def _room_materials(b: SceneBuilder) -> tuple[int, int, int]:
    r, p = b.random, b.palette
    walls = r.choice((p.plain(0.35, 0.9), p.plain(0.35, 0.9), p.of("bricks", 1.5), p.of("stripes", 1.0, 0.4)))
    floor = r.choice(
        (
            p.wood("planks"),
            p.wood("planks"),
            p.of("tiles", r.choice((1.2, 2.4)), 0.3, 0.8, 0.5),
            p.of("speckle", 0.5),
            p.of("checker", 1.2),
        )
    )
    return b.material(walls), b.material(p.plain(0.6, 0.95)), b.material(floor)


def _hang(b: SceneBuilder, width: float, height: float, depth: float) -> None:
    """A door, a window or a picture on one of three walls; local z points into the room."""
    r = b.random
    wall = r.choice(("left", "right", "far", "far"))
    along = r.uniform(-0.38, 0.38) * (width if wall == "far" else depth)
    x, z, yaw = {
        "left": (-width / 2, along, math.pi / 2),
        "right": (width / 2, along, -math.pi / 2),
        "far": (along, depth / 2, math.pi),
    }[wall]
    name = r.choice(WALL_THINGS)
    b.begin(name, x=x, z=z, yaw_rad=yaw)
    if name == "door":
        b.add(Kind.BOX, (0, 1.0, 0.02), (0.85, 2.0, 0.05), b.material(b.palette.wood()))
        frame = b.material(b.palette.plain(0.4, 0.95))
        for side in (-1, 1):
            b.add(Kind.BOX, (side * 0.47, 1.04, 0.02), (0.09, 2.08, 0.08), frame)
        b.add(Kind.BOX, (0, 2.05, 0.02), (1.03, 0.09, 0.08), frame)
        b.add(Kind.BALL, (0.35, 1.02, 0.08), (0.06, 0.06, 0.06), b.material(b.palette.plain(0.1, 0.6)))
    elif name == "window":
        wide, tall = r.uniform(0.8, 1.8), min(1.3, height - 1.2)
        glass = Material(pattern="clouds", period_m=6.0, dark=(0.5, 0.65, 0.9), light=(1.0, 1.0, 1.0), gloss=0.5)
        b.add(Kind.BOX, (0, 0.95 + tall / 2, 0.0), (wide, tall, 0.03), b.material(glass))
        frame = b.material(b.palette.plain(0.6, 0.95))
        for x_bar in (-wide / 2, 0.0, wide / 2):
            b.add(Kind.BOX, (x_bar, 0.95 + tall / 2, 0.02), (0.06, tall, 0.06), frame)
        for y_bar in (0.95, 0.95 + tall):
            b.add(Kind.BOX, (0, y_bar, 0.02), (wide + 0.06, 0.06, 0.1), frame)
    else:
        wide, tall = r.uniform(0.3, 1.0), r.uniform(0.3, 0.8)
        b.add(Kind.BOX, (0, 1.55, 0.01), (wide + 0.06, tall + 0.06, 0.03), b.material(b.palette.wood()))
        b.add(
            Kind.BOX,
            (0, 1.55, 0.02),
            (wide, tall, 0.025),
            b.material(b.palette.of(r.choice(("clouds", "plaid", "dots")), 0.7)),
        )


def _partition(b: SceneBuilder, width: float, height: float, z: float) -> None:
    """A wall across the room with an open doorway in it."""
    paint = b.material(b.palette.plain(0.35, 0.9))
    gap = b.random.uniform(0.9, 1.6)
    middle = b.random.uniform(-0.3, 0.3) * width
    left, right = middle - gap / 2, middle + gap / 2
    for low, high in ((-width / 2, left), (right, width / 2)):
        if high - low > 0.02:
            b.place(((low + high) / 2, height / 2, z), (high - low, height, 0.12), (paint, paint, paint))
    b.place((middle, (2.05 + height) / 2, z), (gap, height - 2.05, 0.12), (paint, paint, paint))


def _furnish(b: SceneBuilder, floor: Floor, width: float, depth: float, count: int) -> None:
    r = b.random
    weights = [3 if name in ("chair", "table", "person", "box") else 2 for name in INDOOR]
    for _ in range(count):
        name = r.choices(tuple(INDOOR), weights)[0]
        radius = RADIUS_M[name]
        x, z = r.uniform(-0.5, 0.5) * (width - 2 * radius), r.uniform(-0.35, 0.5) * (depth - 2 * radius)
        yaw = r.uniform(0, 2 * math.pi)
        if name in _AGAINST_WALLS and r.random() < 0.8:
            x, z, yaw = r.choice(
                (
                    (-width / 2 + radius * 0.62, z, math.pi / 2),
                    (width / 2 - radius * 0.62, z, -math.pi / 2),
                    (x, depth / 2 - radius * 0.62, math.pi),
                )
            )
        if not floor.free(x, z, radius):
            continue
        b.begin(name, x=x, z=z, yaw_rad=yaw)
        INDOOR[name](b)
        if name == "table":
            _chairs_around(b, floor, x, z, yaw)


def _chairs_around(b: SceneBuilder, floor: Floor, x: float, z: float, yaw: float) -> None:
    for _ in range(b.random.randint(0, 4)):
        angle = yaw + b.random.choice((0, 0.5, 1, 1.5)) * math.pi
        cx, cz = x + math.sin(angle) * 1.06, z + math.cos(angle) * 1.06
        if floor.free(cx, cz, 0.3):
            b.begin("chair", x=cx, z=cz, yaw_rad=angle + math.pi)
            INDOOR["chair"](b)
