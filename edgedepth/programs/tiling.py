"""The image pyramid, its tiles, and how the tiles' features become one map again. Pure numpy.

Source: Depth Pro (arXiv 2410.02073), section 3.1 and figure 3; split() and merge() of the published encoder at
github.com/apple/ml-depth-pro.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from edgedepth.core.errors import UnsupportedError
from edgedepth.core.session import Array
from edgedepth.core.spec import PyramidLevel, TilingSpec

__all__ = ["Box", "check_tiling", "cut", "fuse_tile", "fused_side", "fused_span", "tile_boxes"]


@dataclass(frozen=True, slots=True)
class Box:
    """One tile of a pyramid level: its place in the level's grid of tiles, and in the level's image in pixels.

    `top` and `left` belong to the tile, `bottom` and `right` lie just beyond it.
    """

    row: int
    column: int
    top: int
    left: int
    bottom: int
    right: int


def check_tiling(tiling: TilingSpec, size: int) -> None:
    """Refuse a tiling whose tiles don't cover the input exactly, or whose features don't join.

    Args:
        tiling: the cut.
        size: side of the square input in pixels.

    Raises:
        UnsupportedError: naming the level and the sizes.
    """
    for level in tiling.levels:
        covered = (level.steps - 1) * level.stride + tiling.tile
        # Neighbours start stride / patch features apart, and the fused map has room for grid - 2 * padding.
        joined = level.stride * tiling.grid == (tiling.grid - 2 * level.padding) * tiling.tile
        if size % level.scale or covered != size // level.scale or (level.steps > 1 and not joined):
            raise UnsupportedError(
                f"{level.steps} tiles of {tiling.tile} pixels, {level.stride} apart, cover {covered} pixels and are "
                f"fused with padding {level.padding}; the level at 1/{level.scale} of {size} can't be made of that",
                remedy="choose overlaps that divide the tile into whole patches",
            )


def tile_boxes(tiling: TilingSpec, level: PyramidLevel) -> list[Box]:
    """The level's tiles, row by row."""
    starts = [step * level.stride for step in range(level.steps)]
    return [
        Box(row, column, top, left, top + tiling.tile, left + tiling.tile)
        for row, top in enumerate(starts)
        for column, left in enumerate(starts)
    ]


def cut(planes: Array, box: Box) -> Array:
    """The tile of a level's image, (C, S, S) to (C, tile, tile): a view, nothing is copied."""
    return planes[:, box.top : box.bottom, box.left : box.right]


def fused_side(tiling: TilingSpec, level: PyramidLevel) -> int:
    """Features along a side of the level's fused map: 96, 48 and 24 for Depth Pro."""
    return level.steps * tiling.grid - 2 * (level.steps - 1) * level.padding


def fused_span(tiling: TilingSpec, level: PyramidLevel, step: int) -> slice:
    """What the tile of that step along a side leaves in the level's fused map, in features."""
    return _kept(step, level, tiling.grid)[1]


def fuse_tile(
    fused: Array,
    features: Array,
    level: PyramidLevel,
    box: Box,
    copy: Callable[[Array, Array], None] = np.copyto,
) -> None:
    """Copy a tile's features to their place in the level's fused map.

    Where two tiles overlap, each gives up `padding` features at the border between them.

    Args:
        fused: (side, side, C), written to.
        features: (grid, grid, C), channels last: whole runs of a row are contiguous on both sides of the copy.
        level: the tile's level.
        box: the tile.
        copy: copies its second argument into its first, where arrays don't lie in the host's memory.
    """
    grid = features.shape[0]
    rows, fused_rows = _kept(box.row, level, grid)
    columns, fused_columns = _kept(box.column, level, grid)
    copy(fused[fused_rows, fused_columns], features[rows, columns])


def _kept(index: int, level: PyramidLevel, grid: int) -> tuple[slice, slice]:
    """Along one axis: which of a tile's features are kept, and where they land."""
    first = 0 if index == 0 else level.padding
    last = grid if index == level.steps - 1 else grid - level.padding
    start = index * (grid - 2 * level.padding)
    return slice(first, last), slice(start + first, start + last)
