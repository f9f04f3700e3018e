"""Depth Pro in stages: pyramid, tiles in micro-batches, fused maps, decoder, field of view.

Source: Depth Pro (arXiv 2410.02073), section 3.1 and figure 3; github.com/apple/ml-depth-pro.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgedepth.core.arrays import HOST, Arrays, Parcel, arrays_of
from edgedepth.core.errors import OptionError
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec, TilingSpec
from edgedepth.programs.canonical import CanonicalProgram, NetworkOutput, prepare
from edgedepth.programs.resize import shrink
from edgedepth.programs.reuse import EncodedTiles, ReusePolicy
from edgedepth.programs.stages import StagePool, run_stage
from edgedepth.programs.stopwatch import Stopwatch
from edgedepth.programs.tile_encoder import TileEncoder
from edgedepth.programs.tiling import check_tiling

__all__ = ["DepthProProgram"]


@dataclass(frozen=True, slots=True)
class _Last:
    """What the last frame's decoder and field of view gave; NaN for one that wasn't asked for."""

    canonical: Array
    fov_deg: float


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
        self._encoder = TileEncoder(spec, spec.tiling, tile_batch=tile_batch)
        self._parcel: Parcel | None = None  # the pyramid, on its way to a device
        self._between: dict[str, dict[str, Array]] = {}  # what one stage gives and another takes, by stage
        self._last: _Last | None = None

    def _inputs(self, rgb: Array) -> list[Array]:
        """The prepared input at each level's scale, (3, S / scale, S / scale)."""
        image = prepare(rgb, self.spec.preprocess)
        levels = [image]
        for level in self._tiling.levels[1:]:
            side = image.shape[1] // level.scale
            levels.append(np.empty((3, side, side), np.float32))
            shrink(image, levels[-1])
        return levels

    def _infer(self, inputs: list[Array], want_fov: bool, watch: Stopwatch, reuse: ReusePolicy | None) -> NetworkOutput:
        if reuse is not None and self._pool.resident == "one":
            raise OptionError(
                "reuse keeps the features of earlier frames, which resident='one' frees", remedy="resident='all'"
            )
        last, self._last = self._last if reuse else None, None
        # The picture goes where the patch encoder runs, and features stay where it made them, if it offers the place.
        session = self._pool.session("patch_encoder")
        arrays = arrays_of(session)
        pyramid = self._sent(inputs, arrays, watch)
        try:
            tiles = self._encoder.encode(
                inputs, pyramid, session, arrays, watch, reuse=reuse, frugal=self._pool.resident == "one"
            )
            # The last level is one tile: what the image encoder and the field of view see.
            thumbnail = pyramid[-1]
            thumbnail_is_new = last is None or self._tiling.count - 1 in tiles
            ran = ["patch_encoder"] if tiles else []
            if last is not None and not tiles:
                canonical = last.canonical
            else:
                canonical = self._decode(thumbnail, thumbnail_is_new, arrays, watch)
                ran += ["image_encoder"] * thumbnail_is_new + ["decoder"]
            fov_deg = float("nan")
            if last is not None and not self._fov_is_stale(tiles, reuse):
                fov_deg = last.fov_deg
            if want_fov and math.isnan(fov_deg):
                lowres = self._resident("decoder", arrays)["lowres_features"]
                fov_deg = self._run("fov", {"image": thumbnail, "lowres_features": lowres}, watch)["fov_deg"].item()
                ran.append("fov")
        except BaseException:
            self._encoder.forget()
            raise
        if self._pool.resident == "one":
            self._between.clear()
            self._parcel = None
        if reuse is not None:
            self._last = _Last(canonical.copy(), fov_deg)
        return NetworkOutput(
            canonical, fov_deg, EncodedTiles(tiles=len(tiles), of=self._tiling.count, stages=tuple(ran))
        )

    def _sent(self, inputs: list[Array], arrays: Arrays, watch: Stopwatch) -> list[Array]:
        """The pyramid where the patch encoder reads it, (1, 3, S / scale, S / scale): all that goes to a device."""
        if arrays is HOST:
            return [level[None] for level in inputs]
        with watch("upload"):
            self._parcel = self._parcel or arrays.parcel([(1, *level.shape) for level in inputs])
            for target, level in zip(self._parcel.fill(), inputs, strict=True):
                np.copyto(target[0], level)
            return self._parcel.send()

    def _decode(self, thumbnail: Array, thumbnail_is_new: bool, arrays: Arrays, watch: Stopwatch) -> Array:
        """Canonical inverse depth, a new array, of the fused maps."""
        image_features = self._resident("image_encoder", arrays)
        if thumbnail_is_new:
            image_features = self._run("image_encoder", {"image": thumbnail}, watch, image_features)
        size = self.spec.preprocess.size
        # Allocated for each frame: it becomes the caller's.
        out = self._resident("decoder", arrays) | {"canonical_inverse_depth": np.empty((1, 1, size, size), np.float32)}
        decoded = self._run("decoder", {**self._encoder.fused, **image_features}, watch, out)
        if self._pool.resident == "one":
            self._encoder.free()
            del self._between["image_encoder"]
        return decoded["canonical_inverse_depth"]

    def _fov_is_stale(self, tiles: tuple[int, ...], reuse: ReusePolicy | None) -> bool:
        """Whether the last frame's field of view has to be predicted again, by the tiles that were encoded.

        It sees the thumbnail, and the decoder's features, which matter little: only an exact run follows those.
        """
        exact = reuse is None or reuse.exact
        return bool(tiles) if exact else self._tiling.count - 1 in tiles

    def _run(
        self, name: str, feeds: dict[str, Array], watch: Stopwatch, out: dict[str, Array] | None = None
    ) -> dict[str, Array]:
        session = self._pool.session(name)
        with watch(name):
            return run_stage(session, self.spec.stage(name), feeds, out)

    def _resident(self, name: str, arrays: Arrays) -> dict[str, Array]:
        """Arrays for those outputs of a stage that only other stages read."""
        if name not in self._between:
            self._between[name] = {
                tensor.name: arrays.resident(tuple(map(int, tensor.shape)))
                for tensor in self.spec.stage(name).outputs
                if tensor.name != "canonical_inverse_depth"
            }
        return self._between[name]
