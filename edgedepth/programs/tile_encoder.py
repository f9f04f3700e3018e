"""A pyramid's tiles through the patch encoder in micro-batches, and their features in fused maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedepth.core.arrays import HOST, Arrays
from edgedepth.core.errors import OptionError, UnsupportedError
from edgedepth.core.session import Array, Session
from edgedepth.core.spec import ModelSpec, PyramidLevel, TilingSpec
from edgedepth.core.worker import Worker
from edgedepth.programs.reuse import ReuseHistory, ReusePlan, ReusePolicy, plan_tiles
from edgedepth.programs.stages import run_stage
from edgedepth.programs.stopwatch import Stopwatch
from edgedepth.programs.tile_memory import TileMemory
from edgedepth.programs.tiling import Box, cut, fuse_tile, fused_side, tile_boxes

__all__ = ["TileEncoder"]


@dataclass(frozen=True, slots=True)
class _Tile:
    """A tile's place in the pyramid; `index` is that of its level."""

    index: int
    level: PyramidLevel
    box: Box


@dataclass(frozen=True, slots=True)
class _TileBuffers:
    """One micro-batch of tiles and what the patch encoder makes of it."""

    tiles: Array
    outputs: dict[str, Array]


_Batch = Sequence[_Tile]


class TileEncoder:
    """Fills the fused maps of a frame, and remembers between frames what they were made of if it is asked to.

    Buffers and fused maps are allocated at the first frame and kept for the next ones. Not thread-safe.

    Args:
        spec: a model with tiling and a stage patch_encoder.
        tiling: the spec's.
        tile_batch: tiles in a micro-batch, 1 to all of them (35).
    """

    def __init__(self, spec: ModelSpec, tiling: TilingSpec, *, tile_batch: int) -> None:
        self._tiling = tiling
        self._tile_batch = tile_batch
        self._tiles = [
            _Tile(index, level, box) for index, level in enumerate(tiling.levels) for box in tile_boxes(tiling, level)
        ]
        self._stage = spec.stage("patch_encoder")
        self._std = spec.preprocess.std
        self._width = int(self._stage.outputs[0].shape[-1])  # channels of a feature
        self._buffers: tuple[_TileBuffers, _TileBuffers] | None = None
        self._fused: dict[str, Array] | None = None
        self._memory: TileMemory | None = None
        self._rows_are_alike = False

    @property
    def fused(self) -> dict[str, Array]:
        """The fused maps of the last frame, (1, side, side, C) by name; the next frame writes into them."""
        assert self._fused is not None
        return self._fused

    def free(self) -> None:
        """Give the memory back; the next frame allocates it again."""
        self._buffers = self._fused = self._memory = None

    def forget(self) -> None:
        """Encode every tile of the next frame."""
        if self._memory is not None:
            self._memory.forget()

    def encode(
        self,
        inputs: list[Array],
        pyramid: list[Array],
        session: Session,
        arrays: Arrays,
        watch: Stopwatch,
        *,
        reuse: ReusePolicy | None,
        frugal: bool = False,
    ) -> ReusePlan:
        """Bring the fused maps up to this frame.

        Args:
            inputs: the prepared input at each level's scale on the host, (3, S / scale, S / scale).
            pyramid: the same where the session reads them, (1, 3, S / scale, S / scale).
            session: of the patch encoder.
            arrays: where its features stay.
            watch: for the steps' times.
            reuse: which features of earlier frames may stay; None: none.
            frugal: free the micro-batches' buffers at once.

        Returns:
            The tiles that were encoded, and which of them because they changed.
        """
        fixed = self._check_tile_batch(session)
        with watch("tiling"):
            self._fused = self._fused or self._new_fused(arrays)
            self._buffers = self._buffers or (self._new_buffers(arrays), self._new_buffers(arrays))
        if reuse is None:
            self.forget()
            self._run(pyramid, self._tiles, session, arrays, watch, padded=fixed)
            if frugal:
                self._buffers = None
            count = len(self._tiles)
            return ReusePlan(tuple(range(count)), ReuseHistory((0,) * count, (True,) * count))
        # Exact: every micro-batch has one size, whatever is in it, or a kernel might add in another order.
        padded = fixed or reuse.exact
        if reuse.exact:
            self._check_exact(inputs, session, fixed=fixed)
        memory = self._memory = self._memory or TileMemory(
            len(self._tiles), self._tiling.tile, self._tiling.tile // self._tiling.grid, self._std
        )
        with watch("reuse"):
            pixels = [cut(inputs[tile.index], tile.box) for tile in self._tiles]
            changes = memory.changes(pixels, exact=reuse.exact)
            plan = plan_tiles(changes, memory.history, reuse, self._tile_batch if padded else 1)
            # Until they are encoded nothing is known: what fails halfway leaves no mixture behind.
            memory.forget()
            for index in plan.tiles:
                memory.keep(index, pixels[index])
        self._run(pyramid, [self._tiles[index] for index in plan.tiles], session, arrays, watch, padded=padded)
        memory.history = plan.history
        return plan

    def _run(
        self,
        pyramid: list[Array],
        tiles: _Batch,
        session: Session,
        arrays: Arrays,
        watch: Stopwatch,
        *,
        padded: bool,
    ) -> None:
        """Run tiles, a micro-batch at a time, each straight into the fused maps.

        While one micro-batch runs, the one before it is fused and the next one is cut.
        """
        if not tiles:
            return
        assert self._buffers is not None
        running: tuple[_Batch, Future[dict[str, Array]]] | None = None

        def fuse_next() -> None:
            assert running is not None
            batch, future = running
            with watch("patch_encoder"):
                outputs = future.result()
            with watch("tiling"):
                self._fuse(arrays, outputs, batch)

        with Worker("edgedepth-tiles") as worker:
            # A device has a queue of its own, which both copies and runs belong to.
            submit = worker.submit if arrays is HOST else _at_once
            for number, start in enumerate(range(0, len(tiles), self._tile_batch)):
                batch = tiles[start : start + self._tile_batch]
                with watch("tiling"):
                    feeds, out = self._cut(arrays, pyramid, batch, self._buffers[number % 2], padded=padded)
                submitted = submit(run_stage, session, self._stage, feeds, out)
                if running:
                    fuse_next()
                running = batch, submitted
            fuse_next()

    def _cut(
        self, arrays: Arrays, pyramid: list[Array], batch: _Batch, buffers: _TileBuffers, *, padded: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Copy a micro-batch out of the pyramid: what the patch encoder is fed, and what it writes into."""
        # An artefact of a fixed batch is fed that many: any tile will do, its features go nowhere.
        count = self._tile_batch if padded else len(batch)
        for row in range(count):
            tile = batch[row] if row < len(batch) else batch[0]
            arrays.copy(buffers.tiles[row], cut(pyramid[tile.index][0], tile.box))
        return {"tiles": buffers.tiles[:count]}, {name: array[:count] for name, array in buffers.outputs.items()}

    def _check_tile_batch(self, session: Session) -> bool:
        """Whether the artefact takes a fixed number of tiles; refuses one that isn't tile_batch."""
        batch = {tensor.name: tensor.shape[0] for tensor in session.inputs}.get("tiles")
        if isinstance(batch, int) and batch != self._tile_batch:
            raise OptionError(
                f"tile_batch is {self._tile_batch}; this artefact was exported for batches of exactly {batch}",
                remedy=f"use tile_batch={batch}, or 'edgedepth export --tile-batch {self._tile_batch}', "
                "or --dynamic-batch for any size",
            )
        return isinstance(batch, int)

    def _check_exact(self, inputs: list[Array], session: Session, *, fixed: bool) -> None:
        """Refuse exact reuse where its promise, the bits of a fresh run, can't be kept. Costs a micro-batch, once."""
        if not fixed and self._tiling.count % self._tile_batch:
            raise OptionError(
                f"exact reuse with tile_batch {self._tile_batch}: a fresh run's last micro-batch has another size, and "
                "may round otherwise",
                remedy=f"use a tile_batch that divides {self._tiling.count}, as 1, 5 and 7 do, or reuse=0.001",
            )
        if self._rows_are_alike:
            return
        tiles = np.stack([cut(inputs[tile.index], tile.box) for tile in self._tiles[: self._tile_batch]])
        straight = run_stage(session, self._stage, {"tiles": tiles})
        rolled = run_stage(session, self._stage, {"tiles": np.roll(tiles, 1, axis=0)})
        for name, features in straight.items():
            if not np.array_equal(np.roll(features, 1, axis=0).view(np.uint32), rolled[name].view(np.uint32)):
                raise UnsupportedError(
                    "exact reuse needs features that don't depend on a tile's place in its micro-batch; this "
                    f"backend's {name} do, on {session.device}",
                    remedy="export with --tile-batch 1, or overlook the smallest changes: reuse=0.001",
                )
        self._rows_are_alike = True

    def _new_buffers(self, arrays: Arrays) -> _TileBuffers:
        tile, grid = self._tiling.tile, self._tiling.grid
        features = (self._tile_batch, grid, grid, self._width)
        return _TileBuffers(
            tiles=arrays.resident((self._tile_batch, 3, tile, tile)),
            outputs={tensor.name: arrays.resident(features) for tensor in self._stage.outputs},
        )

    def _new_fused(self, arrays: Arrays) -> dict[str, Array]:
        sides = [fused_side(self._tiling, level) for level in self._tiling.levels]
        names = {"latent0": sides[0], "latent1": sides[0]}
        names |= {f"level{index}": side for index, side in enumerate(sides)}
        return {name: arrays.resident((1, side, side, self._width)) for name, side in names.items()}

    def _fuse(self, arrays: Arrays, outputs: dict[str, Array], batch: _Batch) -> None:
        assert self._fused is not None
        fused = self._fused
        for row, tile in enumerate(batch):
            fuse_tile(fused[f"level{tile.index}"][0], outputs["features"][row], tile.level, tile.box, arrays.copy)
            if tile.index == 0:
                for name in ("latent0", "latent1"):
                    fuse_tile(fused[name][0], outputs[name][row], tile.level, tile.box, arrays.copy)


def _at_once(run: Callable[..., dict[str, Array]], *arguments: Any) -> Future[dict[str, Array]]:
    done: Future[dict[str, Array]] = Future()
    done.set_result(run(*arguments))
    return done
