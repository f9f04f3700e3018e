"""Whether a part of a picture shows the reference's shapes: the figure that tells a misplaced tile from rounding.

Two tiles that changed places make a few cells wrong and leave the mean of all pixels alone. Rounding to 8 bits is as
large in its worst pixel, but it keeps what is near and what is far within a cell; a misplaced tile doesn't. Pure
functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from edgedepth.core.session import Array

__all__ = ["CELLS", "FLAT", "lost_structure"]

CELLS = 8
"""Cells in each direction: some are within any one of Depth Pro's 5 x 5 tiles."""

FLAT = 0.02
"""Standard deviation over mean of a cell's inverse depth up to which it shows no shape, and correlation is of noise."""

_Cell = npt.NDArray[np.float64]


def lost_structure(depth: Array, reference: Array) -> float:
    """1 - ZNCC of the worst cell: zero-mean normalised cross-correlation of inverse depths, as stereo matching has it.

    It doesn't depend on a cell's scale and shift, which other figures limit.

    Args:
        depth: (H, W) in m, finite and above 0.
        reference: likewise.

    Returns:
        0 to 2: 0 where the shapes are the same, 1 where nothing of them is left, 2 where near and far are exchanged.
        NaN for a reference without a shape in any cell.
    """
    pairs = zip(_cells(depth), _cells(reference), strict=True)
    lost = [1 - _correlation(cell, truth) for cell, truth in pairs if truth.std() > FLAT * truth.mean()]
    return max(lost, default=math.nan)


def _cells(depth: Array) -> Iterator[_Cell]:
    rows, columns = (np.linspace(0, size, min(CELLS, size) + 1).astype(int) for size in depth.shape)
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            yield 1 / depth[top:bottom, left:right].astype(np.float64)


def _correlation(cell: _Cell, truth: _Cell) -> float:
    spread = float(cell.std()) * float(truth.std())
    return float(((cell - cell.mean()) * (truth - truth.mean())).mean()) / spread if spread > 0 else 0.0
