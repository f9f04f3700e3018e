"""How many tiles a call of the patch encoder should take on a device: measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from edgedepth.core.session import Session
from edgedepth.core.spec import TilingSpec

__all__ = ["frame_seconds_by_tile_batch", "tile_batch_candidates"]

_TIMED_RUNS = 2
"""After one that is not timed: a runtime plans and allocates in the first run of a size."""

_PATIENCE = 2
"""Sizes in a row that bring nothing, after which larger ones are not tried: they cost the most time and memory."""


def tile_batch_candidates(tiles: int) -> tuple[int, ...]:
    """The sizes worth trying, ascending: the smallest for each number of calls; of 35: 1 to 7, 9, 12, 18 and 35."""
    calls = range(1, tiles + 1)
    return tuple(sorted({-(-tiles // count) for count in calls}))


def frame_seconds_by_tile_batch(
    patch_encoder: Session, tiling: TilingSpec, *, clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Seconds that a frame's tiles take, by the size of their micro-batches, smallest sizes first.

    The fastest of two runs counts: what disturbs a run makes it slower, never faster.

    Args:
        patch_encoder: that takes any number of tiles.
        tiling: of the model.
        clock: seconds.
    """
    seconds: dict[int, float] = {}
    without_gain = 0
    for size in tile_batch_candidates(tiling.count):
        feeds = {"tiles": np.zeros((size, 3, tiling.tile, tiling.tile), np.float32)}
        patch_encoder.run(feeds)
        calls = -(-tiling.count // size)
        best = min(seconds.values(), default=float("inf"))
        seconds[size] = calls * min(_timed(patch_encoder, feeds, clock))
        without_gain = 0 if seconds[size] < best else without_gain + 1
        if without_gain == _PATIENCE:
            break
    return seconds


def _timed(session: Session, feeds: dict[str, np.ndarray], clock: Callable[[], float]) -> Iterator[float]:
    for _ in range(_TIMED_RUNS):
        start = clock()
        session.run(feeds)
        yield clock() - start
