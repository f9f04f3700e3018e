"""Procedural RGB-D scenes: a picture, exact metric depth, the camera and what is in view, from a seed.

Rooms, corridors, streets and parks of textured solids in the sizes of the world. Everything is numpy: no
display, no graphics library. Depth comes from exact intersections of rays and solids.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from random import Random

import numpy as np
import numpy.typing as npt

from edgedepth.training.scene_layouts import WALL_THINGS, Layout
from edgedepth.training.scene_outdoors import lay_out_outdoors
from edgedepth.training.scene_rooms import lay_out_room
from edgedepth.training.scene_shading import photograph
from edgedepth.training.scene_table_tops import lay_out_table_top
from edgedepth.training.scene_view import Camera, Visible, look

__all__ = [
    "CALIBRATION_SEED",
    "FOV_RANGE_DEG",
    "HELD_OUT_SEED",
    "PLACES",
    "Scene",
    "SceneObject",
    "render_scene",
    "things_in_view",
]

HELD_OUT_SEED = 1_000_000
"""Scenes from this seed on are never trained on."""

CALIBRATION_SEED = 2_000_000
"""Scenes from this seed on are for calibration: evaluation ends before them."""

FOV_RANGE_DEG = (30.0, 95.0)
"""Horizontal field of view of the cameras."""

PLACES = ("room", "corridor", "street", "park", "table-top")
"""Kinds of places; a seed draws one of the first four, table-tops are asked for."""

_SCOUT_SIDE = 48
_TRIES = 40
_LEAST_IN_VIEW = 0.0008
_LEAST_FOREGROUND = 0.03
_CLEAR_M = {False: (0.3, 0.9), True: (0.12, 0.3)}
"""What the nearest 3 % and the middle of the pixels are farther than; on table-tops less."""


@dataclass(frozen=True, slots=True)
class SceneObject:
    """A kind of object in view.

    Args:
        name: as a caption calls it.
        count: how many of it are in view.
    """

    name: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One procedural picture with its ground truth.

    Args:
        seed: that it was made from.
        image: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32 metres along the optical axis; inf in the sky.
        focal_px: horizontal, in pixels of the image.
        fov_deg: horizontal.
        object_mask: (H, W) bool: objects that stand in the place, whose outlines are depth edges.
        objects: what is in view, most frequent first.
        place: one of PLACES.
    """

    seed: int
    image: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    focal_px: float
    fov_deg: float
    object_mask: npt.NDArray[np.bool_]
    objects: tuple[SceneObject, ...]
    place: str


def render_scene(
    seed: int, *, width: int = 512, height: int = 384, squash: float = 1.0, place: str | None = None
) -> Scene:
    """Render the scene of a seed.

    The horizontal field of view depends on the seed alone. So does the scene, among views of one shape (height /
    width / squash): the size only decides how it is sampled. Another shape may reject a place that shows too little
    in it, and draw the seed's next one.

    Args:
        seed: any integer >= 0; from HELD_OUT_SEED on for evaluation.
        width: of the picture in pixels.
        height: of the picture in pixels.
        squash: pixels' width by their height: 4/3 squeezes a 4:3 view into a square, as Depth Pro's input is.
        place: one of PLACES; None: the seed draws one, but no table-top.

    Raises:
        ValueError: a negative seed, a side shorter than 8 pixels, or an unknown place.
    """
    fov_deg, found, camera = _aim(seed, width, height, squash, place)
    place, layout = found
    seen = look(camera, layout.solids)
    image = photograph(layout, camera, seen, np.random.RandomState(seed % 2**32))
    return Scene(
        seed=seed,
        image=image,
        depth_m=seen.distance,
        focal_px=camera.focal_x_px,
        fov_deg=fov_deg,
        object_mask=_foreground(layout, seen),
        objects=_in_view(layout, seen),
        place=place,
    )


def things_in_view(
    seed: int, *, squash: float = 1.0, place: str | None = None, side: int = 192
) -> tuple[str, tuple[SceneObject, ...]]:
    """The place and the objects of render_scene(), without a picture: for captions of scenes that are kept.

    Args:
        seed: of the scene.
        squash: as of render_scene.
        place: as of render_scene.
        side: of the square view in pixels, which decides what is too small to be counted.

    Raises:
        ValueError: as render_scene.
    """
    _, (found, layout), camera = _aim(seed, side, side, squash, place)
    return found, _in_view(layout, look(camera, layout.solids))


def _aim(
    seed: int, width: int, height: int, squash: float, place: str | None
) -> tuple[float, tuple[str, Layout], Camera]:
    """The field of view in degrees, the place with its layout, and the camera in it."""
    if seed < 0 or min(width, height) < 8 or squash <= 0:
        raise ValueError(
            f"render_scene takes a seed >= 0, sides >= 8 and a squash > 0, got {seed}, {width}x{height}, {squash}"
        )
    if place is not None and place not in PLACES:
        raise ValueError(f"place is {place!r}; allowed are {', '.join(PLACES)}")
    random = Random(seed)  # noqa: S311  (a scene is no secret)
    fov_deg = random.uniform(*FOV_RANGE_DEG)
    found = _worth_seeing(random, fov_deg, height / width / squash, place)
    return fov_deg, found, _camera(found[1], fov_deg, width, height, squash)


def _camera(layout: Layout, fov_deg: float, width: int, height: int, squash: float) -> Camera:
    focal = width / 2 / math.tan(math.radians(fov_deg) / 2)
    return Camera(
        position=layout.pose.position,
        axes=layout.pose.axes(),
        width=width,
        height=height,
        focal_x_px=focal,
        focal_y_px=focal * squash,
    )


def _worth_seeing(random: Random, fov_deg: float, aspect: float, place: str | None) -> tuple[str, Layout]:
    """Draw places until a small look at one shows depth: near and far, things, and no wall before the lens.

    The last one drawn is taken as it is, so that every seed has a scene.
    """
    for _ in range(_TRIES):
        drawn, layout = _lay_out(random, place)
        nearest, middling = _CLEAR_M[drawn == "table-top"]
        camera = _camera(layout, fov_deg, _SCOUT_SIDE, max(8, round(_SCOUT_SIDE * aspect)), 1.0)
        seen = look(camera, layout.solids)
        depths = seen.distance[np.isfinite(seen.distance)]
        if depths.size < 0.4 * seen.distance.size or _foreground(layout, seen).mean() < _LEAST_FOREGROUND:
            continue
        near, middle, far = np.percentile(depths, (3, 50, 95))
        if near > nearest and middle > middling and far > 1.8 * near:
            break
    return drawn, layout


def _lay_out(random: Random, place: str | None) -> tuple[str, Layout]:
    """Draw a place: two of three are indoors."""
    kind = place or random.choices(PLACES[:4], (58, 8, 20, 14))[0]
    if kind == "table-top":
        return kind, lay_out_table_top(random)
    if kind in ("room", "corridor"):
        return kind, lay_out_room(random, corridor=kind == "corridor")
    return kind, lay_out_outdoors(random, street=kind == "street")


def _owners(layout: Layout, seen: Visible) -> npt.NDArray[np.int64]:
    """(H, W) index of the object at every pixel, -1 for the place itself."""
    owners = np.array([solid.owner for solid in layout.solids] + [-1])
    seen_owner: npt.NDArray[np.int64] = owners[seen.solid]
    return seen_owner


def _foreground(layout: Layout, seen: Visible) -> npt.NDArray[np.bool_]:
    stands = np.array([name not in (*WALL_THINGS, "building", "hill") for name in layout.objects] + [False])
    mask: npt.NDArray[np.bool_] = stands[_owners(layout, seen)]
    return mask


def _in_view(layout: Layout, seen: Visible) -> tuple[SceneObject, ...]:
    owners = _owners(layout, seen)
    pixels = np.bincount(owners[owners >= 0], minlength=len(layout.objects))
    visible = pixels >= _LEAST_IN_VIEW * owners.size
    counts = Counter(name for name, shown in zip(layout.objects, visible, strict=True) if shown)
    return tuple(SceneObject(name, count) for name, count in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0])))
