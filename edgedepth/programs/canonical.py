"""What every program has in common whose network sees a square picture and gives canonical inverse depth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from edgedepth.core.errors import FrameError
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec, PreprocessSpec
from edgedepth.programs.metric import (
    check_focal_px,
    check_fov_deg,
    depth_from_inverse,
    focal_px_from_fov,
    fov_deg_from_focal,
    metric_inverse_depth,
)
from edgedepth.programs.prediction import FocalSource, Prediction
from edgedepth.programs.resize import resize_bilinear
from edgedepth.programs.resize_bicubic import resize_bicubic
from edgedepth.programs.reuse import EncodedTiles, ReusePolicy
from edgedepth.programs.stages import StagePool
from edgedepth.programs.stopwatch import Stopwatch

__all__ = ["CanonicalProgram", "NetworkFrame", "NetworkOutput", "PreparedFrame", "prepare"]


@dataclass(frozen=True, slots=True, eq=False)
class PreparedFrame:
    """A frame as the network takes it.

    Args:
        size: height and width of the frame in pixels.
        inputs: of the network, as the program makes them.
        focal_px: that the caller gave, checked.
        watch: with the times so far.
    """

    size: tuple[int, int]
    inputs: list[Array]
    focal_px: float | None
    watch: Stopwatch


@dataclass(frozen=True, slots=True, eq=False)
class NetworkOutput:
    """What the network gives for a frame.

    Args:
        canonical: canonical inverse depth, S * S values that nothing else refers to.
        fov_deg: the horizontal field of view in degrees; anything where it wasn't asked for.
        encoded: what was computed of it; None where nothing is ever kept.
    """

    canonical: Array
    fov_deg: float
    encoded: EncodedTiles | None


@dataclass(frozen=True, slots=True, eq=False)
class NetworkFrame:
    """A frame that went through the network; `load_ms` was spent on opening stages meanwhile."""

    frame: PreparedFrame
    output: NetworkOutput
    load_ms: float


class CanonicalProgram(ABC):
    """A frame becomes the square input, the input canonical inverse depth, and that becomes metres.

    Not thread-safe: buffers are shared from frame to frame. One program a thread.

    Args:
        spec: the model.
        pool: its stages; the program doesn't close it.
    """

    def __init__(self, spec: ModelSpec, pool: StagePool) -> None:
        self.spec = spec
        self._pool = pool

    def predict(self, rgb: Array, *, focal_px: float | None = None, reuse: ReusePolicy | None = None) -> Prediction:
        """Metric depth of one frame, by the steps of infer() in the published code.

        Args:
            rgb: (H, W, 3) float32, RGB in 0..1, C-contiguous, as as_rgb() gives it; not written to.
            focal_px: focal length in pixels of this frame; None lets the model predict it.
            reuse: which features of the frames before may stay; None: everything is computed.

        Raises:
            FrameError: rgb is not in that form.
            OptionError: a focal length that can't be one, or reuse where nothing can be kept.
            StageError: a stage doesn't do what the model declares.
            UnusableOutputError: depth or field of view come out NaN, infinite or impossible.
        """
        return self.finish(self.run(self.prepare(rgb, focal_px=focal_px), reuse=reuse))

    def prepare(self, rgb: Array, *, focal_px: float | None = None) -> PreparedFrame:
        """The first of predict()'s three steps: what needs no session. It may run beside the others, on another frame.

        Args and errors as of predict().
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.float32:
            raise FrameError(
                f"predict() got {rgb.dtype} {rgb.shape}, allowed is float32 (H, W, 3)",
                remedy="pass as_rgb(frame)",
            )
        height, width = rgb.shape[:2]
        if focal_px is not None:
            focal_px = check_focal_px(focal_px, width)
        watch = Stopwatch()
        with watch("preprocess"):
            inputs = self._inputs(rgb)
        return PreparedFrame(size=(height, width), inputs=inputs, focal_px=focal_px, watch=watch)

    def run(self, frame: PreparedFrame, *, reuse: ReusePolicy | None = None, want_fov: bool = True) -> NetworkFrame:
        """The second step: the network. One at a time.

        Args:
            frame: prepared.
            reuse: as of predict().
            want_fov: False: nobody will ask for the field of view, the focal length is told to finish().

        Raises:
            OptionError, StageError: as predict().
        """
        loaded_ms = self._pool.load_ms
        output = self._infer(frame.inputs, frame.focal_px is None and want_fov, frame.watch, reuse)
        return NetworkFrame(frame=frame, output=output, load_ms=self._pool.load_ms - loaded_ms)

    def finish(self, network: NetworkFrame, *, fov_deg: float | None = None) -> Prediction:
        """The third step: metres. It may run beside the others, on another frame.

        Args:
            network: what run() gave.
            fov_deg: the horizontal field of view to use where no focal length was given, in place of this frame's
                prediction.

        Raises:
            UnusableOutputError: as predict().
        """
        frame, watch = network.frame, network.frame.watch
        height, width = frame.size
        canonical = network.output.canonical
        source: FocalSource = "given"
        with watch("postprocess"):
            canonical = canonical.reshape(canonical.shape[-2:])
            if frame.focal_px is None:
                source = "predicted" if fov_deg is None else "median"
                fov = check_fov_deg(network.output.fov_deg if fov_deg is None else fov_deg)
                focal = focal_px_from_fov(fov, width)
            else:
                fov, focal = fov_deg_from_focal(frame.focal_px, width), frame.focal_px
            inverse_depth = metric_inverse_depth(canonical, focal, width)
            if inverse_depth.shape != (height, width):
                inverse_depth = resize_bilinear(inverse_depth, (height, width))
            depth = depth_from_inverse(inverse_depth)
        return Prediction(
            inverse_depth=inverse_depth,
            depth=depth,
            focal_px=focal,
            fov_deg=fov,
            focal_source=source,
            canonical_inverse_depth=canonical,
            timings_ms=watch.ms | {"load": network.load_ms},
            encoded=network.output.encoded,
        )

    @abstractmethod
    def check_reuse(self) -> None:
        """Refuse reuse where features of earlier frames can't be kept.

        Raises:
            OptionError: why not.
        """

    @abstractmethod
    def _inputs(self, rgb: Array) -> list[Array]:
        """Prepare the frame, see predict(), for the network. Touches neither the pool nor a shared buffer."""

    @abstractmethod
    def _infer(self, inputs: list[Array], want_fov: bool, watch: Stopwatch, reuse: ReusePolicy | None) -> NetworkOutput:
        """Run the network.

        Args:
            inputs: what _inputs() made.
            want_fov: whether the field of view is needed; what is returned for it isn't looked at otherwise.
            watch: for the steps' times.
            reuse: which features of earlier frames may stay; None: none.
        """


def prepare(rgb: Array, preprocess: PreprocessSpec, out: Array | None = None) -> Array:
    """The model's input: mirrored at its edges where the model asks for it, resized, (x - mean) / std, channels first.

    Args:
        rgb: (H, W, 3) float32 in 0..1.
        preprocess: the model's.
        out: (3, height, width) float32 to write into; None: a new array.

    Returns:
        (3, height, width) float32: `out`, or a new C-contiguous array.
    """
    shape = preprocess.shape
    rows, columns = preprocess.border(*rgb.shape[:2])
    if rows or columns:
        rgb = np.pad(rgb, ((rows, rows), (columns, columns), (0, 0)), mode="reflect")
    if rgb.shape[:2] != shape:
        rgb = _resized(rgb, preprocess)
    image = np.empty((3, *shape), np.float32) if out is None else out
    for channel, (mean, std) in enumerate(zip(preprocess.mean, preprocess.std, strict=True)):
        np.subtract(rgb[..., channel], np.float32(mean), out=image[channel])
        image[channel] *= np.float32(1 / std)
    return image


def _resized(rgb: Array, preprocess: PreprocessSpec) -> Array:
    if preprocess.resize == "bicubic":
        return resize_bicubic(rgb, preprocess.shape)
    return resize_bilinear(rgb, preprocess.shape, align_corners=preprocess.resize == "bilinear_corners")
