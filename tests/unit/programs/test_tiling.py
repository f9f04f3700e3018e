from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from edgedepth.core.errors import UnsupportedError
from edgedepth.core.spec import PyramidLevel, TilingSpec
from edgedepth.models.depth_pro_config import DEPTH_PRO, DEPTH_PRO_MINI, depth_pro_tiling
from edgedepth.programs.tiling import Box, check_tiling, cut, fuse_tile, fused_side, tile_boxes


@st.composite
def cuts(draw: st.DrawFn) -> tuple[TilingSpec, int, int]:
    """A valid cut of one level, the image's side and the patch: overlaps of an even number of patches."""
    patch = draw(st.sampled_from([1, 2, 3, 16]))
    grid = draw(st.integers(1, 12))
    padding = draw(st.integers(0, (grid - 1) // 2))
    steps = draw(st.integers(1, 6))
    stride = (grid - 2 * padding) * patch
    level = PyramidLevel(scale=1, steps=steps, stride=stride, padding=padding)
    tiling = TilingSpec(tile=grid * patch, grid=grid, levels=(level,))
    return tiling, (steps - 1) * stride + tiling.tile, patch


@given(cuts())
@settings(deadline=None)
def test_tiles_cover_every_pixel_and_nothing_else(case):
    tiling, size, _ = case
    check_tiling(tiling, size)
    boxes = tile_boxes(tiling, tiling.levels[0])
    assert len(boxes) == len(set(boxes)) == tiling.count
    covered = np.zeros((1, size, size), np.float32)
    for box in boxes:
        assert 0 <= box.top < box.bottom <= size
        assert 0 <= box.left < box.right <= size
        tile = cut(covered, box)
        assert tile.shape == (1, tiling.tile, tiling.tile)
        assert np.shares_memory(tile, covered)
        tile += 1
    assert covered.min() >= 1


@given(cuts())
@settings(deadline=None)
def test_fusing_an_identity_gives_the_image_back(case):
    """Features that hold their own patch's coordinates come out as the coordinates of the uncut image."""
    tiling, size, patch = case
    level = tiling.levels[0]
    coordinates = np.indices((size // patch, size // patch)).astype(np.float32)
    image = coordinates.repeat(patch, axis=1).repeat(patch, axis=2)
    side = fused_side(tiling, level)
    fused = np.full((side, side, 2), np.nan, np.float32)
    for box in tile_boxes(tiling, level):
        features = cut(image, box)[:, ::patch, ::patch].transpose(1, 2, 0)
        fuse_tile(fused, features, level, box)
    assert_array_equal(fused, coordinates.transpose(1, 2, 0))


def merged(tiles: np.ndarray, padding: int) -> np.ndarray:
    """The rule of merge() in the published encoder: trim each tile at its inner borders, then join them."""
    steps = round(len(tiles) ** 0.5)
    rows = []
    for j in range(steps):
        row = []
        for i in range(steps):
            tile = tiles[j * steps + i]
            tile = tile[padding if j else 0 :, padding if i else 0 :]
            tile = tile[: len(tile) - (padding if j < steps - 1 else 0)]
            row.append(tile[:, : tile.shape[1] - (padding if i < steps - 1 else 0)])
        rows.append(np.concatenate(row, axis=1))
    return np.concatenate(rows, axis=0)


@given(cuts())
@settings(deadline=None)
def test_fusing_equals_trimming_and_joining(case):
    tiling, _, _ = case
    level = tiling.levels[0]
    assume(tiling.count > 1)
    tiles = np.random.default_rng(1).random((tiling.count, tiling.grid, tiling.grid, 3), dtype=np.float32)
    side = fused_side(tiling, level)
    fused = np.full((side, side, 3), np.nan, np.float32)
    for features, box in zip(tiles, tile_boxes(tiling, level), strict=True):
        fuse_tile(fused, features, level, box)
    assert_array_equal(fused, merged(tiles, level.padding))


def test_the_published_boxes():
    """25 + 9 + 1 tiles of 384 at 1536, 768 and 384: written out, from figure 3 and the published strides."""
    tiling = depth_pro_tiling(DEPTH_PRO)
    check_tiling(tiling, 1536)
    boxes = [[(b.left, b.top, b.right, b.bottom) for b in tile_boxes(tiling, level)] for level in tiling.levels]
    assert boxes[0] == [
        (0, 0, 384, 384),
        (288, 0, 672, 384),
        (576, 0, 960, 384),
        (864, 0, 1248, 384),
        (1152, 0, 1536, 384),
        (0, 288, 384, 672),
        (288, 288, 672, 672),
        (576, 288, 960, 672),
        (864, 288, 1248, 672),
        (1152, 288, 1536, 672),
        (0, 576, 384, 960),
        (288, 576, 672, 960),
        (576, 576, 960, 960),
        (864, 576, 1248, 960),
        (1152, 576, 1536, 960),
        (0, 864, 384, 1248),
        (288, 864, 672, 1248),
        (576, 864, 960, 1248),
        (864, 864, 1248, 1248),
        (1152, 864, 1536, 1248),
        (0, 1152, 384, 1536),
        (288, 1152, 672, 1536),
        (576, 1152, 960, 1536),
        (864, 1152, 1248, 1536),
        (1152, 1152, 1536, 1536),
    ]
    assert boxes[1] == [
        (0, 0, 384, 384),
        (192, 0, 576, 384),
        (384, 0, 768, 384),
        (0, 192, 384, 576),
        (192, 192, 576, 576),
        (384, 192, 768, 576),
        (0, 384, 384, 768),
        (192, 384, 576, 768),
        (384, 384, 768, 768),
    ]
    assert boxes[2] == [(0, 0, 384, 384)]
    assert tiling.count == 35
    assert [fused_side(tiling, level) for level in tiling.levels] == [96, 48, 24]
    assert [level.padding for level in tiling.levels] == [3, 6, 0]


def test_boxes_tell_their_row_and_column():
    tiling = depth_pro_tiling(DEPTH_PRO_MINI)
    assert tile_boxes(tiling, tiling.levels[1])[5] == Box(row=1, column=2, top=64, left=128, bottom=192, right=256)


LEVEL = depth_pro_tiling(DEPTH_PRO_MINI).levels[0]
UNFIT = {
    "a pixel short": replace(LEVEL, stride=95),
    "a tile short": replace(LEVEL, steps=4),
    "a tile too many": replace(LEVEL, steps=6),
    "features that overlap": replace(LEVEL, padding=0),
    "a size that doesn't divide": replace(LEVEL, scale=3),
}


@pytest.mark.parametrize("level", UNFIT.values(), ids=UNFIT.keys())
def test_a_cut_that_does_not_fit_is_refused(level):
    tiling = TilingSpec(tile=128, grid=8, levels=(level,))
    with pytest.raises(UnsupportedError, match="512"):
        check_tiling(tiling, 512)
