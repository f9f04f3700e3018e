"""Which windows of which scenes a training batch shows, and how they are varied: zoom, flip, colour. Numbers alone.

Every batch is drawn from its own generator, so that a resumed run sees what an uninterrupted one would have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgedepth.training.scene_cache import CacheSettings

__all__ = ["Colours", "Cuts", "Scenes", "choose_tiles", "choose_views"]

_LEAST_FOV_DEG = 28.0
_LEAST_ZOOM = 0.6


class Scenes(Protocol):
    """What cuts are chosen from."""

    @property
    def settings(self) -> CacheSettings:
        """Number and side of the scenes."""
        ...

    @property
    def rendered(self) -> npt.NDArray[np.int64]:
        """Indices of the scenes that are there."""
        ...

    @property
    def focal_over_width(self) -> npt.NDArray[np.float32]:
        """(N,) of all scenes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Colours:
    """How N pictures are recoloured: ((pixel * gain, clipped) ** curve), then mixed with its grey.

    Args:
        gain: (N, 3) float32 of red, green and blue.
        curve: (N,) float32 exponent.
        saturation: (N,) float32; 0 is grey, 1 leaves colours as they are.
    """

    gain: npt.NDArray[np.float32]
    curve: npt.NDArray[np.float32]
    saturation: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cuts:
    """N square windows of scenes.

    Args:
        index: (N,) int64 scene.
        top: (N,) int64 first row.
        left: (N,) int64 first column.
        kept: (N,) int64 side of the window in the scene's pixels.
        focal_over_width: (N,) float32 of the windows, whose inverse depth becomes canonical; None for tiles, whose
            inverse depth stays in 1/m.
        flipped: (N,) bool, left to right.
        colours: of the pictures; None leaves them.
    """

    index: npt.NDArray[np.int64]
    top: npt.NDArray[np.int64]
    left: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]
    focal_over_width: npt.NDArray[np.float32] | None
    flipped: npt.NDArray[np.bool_]
    colours: Colours | None

    @property
    def fov_deg(self) -> npt.NDArray[np.float32]:
        """(N,) horizontal field of view; 0 for tiles."""
        if self.focal_over_width is None:
            return np.zeros(len(self.index), np.float32)
        return (2 * np.degrees(np.arctan(0.5 / self.focal_over_width.astype(np.float64)))).astype(np.float32)


def choose_views(scenes: Scenes, random: np.random.Generator, count: int, *, varied: bool = True) -> Cuts:
    """Whole views, zoomed about their centre, which narrows the field of view by a known amount.

    Args:
        scenes: to choose from.
        random: of this batch.
        count: N.
        varied: False takes scenes in order, unzoomed and unflipped, for validation.
    """
    side = scenes.settings.side
    index = random.choice(scenes.rendered, count) if varied else scenes.rendered[:count]
    focal = scenes.focal_over_width[index].astype(np.float64)
    zoom = np.ones(len(index))
    if varied:
        widest = 0.5 / np.tan(np.radians(_LEAST_FOV_DEG) / 2)
        zoom = random.uniform(np.minimum(1.0, np.maximum(_LEAST_ZOOM, focal / widest)), 1.0)
    kept = np.round(side * zoom).astype(np.int64)
    start = (side - kept) // 2
    return Cuts(
        index=index,
        top=start,
        left=start,
        kept=kept,
        focal_over_width=(focal * side / kept).astype(np.float32),
        flipped=_coins(random, len(index)) if varied else np.zeros(len(index), np.bool_),
        colours=_colours(random, len(index)) if varied else None,
    )


def choose_tiles(scenes: Scenes, random: np.random.Generator, count: int, tile: int) -> Cuts:
    """Tiles as the patch encoder sees them: cut anywhere out of views at full and at half scale.

    Args:
        scenes: to choose from, whose side is the model's input size.
        random: of this batch.
        count: N.
        tile: side of a tile in pixels.
    """
    index = random.choice(scenes.rendered, count)
    kept = tile * random.choice((1, 2), count)
    last = scenes.settings.side - kept + 1
    return Cuts(
        index=index,
        top=random.integers(0, last),
        left=random.integers(0, last),
        kept=kept,
        focal_over_width=None,
        flipped=_coins(random, count),
        colours=_colours(random, count),
    )


def _coins(random: np.random.Generator, count: int) -> npt.NDArray[np.bool_]:
    return random.random(count) < 0.5


def _colours(random: np.random.Generator, count: int) -> Colours:
    gain = random.uniform(0.8, 1.2, (count, 1)) * random.uniform(0.92, 1.08, (count, 3))
    return Colours(
        gain=gain.astype(np.float32),
        curve=random.uniform(0.75, 1.35, count).astype(np.float32),
        saturation=random.uniform(0.3, 1.3, count).astype(np.float32),
    )
