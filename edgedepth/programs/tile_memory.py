"""The pixels that each tile's features were made of, and how far a frame's tiles are from them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgedepth.core.session import Array
from edgedepth.programs.reuse import ReuseHistory, TileChange

__all__ = ["TileMemory"]


class TileMemory:
    """What a program remembers from frame to frame.

    Args:
        count: tiles of a frame.
        tile: side of a tile in pixels.
        patch: side of a patch in pixels.
        std: what the picture's range was divided by, per channel.
    """

    def __init__(self, count: int, tile: int, patch: int, std: Sequence[float]) -> None:
        self.history: ReuseHistory | None = None
        self._pixels = np.empty((count, 3, tile, tile), np.float32)
        self._patches = tile // patch
        self._std = tuple(std)

    def forget(self) -> None:
        """Nothing is known: the next frame is encoded whole."""
        self.history = None

    def changes(self, tiles: Sequence[Array], *, exact: bool) -> list[TileChange]:
        """Compare a frame's tiles, each (3, tile, tile), with what was encoded; by bits alone if `exact`."""
        if self.history is None:
            return [TileChange(equal=False, change=float("inf"))] * len(tiles)
        return [self._change(index, tile, exact) for index, tile in enumerate(tiles)]

    def keep(self, index: int, tile: Array) -> None:
        """Remember a tile's pixels, since it is encoded now."""
        np.copyto(self._pixels[index], tile)

    def _change(self, index: int, tile: Array, exact: bool) -> TileChange:
        kept = self._pixels[index]
        # Compared as bits: NaN is equal to itself, and 0.0 isn't -0.0.
        if np.array_equal(tile.view(np.uint32), kept.view(np.uint32)):
            return TileChange(equal=True, change=0.0)
        if exact:
            return TileChange(equal=False, change=float("nan"))
        size = (self._patches, self._patches)
        largest = [
            # INTER_AREA at a whole ratio is the mean of each block.
            float(np.abs(cv2.resize(cv2.subtract(plane, old), size, interpolation=cv2.INTER_AREA)).max()) * std
            for plane, old, std in zip(tile, kept, self._std, strict=True)
        ]
        return TileChange(equal=False, change=float(np.max(largest)))
