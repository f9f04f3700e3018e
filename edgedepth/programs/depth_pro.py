"""Depth Pro in stages: pyramid, tiles in micro-batches, fused maps, decoder, field of view.

Source: Depth Pro (arXiv 2410.02073), section 3.1 and figure 3; github.com/apple/ml-depth-pro.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedepth.core.arrays import HOST, Arrays, Parcel, arrays_of
from edgedepth.core.errors import OptionError
from edgedepth.core.session import Array, Session
from edgedepth.core.spec import ModelSpec, PyramidLevel, TilingSpec
from edgedepth.programs.canonical import CanonicalProgram, prepare
from edgedepth.programs.resize import shrink
from edgedepth.programs.stages import StagePool, run_stage
from edgedepth.programs.stopwatch import Stopwatch
from edgedepth.programs.tiling import Box, check_tiling, cut, fuse_tile, fused_side, tile_boxes

__all__ = ["DepthProProgram"]


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


_Batch = list[_Tile]


class DepthProProgram(CanonicalProgram):
    """Runs the stages patch_encoder, image_encoder, decoder and, without a focal length, fov.

    The tiles' buffers and the fused maps are allocated at the first frame and kept for the next ones; with a
    pool of resident="one" they are freed as soon as a frame no longer needs them.

    Args:
        spec: a model of the family "depth-pro", layout "staged".
        pool: its stages; the program doesn't close it.
        tile_batch: tiles in a micro-batch, 1 to all of them (35).

    Raises:
        OptionError: another tile_batch.
        UnsupportedError: a tiling that doesn't cover the input.
    """

    def __init__(self, spec: ModelSpec, pool: StagePool, *, tile_batch: int) -> None:
        super().__init__(spec, pool)
        if spec.tiling is None:
            raise OptionError(f"{spec.name} has no tiling", remedy="use SingleGraphProgram for one graph")
        check_tiling(spec.tiling, spec.preprocess.size)
        if isinstance(tile_batch, bool) or not isinstance(tile_batch, int) or not 1 <= tile_batch <= spec.tiling.count:
            raise OptionError(
                f"tile_batch is {tile_batch!r}; allowed are 1 to {spec.tiling.count}",
                remedy="--tile-batch 5 suits most devices",
            )
        self._tiling: TilingSpec = spec.tiling
        self._tile_batch = tile_batch
        self._tiles = [
            _Tile(index, level, box)
            for index, level in enumerate(spec.tiling.levels)
            for box in tile_boxes(spec.tiling, level)
        ]
        self._patch_encoder = spec.stage("patch_encoder")
        self._width = int(self._patch_encoder.outputs[0].shape[-1])  # channels of a feature
        self._parcel: Parcel | None = None  # the pyramid
        self._buffers: tuple[_TileBuffers, _TileBuffers] | None = None
        self._fused: dict[str, Array] | None = None
        self._between: dict[str, dict[str, Array]] = {}  # what one stage gives and another takes, by stage

    def _infer(self, rgb: Array, want_fov: bool, watch: Stopwatch) -> tuple[Array, float]:
        # The picture goes where the patch encoder runs, and features stay where it made them, if it offers the place.
        arrays = arrays_of(self._pool.session("patch_encoder"))
        pyramid = self._pyramid(rgb, arrays, watch)
        fused = self._encode_tiles(pyramid, arrays, watch)
        # The last level is one tile: what the image encoder and the field of view see.
        thumbnail = pyramid[-1]
        del pyramid
        image_features = self._run(
            "image_encoder", {"image": thumbnail}, watch, self._resident("image_encoder", arrays)
        )
        size = self.spec.preprocess.size
        # Allocated for each frame: it becomes the caller's.
        out = self._resident("decoder", arrays) | {"canonical_inverse_depth": np.empty((1, 1, size, size), np.float32)}
        decoded = self._run("decoder", {**fused, **image_features}, watch, out)
        del image_features, fused
        if self._pool.resident == "one":
            self._parcel = self._fused = None
            self._between.clear()
        fov_deg = float("nan")
        if want_fov:
            feeds = {"image": thumbnail, "lowres_features": decoded["lowres_features"]}
            fov_deg = self._run("fov", feeds, watch)["fov_deg"].item()
        return decoded["canonical_inverse_depth"], fov_deg

    def _run(
        self, name: str, feeds: dict[str, Array], watch: Stopwatch, out: dict[str, Array] | None = None
    ) -> dict[str, Array]:
        session = self._pool.session(name)
        with watch(name):
            return run_stage(session, self.spec.stage(name), feeds, out)

    def _pyramid(self, rgb: Array, arrays: Arrays, watch: Stopwatch) -> list[Array]:
        """The prepared input at each level's scale, (1, 3, S / scale, S / scale): all that goes to a device."""
        with watch("preprocess"):
            if self._parcel is None:
                sides = [self.spec.preprocess.size // level.scale for level in self._tiling.levels]
                self._parcel = arrays.parcel([(1, 3, side, side) for side in sides])
            image, *smaller = (level[0] for level in self._parcel.fill())
            prepare(rgb, self.spec.preprocess, out=image)
            for level in smaller:
                shrink(image, level)
            return self._parcel.send()

    def _resident(self, name: str, arrays: Arrays) -> dict[str, Array]:
        """Arrays for those outputs of a stage that only other stages read."""
        if name not in self._between:
            self._between[name] = {
                tensor.name: arrays.resident(tuple(map(int, tensor.shape)))
                for tensor in self.spec.stage(name).outputs
                if tensor.name != "canonical_inverse_depth"
            }
        return self._between[name]

    def _encode_tiles(self, pyramid: list[Array], arrays: Arrays, watch: Stopwatch) -> dict[str, Array]:
        """Run all tiles, a micro-batch at a time, each straight into the fused maps; (1, side, side, C) by name.

        While one micro-batch runs, the one before it is fused and the next one is cut.
        """
        session = self._pool.session("patch_encoder")
        fixed = self._check_tile_batch(session)
        with watch("tiling"):
            self._buffers = buffers = self._buffers or (self._new_buffers(arrays), self._new_buffers(arrays))
            self._fused = fused = self._fused or self._new_fused(arrays)
        running: tuple[_Batch, Future[dict[str, Array]]] | None = None

        def fuse_next() -> None:
            assert running is not None
            batch, future = running
            with watch("patch_encoder"):
                outputs = future.result()
            with watch("tiling"):
                self._fuse(arrays, fused, outputs, batch)

        with ThreadPoolExecutor(1, "edgedepth-tiles") as worker:
            # A device has a queue of its own, which both copies and runs belong to.
            submit = worker.submit if arrays is HOST else _at_once
            for number, start in enumerate(range(0, len(self._tiles), self._tile_batch)):
                batch = self._tiles[start : start + self._tile_batch]
                with watch("tiling"):
                    feeds, out = self._cut(arrays, pyramid, batch, buffers[number % 2], fixed=fixed)
                submitted = submit(run_stage, session, self._patch_encoder, feeds, out)
                if running:
                    fuse_next()
                running = batch, submitted
            fuse_next()
        if self._pool.resident == "one":
            self._buffers = None
        return fused

    def _cut(
        self, arrays: Arrays, pyramid: list[Array], batch: _Batch, buffers: _TileBuffers, *, fixed: bool
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Copy a micro-batch out of the pyramid: what the patch encoder is fed, and what it writes into."""
        # An artefact of a fixed batch is fed that many: any tile will do, its features go nowhere.
        count = self._tile_batch if fixed else len(batch)
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

    def _new_buffers(self, arrays: Arrays) -> _TileBuffers:
        tile, grid = self._tiling.tile, self._tiling.grid
        features = (self._tile_batch, grid, grid, self._width)
        return _TileBuffers(
            tiles=arrays.resident((self._tile_batch, 3, tile, tile)),
            outputs={tensor.name: arrays.resident(features) for tensor in self._patch_encoder.outputs},
        )

    def _new_fused(self, arrays: Arrays) -> dict[str, Array]:
        sides = [fused_side(self._tiling, level) for level in self._tiling.levels]
        names = {"latent0": sides[0], "latent1": sides[0]}
        names |= {f"level{index}": side for index, side in enumerate(sides)}
        return {name: arrays.resident((1, side, side, self._width)) for name, side in names.items()}

    @staticmethod
    def _fuse(arrays: Arrays, fused: dict[str, Array], outputs: dict[str, Array], batch: _Batch) -> None:
        for row, tile in enumerate(batch):
            fuse_tile(fused[f"level{tile.index}"][0], outputs["features"][row], tile.level, tile.box, arrays.copy)
            if tile.index == 0:
                for name in ("latent0", "latent1"):
                    fuse_tile(fused[name][0], outputs[name][row], tile.level, tile.box, arrays.copy)


def _at_once(run: Callable[..., dict[str, Array]], *arguments: Any) -> Future[dict[str, Array]]:
    done: Future[dict[str, Array]] = Future()
    done.set_result(run(*arguments))
    return done
