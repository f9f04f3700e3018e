"""Depth Pro in stages: pyramid, tiles in micro-batches, fused maps, decoder, field of view.

Source: Depth Pro (arXiv 2410.02073), section 3.1 and figure 3; github.com/apple/ml-depth-pro.
"""

from __future__ import annotations

import math

import numpy as np

from edgedepth.core.arrays import HOST, Arrays, Parcel, arrays_of
from edgedepth.core.errors import OptionError
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec, TilingSpec
from edgedepth.programs.canonical import CanonicalProgram, NetworkOutput, prepare
from edgedepth.programs.decoder_windows import has_windows
from edgedepth.programs.depth_decoder import DepthDecoder
from edgedepth.programs.prediction import Prediction
from edgedepth.programs.resize import shrink
from edgedepth.programs.reuse import EncodedTiles, ReusePolicy
from edgedepth.programs.stages import StagePool, run_stage
from edgedepth.programs.stopwatch import Stopwatch
from edgedepth.programs.tile_encoder import TileEncoder
from edgedepth.programs.tiling import check_tiling

__all__ = ["DepthProProgram", "WindowProof"]


class DepthProProgram(CanonicalProgram):
    """Runs the stages patch_encoder, image_encoder, decoder and, without a focal length, fov.

    Where a bundle has them, reuse that overlooks something runs decoder_coarse, and decoder_window where the picture
    changed, in place of decoder.

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
        self._decoder = DepthDecoder(spec, spec.tiling, pool)
        self._parcel: Parcel | None = None  # the pyramid, on its way to a device
        self._fov_deg = math.nan  # of the last frame, if it was asked for
        self._proving = False

    @property
    def has_windows(self) -> bool:
        """Whether there is a decoder in windows too."""
        return has_windows(self.spec)

    def check_reuse(self) -> None:
        """Stages that are freed keep nothing."""
        if self._pool.resident == "one":
            raise OptionError(
                "reuse keeps the features of earlier frames, which resident='one' frees", remedy="resident='all'"
            )

    def prove(self, rgb: Array) -> Prediction:
        """predict() with every second window of the depth decoded as a window: every stage has a part in it.

        Args and errors as of predict().
        """
        self._proving = self.has_windows
        try:
            return self.predict(rgb)
        finally:
            self._proving = False

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
        if reuse is not None:
            self.check_reuse()
        frugal = self._pool.resident == "one"
        fov_deg, self._fov_deg = self._fov_deg, math.nan
        # The picture goes where the patch encoder runs, and features stay where it made them, if it offers the place.
        session = self._pool.session("patch_encoder")
        arrays = arrays_of(session)
        pyramid = self._sent(inputs, arrays, watch)
        # The last level is one tile: what the image encoder and the field of view see.
        thumbnail = pyramid[-1]
        try:
            plan = self._encoder.encode(inputs, pyramid, session, arrays, watch, reuse=reuse, frugal=frugal)
            tiles = plan.tiles
            decoded = self._decoder.decode(
                self._encoder.fused, thumbnail, plan, arrays, watch, reuse=reuse, proving=self._proving
            )
            ran = ("patch_encoder",) * bool(tiles) + decoded.stages
            if frugal:
                self._encoder.free()
            if self._fov_is_stale(tiles, reuse):
                fov_deg = math.nan
            if want_fov and math.isnan(fov_deg):
                feeds = {"image": thumbnail, "lowres_features": self._decoder.lowres_features(arrays)}
                session = self._pool.session("fov")
                with watch("fov"):
                    fov_deg = run_stage(session, self.spec.stage("fov"), feeds)["fov_deg"].item()
                ran += ("fov",)
        except BaseException:
            self._encoder.forget()
            self._decoder.forget()
            raise
        if frugal:
            self._decoder.free()
            self._parcel = None
        if reuse is not None:
            self._fov_deg = fov_deg
        encoded = EncodedTiles(
            tiles=len(tiles),
            of=self._tiling.count,
            stages=ran,
            windows=decoded.windows,
            windows_of=self._decoder.windows,
        )
        return NetworkOutput(decoded.canonical, fov_deg, encoded)

    def _sent(self, inputs: list[Array], arrays: Arrays, watch: Stopwatch) -> list[Array]:
        """The pyramid where the patch encoder reads it, (1, 3, S / scale, S / scale): all that goes to a device."""
        if arrays is HOST:
            return [level[None] for level in inputs]
        with watch("upload"):
            self._parcel = self._parcel or arrays.parcel([(1, *level.shape) for level in inputs])
            for target, level in zip(self._parcel.fill(), inputs, strict=True):
                np.copyto(target[0], level)
            return self._parcel.send()

    def _fov_is_stale(self, tiles: tuple[int, ...], reuse: ReusePolicy | None) -> bool:
        """Whether the last frame's field of view has to be predicted again, by the tiles that were encoded.

        It sees the thumbnail, and the decoder's features, which matter little: only an exact run follows those.
        """
        if reuse is None:
            return True
        return bool(tiles) if reuse.exact else self._tiling.count - 1 in tiles


class WindowProof:
    """A program whose decoder comes in windows too, as proofs run it."""

    def __init__(self, program: DepthProProgram) -> None:
        self._program = program

    def predict(self, rgb: Array) -> Prediction:
        """See DepthProProgram.prove."""
        return self._program.prove(rgb)
