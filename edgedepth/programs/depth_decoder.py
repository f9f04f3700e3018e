"""Fused maps through the image encoder and the decoder, whole or where the picture changed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from edgedepth.core.arrays import Arrays
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec, TilingSpec
from edgedepth.programs.decoder_windows import DecoderWindows, RunStage, has_windows
from edgedepth.programs.reuse import ReusePlan, ReusePolicy
from edgedepth.programs.stages import StagePool, run_stage
from edgedepth.programs.stopwatch import Stopwatch

__all__ = ["Decoded", "DepthDecoder"]


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A frame's depth.

    Args:
        canonical: canonical inverse depth, (1, 1, S, S); nothing else refers to it.
        stages: that ran for it.
        windows: of the decoder that ran, where it didn't run whole.
    """

    canonical: Array
    stages: tuple[str, ...]
    windows: int


class DepthDecoder:
    """Runs image_encoder and decoder.

    Reuse that overlooks something runs decoder_coarse and decoder_window in place of decoder, where there are such.
    Buffers are allocated at the first frame and kept for the next ones. Not thread-safe.

    Args:
        spec: a model with tiling and the stages image_encoder and decoder.
        tiling: the spec's.
        pool: its stages.
    """

    def __init__(self, spec: ModelSpec, tiling: TilingSpec, pool: StagePool) -> None:
        self._spec, self._tiling, self._pool = spec, tiling, pool
        self._windows = DecoderWindows(spec, tiling) if has_windows(spec) else None
        self._between: dict[str, dict[str, Array]] = {}  # what one stage gives and another takes, by stage
        self._last: Array | None = None  # canonical inverse depth of the last frame

    @property
    def windows(self) -> int:
        """How many the decoder comes in; 0: whole only."""
        return 0 if self._windows is None else self._windows.count

    def forget(self) -> None:
        """Decode the next frame whole."""
        self._last = None
        if self._windows is not None:
            self._windows.forget()

    def free(self) -> None:
        """Forget, and give the memory back."""
        self.forget()
        self._between.clear()
        if self._windows is not None:
            self._windows.free()

    def lowres_features(self, arrays: Arrays) -> Array:
        """What the field of view reads of the last frame."""
        return self._resident("decoder", arrays)["lowres_features"]

    def decode(
        self,
        fused: dict[str, Array],
        thumbnail: Array,
        tiles: ReusePlan,
        arrays: Arrays,
        watch: Stopwatch,
        *,
        reuse: ReusePolicy | None,
        proving: bool = False,
    ) -> Decoded:
        """Depth of a frame.

        Args:
            fused: the tiles' fused maps by name.
            thumbnail: the picture's last level, what the image encoder sees.
            tiles: that were encoded of this frame.
            arrays: where features stay.
            watch: for the steps' times.
            reuse: what of earlier frames may stay; None: nothing.
            proving: decode every second window apart, if there are any.
        """
        run = partial(self._run, watch)
        overlooks = reuse is not None and not reuse.exact
        windows = self._windows if overlooks else None
        if reuse is None or (windows is None and self._windows is not None and self._windows.known):
            # Depth of windows has other roundings, and some of it is old: no exact frame may stand on it.
            self.forget()
        last, self._last = self._last, None
        if last is not None and not tiles.tiles and not (windows and windows.waiting):
            decoded = Decoded(last.copy(), (), 0)
        else:
            maps, ran = self._maps(fused, thumbnail, tiles, arrays, run, fresh=last is None)
            if windows is not None and reuse is not None:
                decoded = self._decode_changed(windows, last, maps, tiles, reuse, arrays=arrays, run=run)
            else:
                decoded = self._decode_whole(maps, arrays, run)
            if proving and self._windows is not None:
                self._prove(self._windows, decoded.canonical, maps, arrays, run)
            decoded = Decoded(decoded.canonical, (*ran, *decoded.stages), decoded.windows)
        with np.errstate(all="ignore"):
            finite = np.isfinite(decoded.canonical.sum())
        if not finite:
            self.forget()  # what is blended with NaN is NaN
        elif reuse is not None:
            self._last = decoded.canonical.copy()
        return decoded

    def _maps(
        self,
        fused: dict[str, Array],
        thumbnail: Array,
        tiles: ReusePlan,
        arrays: Arrays,
        run: RunStage,
        *,
        fresh: bool,
    ) -> tuple[dict[str, Array], tuple[str, ...]]:
        """The decoder's inputs by name, and what ran for them."""
        image_features = self._resident("image_encoder", arrays)
        if not fresh and self._tiling.count - 1 not in tiles.tiles:
            return {**fused, **image_features}, ()
        return {**fused, **run("image_encoder", {"image": thumbnail}, image_features)}, ("image_encoder",)

    def _decode_whole(self, maps: dict[str, Array], arrays: Arrays, run: RunStage) -> Decoded:
        size = self._spec.preprocess.size
        # Allocated for each frame: it becomes the caller's.
        out = self._resident("decoder", arrays) | {"canonical_inverse_depth": np.empty((1, 1, size, size), np.float32)}
        return Decoded(run("decoder", maps, out)["canonical_inverse_depth"], ("decoder",), 0)

    def _decode_changed(
        self,
        windows: DecoderWindows,
        last: Array | None,
        maps: dict[str, Array],
        tiles: ReusePlan,
        reuse: ReusePolicy,
        *,
        arrays: Arrays,
        run: RunStage,
    ) -> Decoded:
        """What changed, in the last frame's depth; or all of it, where that costs less."""
        ran: tuple[str, ...] = ()
        if tiles.tiles:
            windows.see(maps, self.lowres_features(arrays), run)
            ran = ("decoder_coarse",)
        chosen = windows.plan(tiles, reuse)
        if last is None or chosen is None:
            whole = self._decode_whole(maps, arrays, run)
            return Decoded(whole.canonical, (*ran, *whole.stages), 0)
        canonical = last.copy()
        windows.decode(chosen, canonical, maps, run, arrays)
        return Decoded(canonical, (*ran, *("decoder_window",) * bool(chosen)), len(chosen))

    def _prove(
        self, windows: DecoderWindows, canonical: Array, maps: dict[str, Array], arrays: Arrays, run: RunStage
    ) -> None:
        windows.see(maps, self.lowres_features(arrays), run)
        windows.decode(windows.alternate(), canonical, maps, run, arrays)

    def _run(self, watch: Stopwatch, name: str, feeds: dict[str, Array], out: dict[str, Array]) -> dict[str, Array]:
        session = self._pool.session(name)
        with watch(name):
            return run_stage(session, self._spec.stage(name), feeds, out)

    def _resident(self, name: str, arrays: Arrays) -> dict[str, Array]:
        """Arrays for those outputs of a stage that only other stages read."""
        if name not in self._between:
            self._between[name] = {
                tensor.name: arrays.resident(tuple(map(int, tensor.shape)))
                for tensor in self._spec.stage(name).outputs
                if tensor.name != "canonical_inverse_depth"
            }
        return self._between[name]
