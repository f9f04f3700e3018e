"""Streets and parks: ground to the horizon, what stands along it, houses or hills behind."""

from __future__ import annotations

import math
from random import Random

import numpy as np

from edgedepth.training.scene_builder import SceneBuilder
from edgedepth.training.scene_layouts import Layout, Light
from edgedepth.training.scene_outdoor_objects import OUTDOOR
from edgedepth.training.scene_placing import RADIUS_M, Floor, look_along, towards_light
from edgedepth.training.scene_shapes import Kind

__all__ = ["lay_out_outdoors"]


def lay_out_outdoors(random: Random, *, street: bool) -> Layout:
    """Draw a street, or a park."""
    b = SceneBuilder(random)
    eye = random.uniform(1.35, 1.8) if random.random() < 0.75 else random.uniform(0.5, 1.35)
    camera = np.array([random.uniform(-2, 2), eye, 0.0])
    floor = Floor(camera, 1.6)
    ground = b.material(b.palette.of("speckle", 1.5, 0.15, 0.4) if street else b.palette.green())
    b.place((0, -0.5, 0), (800, 1, 800), (ground, ground, ground))
    if street:
        _street(b, floor)
    else:
        _park(b, floor)
    bright = random.uniform(0.6, 1.0)
    light = Light(
        direction=towards_light(random, 22, 70),
        sun=random.uniform(0.3, 1.1),
        ambient=random.uniform(0.35, 0.6),
        lamp=None,
        reach_m=18.0,
        sky=(bright * random.uniform(0.55, 0.95), bright * random.uniform(0.75, 0.95), bright),
        haze_m=random.uniform(150, 900),
    )
    return b.finish(light, look_along(random, camera, random.uniform(-35, 35)))


def _street(b: SceneBuilder, floor: Floor) -> None:
    """A road along z between pavements and rows of houses."""
    r = b.random
    half_road = r.uniform(2.8, 5)
    half_street = half_road + r.uniform(1.8, 4)
    stone = b.material(b.palette.of("tiles", r.choice((1.6, 2.4)), 0.3, 0.6))
    for side in (-1, 1):
        b.place((side * (half_road + 6), 0.06, 0), (12, 0.12, 400), (stone, stone, stone))
        z = r.uniform(-12, -4)
        while z < r.uniform(40, 120):
            long, tall = r.uniform(6, 18), r.choice((6, 9, 9, 12, 15, 21))
            front = b.material(b.palette.of(r.choice(("facade", "facade", "facade", "bricks")), 12.0, 0.2, 0.85))
            set_back = half_street + r.uniform(0, 1.5)
            b.begin("building", x=side * (set_back + 6), z=z + long / 2, yaw_rad=0.0)
            b.add(Kind.BOX, (0, tall / 2, 0), (12, tall, long), front)
            z += long + (r.uniform(2, 8) if r.random() < 0.3 else 0)
    for _ in range(r.randint(4, 16)):
        name = r.choices(tuple(OUTDOOR), (2, 1, 4, 4, 3, 2, 1, 1))[0]
        side = r.choice((-1, 1))
        x = side * (half_road - 1.1) if name == "car" else side * r.uniform(half_road + 0.4, half_street)
        z = _ahead(r, 45)
        yaw = r.choice((0, math.pi)) if name in ("car", "fence") else r.uniform(0, 6.28)
        _stand(b, floor, name, x=x, z=z, yaw=yaw)


def _park(b: SceneBuilder, floor: Floor) -> None:
    """Grass, a path, trees, and hills or houses at the horizon."""
    r = b.random
    if r.random() < 0.6:
        gravel = b.material(b.palette.of(r.choice(("speckle", "tiles", "bricks")), 1.5, 0.3, 0.7))
        b.place((r.uniform(-4, 4), 0.01, 0), (r.uniform(1.2, 3), 0.02, 300), (gravel, gravel, gravel))
    for _ in range(r.randint(3, 9)):
        x, z = r.uniform(-250, 250), r.uniform(120, 350)
        if r.random() < 0.5:
            leaf = b.material(b.palette.green())
            b.begin("hill", x=x, z=z, yaw_rad=r.uniform(0, 6.28))
            b.add(Kind.BALL, (0, 0, 0), (r.uniform(100, 250), r.uniform(20, 70), r.uniform(60, 120)), leaf)
        else:
            b.begin("building", x=x * 0.4, z=z * 0.5, yaw_rad=r.uniform(0, 6.28))
            tall = r.choice((6, 9, 12))
            b.add(Kind.BOX, (0, tall / 2, 0), (r.uniform(8, 20), tall, 10), b.material(b.palette.of("facade", 12.0)))
    for _ in range(r.randint(8, 26)):
        name = r.choices(tuple(OUTDOOR), (6, 4, 1, 3, 1, 3, 2, 1))[0]
        z = _ahead(r, 60)
        x, yaw = r.uniform(-0.7, 0.7) * (z + 4), r.uniform(0, 2 * math.pi)
        _stand(b, floor, name, x=x, z=z, yaw=yaw)


def _ahead(random: Random, most_m: float) -> float:
    """Distances that are dense near by, as a picture shows them."""
    return 2.0 + (most_m - 2.0) * random.random() ** 2


def _stand(b: SceneBuilder, floor: Floor, name: str, *, x: float, z: float, yaw: float) -> None:
    if floor.free(x, z, RADIUS_M[name]):
        b.begin(name, x=x, z=z, yaw_rad=yaw)
        OUTDOOR[name](b)
