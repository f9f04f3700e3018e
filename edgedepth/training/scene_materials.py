"""Textures of metric size for procedural scenes: bricks as long as bricks, planks as wide as planks.

A material is two colours, a pattern that mixes them and the pattern's period in metres. Patterns are square
and periodic, made once from a fixed seed, and kept with all their mip levels in one flat array, so that all
pixels of a picture are looked up at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["PATTERNS", "Material", "mix_of_pattern"]

Map = npt.NDArray[np.float32]

_SIDE = 256
_LEVELS = 9
_SEED = 20241002


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a surface looks like.

    Args:
        pattern: one of PATTERNS.
        period_m: metres until the pattern repeats.
        dark: linear RGB where the pattern is 0.
        light: linear RGB where it is 1.
        gloss: 0 for matt, 1 for polished.
    """

    pattern: str
    period_m: float
    dark: tuple[float, float, float]
    light: tuple[float, float, float]
    gloss: float = 0.0


def _grid_noise(random: np.random.RandomState, cells_y: int, cells_x: int) -> Map:
    """Periodic noise, linear between cells_y x cells_x random values."""
    values = random.random_sample((cells_y, cells_x)).astype(np.float32)

    def stretched(array: Map, cells: int) -> Map:
        at = np.arange(_SIDE, dtype=np.float32) * (cells / _SIDE)
        low = at.astype(np.int64)
        part = (at - low)[:, None]
        mixed: Map = array[low % cells] * (1 - part) + array[(low + 1) % cells] * part
        return mixed

    return stretched(stretched(values, cells_y).T.copy(), cells_x).T.copy()


def _fractal(random: np.random.RandomState, coarsest: int, octaves: int) -> Map:
    total = np.zeros((_SIDE, _SIDE), np.float32)
    for k in range(octaves):
        total += _grid_noise(random, coarsest << k, coarsest << k) * 0.5**k
    low, high = np.min(total), np.max(total)
    scaled: Map = ((total - low) / (high - low)).astype(np.float32)
    return scaled


def _coordinates() -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    y, x = np.mgrid[:_SIDE, :_SIDE]
    return y.astype(np.int64), x.astype(np.int64)


def _cells(random: np.random.RandomState, rows: int, columns: int, shift: bool, joint_px: int) -> Map:
    """Rows of bricks, planks or tiles, each of its own tone, with dark joints."""
    y, x = _coordinates()
    row = y * rows // _SIDE
    moved = (x + np.where(shift, (row % 2) * (_SIDE // columns // 2), 0)) % _SIDE
    column = moved * columns // _SIDE
    tone = 0.55 + 0.45 * random.random_sample((rows, columns))[row, column]
    in_y, in_x = y - (row * _SIDE // rows), moved - (column * _SIDE // columns)
    joint = (in_y < joint_px) | (in_x < joint_px)
    grain = 0.85 + 0.15 * _fractal(random, 16, 4)
    cells: Map = np.where(joint, 0.08, tone * grain).astype(np.float32)
    return cells


def _wood(random: np.random.RandomState) -> Map:
    grain: Map = 0.6 * _grid_noise(random, 64, 2) + 0.4 * _grid_noise(random, 128, 8)
    return grain


def _planks(random: np.random.RandomState) -> Map:
    boards: Map = _cells(random, 10, 1, False, 1) * (0.6 + 0.4 * _wood(random))
    return boards


def _checker(random: np.random.RandomState) -> Map:
    y, x = _coordinates()
    squares = ((y * 4 // _SIDE) + (x * 4 // _SIDE)) % 2
    worn: Map = (squares * (0.9 + 0.1 * _fractal(random, 8, 4))).astype(np.float32)
    return worn


def _stripes(random: np.random.RandomState) -> Map:
    x = _coordinates()[1]
    bars: Map = ((x * 8 // _SIDE) % 2 * (0.85 + 0.15 * _fractal(random, 16, 3))).astype(np.float32)
    return bars


def _plaid(random: np.random.RandomState) -> Map:
    y, x = _coordinates()
    bands = random.random_sample(16).astype(np.float32)
    woven: Map = 0.5 * bands[x * 16 // _SIDE] + 0.5 * bands[y * 16 // _SIDE]
    return woven


def _facade(random: np.random.RandomState) -> Map:
    """Four by four windows: 12 m of period make storeys of 3 m."""
    y, x = _coordinates()
    in_y, in_x = y % 64, x % 64
    window = (in_y > 14) & (in_y < 46) & (in_x > 18) & (in_x < 46)
    bars = (in_x == 32) | (in_y == 26)
    glass = 0.05 + 0.25 * random.random_sample((4, 4))[y // 64, x // 64]
    wall = 0.75 + 0.25 * _fractal(random, 32, 3)
    front: Map = np.where(window & ~bars, glass, wall).astype(np.float32)
    return front


def _books(random: np.random.RandomState) -> Map:
    """A metre of spines, four shelves of them."""
    tones = random.random_sample((4, 40))
    y, x = _coordinates()
    book = (x * 40 + random.randint(0, 40, 4)[y // 64] * 3) // _SIDE % 40
    spine = np.where((x * 40 % _SIDE) < 40, 0.05, tones[y // 64, book])
    shelf: Map = np.where((y % 64) < 8, 0.1, spine).astype(np.float32)
    return shelf


def _speckle(random: np.random.RandomState) -> Map:
    grains: Map = (0.5 * _grid_noise(random, 256, 256) + 0.3 * _grid_noise(random, 64, 64)).astype(np.float32)
    return grains + np.float32(0.2) * _grid_noise(random, 8, 8)


def _dots(random: np.random.RandomState) -> Map:
    y, x = _coordinates()
    round_ = ((y % 64) - 32) ** 2 + ((x % 64) - 32) ** 2 < 17**2
    dotted: Map = np.where(round_, 1.0, 0.15 * _fractal(random, 16, 3)).astype(np.float32)
    return dotted


_MAKERS: dict[str, Callable[[np.random.RandomState], Map]] = {
    "plaster": lambda random: 0.5 + 0.5 * _fractal(random, 8, 6),
    "clouds": lambda random: _fractal(random, 3, 6),
    "speckle": _speckle,
    "grass": lambda random: 0.6 * _grid_noise(random, 64, 256) + 0.4 * _fractal(random, 4, 5),
    "wood": _wood,
    "planks": _planks,
    "bricks": lambda random: _cells(random, 20, 6, True, 2),
    "tiles": lambda random: _cells(random, 4, 4, False, 2),
    "checker": _checker,
    "stripes": _stripes,
    "plaid": _plaid,
    "facade": _facade,
    "books": _books,
    "dots": _dots,
}

PATTERNS = tuple(_MAKERS)
"""Names of the patterns."""

_OFFSETS = np.cumsum([0] + [(_SIDE >> level) ** 2 for level in range(_LEVELS)])


@lru_cache(maxsize=1)
def _bank() -> Map:
    """All mip levels of all patterns, (patterns, texels)."""
    rows = []
    for index, make in enumerate(_MAKERS.values()):
        level = make(np.random.RandomState(_SEED + index)).astype(np.float32)
        texels = [level.ravel()]
        for _ in range(_LEVELS - 1):
            level = level.reshape(level.shape[0] // 2, 2, level.shape[1] // 2, 2).mean((1, 3), dtype=np.float32)
            texels.append(level.ravel())
        rows.append(np.concatenate(texels))
    return np.stack(rows)


def mix_of_pattern(pattern: npt.NDArray[np.int64], u: Map, v: Map, texel: Map) -> Map:
    """Look up patterns at the mip level that a pixel's footprint asks for, bilinearly.

    Args:
        pattern: (N,) indices into PATTERNS.
        u: (N,) in periods, float32.
        v: (N,) in periods, downwards where there is a down.
        texel: (N,) footprint of a pixel in periods.

    Returns:
        (N,) float32 in 0..1.
    """
    bank = _bank()
    # frexp is the exact integer part of the binary logarithm, on every machine.
    level = np.clip(np.frexp(texel * np.float32(_SIDE))[1], 0, _LEVELS - 1)
    side = (_SIDE >> level).astype(np.int64)
    flat = bank.ravel()
    start = pattern * bank.shape[1] + _OFFSETS[level]

    def split(coordinate: Map) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Map]:
        at = (coordinate - np.floor(coordinate)) * side.astype(np.float32) - np.float32(0.5)
        low = np.floor(at)
        part: Map = (at - low).astype(np.float32)
        first = low.astype(np.int64)
        return first & (side - 1), (first + 1) & (side - 1), part

    x0, x1, px = split(u)
    y0, y1, py = split(v)
    upper = flat[start + y0 * side + x0] * (1 - px) + flat[start + y0 * side + x1] * px
    lower = flat[start + y1 * side + x0] * (1 - px) + flat[start + y1 * side + x1] * px
    mixed: Map = upper * (1 - py) + lower * py
    return mixed
