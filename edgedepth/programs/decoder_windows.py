"""Which parts of a frame are decoded again, and which keep the depth of an earlier frame.

The decoder's two finest levels and its head are nine tenths of its work and look a few features around. A window of
them belongs to each tile of the finest level. It is decoded when its tile changed, or when the coarse features, which a
change anywhere in the picture moves a little, differ from those that it was decoded from. What is overlooked is bounded
as for tiles (programs/reuse.py): by a threshold, hysteresis, a maximum age and refreshes in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgedepth.core.arrays import Arrays
from edgedepth.core.errors import UnsupportedError
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec, TilingSpec
from edgedepth.programs.reuse import ReuseHistory, ReusePlan, ReusePolicy, TileChange, plan_tiles
from edgedepth.programs.tiling import fused_side, fused_span

__all__ = ["DecoderWindows", "RunStage", "WindowSpan", "has_windows", "window_spans"]

RunStage = Callable[[str, dict[str, Array], dict[str, Array]], dict[str, Array]]
"""Runs a stage by its name, on inputs, into outputs."""

_PIXELS = 16
"""Of canonical inverse depth to a feature of latent0, along a side."""

_COARSE = 2
"""Coarse features to a feature of latent0, along a side."""

_REACH = 2
"""Features of latent0 that the fine levels and the head look to each side."""

_COARSE_BY_DEPTH = 4.0
"""Coarse features may differ by so many per cent of their size for each per cent of depth: on the trained mini's whole
map, a mover and sensor noise, 5.5 to 8.3 move depth by one (AbsRel), so this is on the careful side."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowSpan:
    """A window along one axis, in features of latent0.

    Args:
        fed: what its stage sees.
        own: what its tile left in the fused map.
        right: what comes out as of the whole picture: all that a change of its own features reaches.
        weights: of the window's depth in the picture's, a pixel of `right` each: 1 within `own`, and falling to 0
            beyond, so that no seam shows between what is new and what was kept.
    """

    fed: slice
    own: slice
    right: slice
    weights: Array


def has_windows(spec: ModelSpec) -> bool:
    """Whether the bundle holds the decoder in windows too."""
    return {"decoder_coarse", "decoder_window"} <= {stage.name for stage in spec.stages}


def window_spans(tiling: TilingSpec, cells: int) -> list[WindowSpan]:
    """The windows along an axis, one for each tile of the finest level.

    Args:
        tiling: the cut.
        cells: features of latent0 along a window's side.

    Raises:
        UnsupportedError: windows too small to hold a tile's features and what is around them.
    """
    level = tiling.levels[0]
    side = fused_side(tiling, level)
    spans = []
    for step in range(level.steps):
        own = fused_span(tiling, level, step)
        first = min(max(own.start - 2 * _REACH, 0), side - cells)
        fed = slice(first, first + cells)
        right = slice(max(own.start - _REACH, 0), min(own.stop + _REACH, side))
        enough = fed.start <= max(right.start - _REACH, 0) and fed.stop >= min(right.stop + _REACH, side)
        if first < 0 or not enough:
            raise UnsupportedError(
                f"windows of {cells} features of a map of {side} don't hold a tile's {own.stop - own.start} and "
                f"{2 * _REACH} around them",
                remedy="export the bundle again: edgedepth export --decoder-windows",
            )
        spans.append(WindowSpan(fed=fed, own=own, right=right, weights=_weights(own, right)))
    return spans


class DecoderWindows:
    """Decodes what changed into the last frame's depth, and remembers what each window was decoded from.

    Args:
        spec: a model that has_windows().
        tiling: the spec's.
    """

    def __init__(self, spec: ModelSpec, tiling: TilingSpec) -> None:
        coarse = spec.stage("decoder_coarse").outputs[0].shape
        fed = {tensor.name: tuple(map(int, tensor.shape)) for tensor in spec.stage("decoder_window").inputs}
        cells = fed["latent0"][1]
        spans = window_spans(tiling, cells)
        self._windows = [(row, column) for row in spans for column in spans]
        self._limit = int((fused_side(tiling, tiling.levels[0]) / cells) ** 2)
        self._coarse_shape = tuple(map(int, coarse))
        self._fed_shapes = fed
        self._history: ReuseHistory | None = None
        self._differs = np.zeros(len(self._windows), bool)  # latents since a window was decoded
        self._coarse: Array | None = None  # features of the last frame
        self._kept: Array | None = None  # those that each window was decoded from
        self._feeds: dict[str, Any] | None = None

    @property
    def count(self) -> int:
        """Of the windows that make a picture."""
        return len(self._windows)

    @property
    def known(self) -> bool:
        """Whether the last frame's depth is of windows, or may be gone on with in windows."""
        return self._history is not None

    @property
    def waiting(self) -> bool:
        """Whether there are windows whose difference was overlooked."""
        return self._history is not None and any(self._history.ages)

    def forget(self) -> None:
        """Nothing is known: the next frame is decoded whole."""
        self._history = None

    def free(self) -> None:
        """Forget, and give the memory back."""
        self._history = self._coarse = self._kept = self._feeds = None

    def see(self, maps: Mapping[str, Array], lowres_features: Array, run: RunStage) -> None:
        """Decode the coarse levels of a frame whose features changed.

        Args:
            maps: the decoder's inputs by name.
            lowres_features: written to.
            run: runs stages.
        """
        if self._coarse is None:
            self._coarse = np.empty(self._coarse_shape, np.float32)
        feeds = {name: maps[name] for name in ("level0", "level1", "level2", "image_features")}
        run("decoder_coarse", feeds, {"coarse_features": self._coarse, "lowres_features": lowres_features})

    def plan(self, tiles: ReusePlan, policy: ReusePolicy) -> tuple[int, ...] | None:
        """The windows to decode, ascending, and None where the whole decoder costs less; they count as decoded now.

        Until they are, a failure has to be followed by forget().

        Args:
            tiles: what was encoded.
            policy: the caller's, not an exact one.
        """
        coarse = self._coarse
        assert coarse is not None
        encoded = [index for index in tiles.tiles if index < len(self._windows)]
        self._differs[encoded] = True
        moved = {index for index in encoded if tiles.history.moving[index]}
        policy = replace(policy, threshold=min(1.0, policy.threshold * _COARSE_BY_DEPTH))
        plan = plan_tiles(self._changes(moved), self._history, policy, 1)
        if self._kept is None or len(plan.tiles) > self._limit:
            self._kept = coarse.copy()
            self._differs[:] = False
            self._history = ReuseHistory((0,) * len(self._windows), plan.history.moving)
            return None
        for index in plan.tiles:
            self._differs[index] = False
            np.copyto(self._own(self._kept, index), self._own(coarse, index))
        self._history = plan.history
        return plan.tiles

    def decode(
        self, windows: Sequence[int], canonical: Array, maps: Mapping[str, Array], run: RunStage, arrays: Arrays
    ) -> None:
        """Decode windows into a map of depth.

        Args:
            windows: by the numbers of their tiles.
            canonical: canonical inverse depth, (1, 1, S, S), written to.
            maps: the decoder's inputs by name.
            run: runs stages.
            arrays: where latents lie.
        """
        assert self._coarse is not None
        if self._feeds is None:
            self._feeds = {name: arrays.resident(self._fed_shapes[name]) for name in ("latent0", "latent1")}
            self._feeds["coarse_features"] = np.empty(self._fed_shapes["coarse_features"], np.float32)
        feeds = self._feeds
        for index in windows:
            row, column = self._windows[index]
            for name in ("latent0", "latent1"):
                arrays.copy(feeds[name][0], maps[name][0][row.fed, column.fed])
            coarse = _scaled(row.fed, _COARSE), _scaled(column.fed, _COARSE)
            np.copyto(feeds["coarse_features"][0], self._coarse[0][coarse])
            decoded = run("decoder_window", feeds, {})["canonical_inverse_depth"]
            _paste(canonical[0, 0], decoded[0, 0], row, column)

    def alternate(self) -> tuple[int, ...]:
        """Every second window: for a map of which one half is decoded whole and the other in windows."""
        return tuple(range(0, len(self._windows), 2))

    def _changes(self, moved: set[int]) -> list[TileChange]:
        coarse, kept = self._coarse, self._kept
        if coarse is None or kept is None or self._history is None:
            return [TileChange(equal=False, change=float("inf"))] * len(self._windows)
        difference = (coarse - kept)[0]
        size = len(difference) // _COARSE
        cells = np.einsum("hwc,hwc->hw", difference, difference).reshape(size, _COARSE, size, _COARSE).mean((1, 3))
        flat = kept.reshape(-1)
        with np.errstate(all="ignore"):  # NaN, or a map of zeros: a change beyond every threshold
            relative = np.sqrt(cells * (size * _COARSE) ** 2 / np.dot(flat, flat))
        return [self._change(index, relative, index in moved) for index in range(len(self._windows))]

    def _change(self, index: int, relative: Array, moved: bool) -> TileChange:
        assert self._coarse is not None
        assert self._kept is not None
        row, column = self._windows[index]
        now, before = (self._own(array, index) for array in (self._coarse, self._kept))
        if not self._differs[index] and np.array_equal(now.view(np.uint32), before.view(np.uint32)):
            return TileChange(equal=True, change=0.0)
        change = float("inf") if moved else float(np.max(relative[row.own, column.own]))
        return TileChange(equal=False, change=change)

    def _own(self, coarse: Array, index: int) -> Array:
        row, column = self._windows[index]
        own: Array = coarse[0][_scaled(row.own, _COARSE), _scaled(column.own, _COARSE)]
        return own


def _paste(picture: Array, decoded: Array, row: WindowSpan, column: WindowSpan) -> None:
    """Put a window's depth into the picture's, both (H, W)."""
    new = decoded[_pixels(row.right, row.fed.start), _pixels(column.right, column.fed.start)]
    part = picture[_pixels(row.right), _pixels(column.right)]
    part += row.weights[:, None] * column.weights * (new - part)
    own = _pixels(row.own, row.right.start), _pixels(column.own, column.right.start)
    np.copyto(part[own], new[own])  # as they are, without a rounding


def _weights(own: slice, right: slice) -> Array:
    """1 for the pixels of `own`, falling to 0 on both sides of it."""
    places = np.arange(right.start * _PIXELS, right.stop * _PIXELS) + 0.5
    beyond = np.maximum(own.start * _PIXELS - places, places - own.stop * _PIXELS)
    weights: Array = np.clip(1 - beyond / (_REACH * _PIXELS), 0, 1).astype(np.float32)
    return weights


def _scaled(cells: slice, by: int) -> slice:
    return slice(cells.start * by, cells.stop * by)


def _pixels(cells: slice, start: int = 0) -> slice:
    return slice((cells.start - start) * _PIXELS, (cells.stop - start) * _PIXELS)
