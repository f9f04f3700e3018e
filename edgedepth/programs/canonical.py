"""What every program has in common whose network sees a square picture and gives canonical inverse depth."""

from __future__ import annotations

from abc import ABC, abstractmethod

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
from edgedepth.programs.prediction import Prediction
from edgedepth.programs.resize import resize_bilinear
from edgedepth.programs.resize_bicubic import resize_bicubic
from edgedepth.programs.stages import StagePool
from edgedepth.programs.stopwatch import Stopwatch

__all__ = ["CanonicalProgram", "prepare"]


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

    def predict(self, rgb: Array, *, focal_px: float | None = None) -> Prediction:
        """Metric depth of one frame, by the steps of infer() in the published code.

        Args:
            rgb: (H, W, 3) float32, RGB in 0..1, C-contiguous, as as_rgb() gives it; not written to.
            focal_px: focal length in pixels of this frame; None lets the model predict it.

        Raises:
            FrameError: rgb is not in that form.
            OptionError: a focal length that can't be one.
            StageError: a stage doesn't do what the model declares.
            UnusableOutputError: depth or field of view come out NaN, infinite or impossible.
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
        loaded_ms = self._pool.load_ms
        canonical, predicted_fov_deg = self._infer(rgb, focal_px is None, watch)
        with watch("postprocess"):
            canonical = canonical.reshape(canonical.shape[-2:])
            if focal_px is None:
                fov_deg = check_fov_deg(predicted_fov_deg)
                focal = focal_px_from_fov(fov_deg, width)
            else:
                fov_deg, focal = fov_deg_from_focal(focal_px, width), focal_px
            inverse_depth = metric_inverse_depth(canonical, focal, width)
            if inverse_depth.shape != (height, width):
                inverse_depth = resize_bilinear(inverse_depth, (height, width))
            depth = depth_from_inverse(inverse_depth)
        return Prediction(
            inverse_depth=inverse_depth,
            depth=depth,
            focal_px=focal,
            fov_deg=fov_deg,
            focal_source="predicted" if focal_px is None else "given",
            canonical_inverse_depth=canonical,
            timings_ms=watch.ms | {"load": self._pool.load_ms - loaded_ms},
        )

    @abstractmethod
    def _infer(self, rgb: Array, want_fov: bool, watch: Stopwatch) -> tuple[Array, float]:
        """Prepare the frame and run the network.

        Args:
            rgb: the frame, see predict().
            want_fov: whether the field of view is needed; what is returned for it isn't looked at otherwise.
            watch: for the steps' times.

        Returns:
            Canonical inverse depth, S * S values that nothing else refers to, and the horizontal field of view
            in degrees.
        """


def prepare(rgb: Array, preprocess: PreprocessSpec, out: Array | None = None) -> Array:
    """The model's input: resized, then (x - mean) / std, channels first.

    Args:
        rgb: (H, W, 3) float32 in 0..1.
        preprocess: the model's.
        out: (3, height, width) float32 to write into; None: a new array.

    Returns:
        (3, height, width) float32: `out`, or a new C-contiguous array.
    """
    shape = preprocess.shape
    if rgb.shape[:2] != shape:
        rgb = resize_bicubic(rgb, shape) if preprocess.resize == "bicubic" else resize_bilinear(rgb, shape)
    image = np.empty((3, *shape), np.float32) if out is None else out
    for channel, (mean, std) in enumerate(zip(preprocess.mean, preprocess.std, strict=True)):
        np.subtract(rgb[..., channel], np.float32(mean), out=image[channel])
        image[channel] *= np.float32(1 / std)
    return image
