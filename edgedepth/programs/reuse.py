"""Which tiles of a frame are encoded again, and which keep the features of an earlier frame. Pure functions.

A tile is compared with the pixels that its features were made of, not with the frame before: a change that creeps in
over a hundred frames counts as much as one that jumps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

from edgedepth.core.errors import OptionError

__all__ = ["EncodedTiles", "ReuseHistory", "ReusePlan", "ReusePolicy", "TileChange", "plan_tiles", "reuse_policy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReusePolicy:
    """When a tile's features are too old to be used.

    Tiles that are equal bit by bit are never encoded again. The rest of this is about those that differ.

    Args:
        threshold: the largest change that is overlooked, of the picture's range 0..1 (see TileChange). 0 overlooks
            nothing: depth is bit for bit what a fresh run gives.
        hysteresis: a tile that was encoded because it changed goes on being encoded until its change falls below
            threshold * hysteresis: 0..1; 1 switches at the threshold itself.
        max_age: frames for which a tile may differ, however little, before it is encoded.
        refresh: tiles a frame, on average, that are encoded in turn although their change is overlooked, the oldest
            first. Rows of a micro-batch that would run empty are used for it before others are paid for.
    """

    threshold: float = 0.0
    hysteresis: float = 0.5
    max_age: int = 60
    refresh: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what can't be meant."""
        _check("reuse", self.threshold, 0, 1, "a change of the picture's range 0..1; 0.01 is one per cent of it")
        _check("reuse hysteresis", self.hysteresis, 0, 1, "a share of the threshold")
        _check("reuse max_age", self.max_age, 1, math.inf, "in frames")
        _check("reuse refresh", self.refresh, 0, math.inf, "tiles a frame")

    @property
    def exact(self) -> bool:
        """Whether nothing is overlooked."""
        return self.threshold == 0


@dataclass(frozen=True, slots=True)
class TileChange:
    """How a tile differs from the pixels that it was encoded from.

    Args:
        equal: bit by bit.
        change: the largest difference of a patch's mean in any channel, of the picture's range 0..1. Patches are the
            transformer's (16 x 16 pixels): sensor noise averages out over them, a small mover doesn't. NaN counts
            as a change beyond every threshold.
    """

    equal: bool
    change: float


@dataclass(frozen=True, slots=True)
class ReuseHistory:
    """What the next decision depends on.

    Args:
        ages: frames since each tile was equal to what was encoded.
        moving: whether each tile was encoded last time because it changed.
        owed: refreshes that are due and not yet paid, in tiles.
    """

    ages: tuple[int, ...]
    moving: tuple[bool, ...]
    owed: float = 0.0


@dataclass(frozen=True, slots=True)
class ReusePlan:
    """The tiles to encode, ascending, and the history once that is done."""

    tiles: tuple[int, ...]
    history: ReuseHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedTiles:
    """What of a frame was computed, and what was kept of earlier ones.

    Args:
        tiles: that were encoded.
        of: tiles in all: 35 for Depth Pro.
        stages: that ran: a subset of "patch_encoder", "image_encoder", "decoder", "fov"; in place of "decoder"
            "decoder_coarse" and "decoder_window", where a bundle has them and they cost less.
        windows: that were decoded, where the decoder didn't run whole.
        windows_of: windows in all: 25 for Depth Pro; 0 where the decoder comes whole only.
    """

    tiles: int
    of: int
    stages: tuple[str, ...]
    windows: int = 0
    windows_of: int = 0


def reuse_policy(reuse: float | ReusePolicy) -> ReusePolicy:
    """A policy from what a caller gives: a threshold, or all of it.

    Raises:
        OptionError: neither, or out of range.
    """
    return reuse if isinstance(reuse, ReusePolicy) else ReusePolicy(threshold=reuse)


def plan_tiles(
    changes: Sequence[TileChange], history: ReuseHistory | None, policy: ReusePolicy, tile_batch: int
) -> ReusePlan:
    """Decide.

    Args:
        changes: of every tile.
        history: None at the first frame, whose tiles are all encoded.
        policy: the caller's.
        tile_batch: tiles that a call of the encoder costs at least: rows up to a multiple of it are free. 1 where
            an artefact takes any number.
    """
    count = len(changes)
    if history is None:
        return ReusePlan(tuple(range(count)), ReuseHistory((0,) * count, (False,) * count))
    moving = tuple(_moves(now, before, policy) for now, before in zip(changes, history.moving, strict=True))
    differing = [index for index, now in enumerate(changes) if not now.equal]
    due = {index for index in differing if moving[index] or history.ages[index] + 1 >= policy.max_age}
    waiting = sorted(set(differing) - due, key=lambda index: (-history.ages[index], index))
    owed = min(history.owed + policy.refresh, float(count)) if waiting else 0.0
    room = -len(due) % tile_batch
    if owed - room >= tile_batch:
        room += int((owed - room) // tile_batch) * tile_batch
    refreshed = waiting[:room] if policy.refresh else []
    tiles = due | set(refreshed)
    ages = tuple(
        0 if now.equal or index in tiles else age + 1
        for index, (now, age) in enumerate(zip(changes, history.ages, strict=True))
    )
    return ReusePlan(tuple(sorted(tiles)), ReuseHistory(ages, moving, max(0.0, owed - len(refreshed))))


def _moves(now: TileChange, moved: bool, policy: ReusePolicy) -> bool:
    """Whether a tile has changed too much; NaN compares false with everything, and so has."""
    if now.equal:
        return False
    limit = policy.threshold * policy.hysteresis if moved else policy.threshold
    return policy.exact or not now.change <= limit


def _check(name: str, value: object, low: float, high: float, meaning: str) -> None:
    number = isinstance(value, Real) and not isinstance(value, bool)
    if number and low <= value <= high:  # type: ignore[operator]
        return
    upper = f"to {high:g}" if math.isfinite(high) else "and more"
    raise OptionError(f"{name} is {value!r}; allowed are {low:g} {upper}, {meaning}", remedy="reuse=0.01")
