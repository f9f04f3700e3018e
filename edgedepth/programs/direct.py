"""Networks that give metres themselves: a frame is mirrored, resized and normalised, and depth comes back to its size.

Source: ZoeDepth (arXiv 2302.12288) and its image processor in transformers, without flip augmentation, which is off
there unless it is asked for.
"""

from __future__ import annotations

import logging

import numpy as np

from edgedepth.core.errors import FrameError, UnusableOutputError
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec
from edgedepth.programs.canonical import prepare
from edgedepth.programs.guidance import NOTHING, Guidance
from edgedepth.programs.metric import check_focal_px, fov_deg_from_focal
from edgedepth.programs.prediction import Prediction
from edgedepth.programs.resize_bicubic import resize_bicubic
from edgedepth.programs.stages import StagePool, run_stage
from edgedepth.programs.stopwatch import Stopwatch

__all__ = ["MIN_DEPTH_M", "DirectProgram"]

MIN_DEPTH_M = 1e-3
"""Where ZoeDepth's bins begin. Resizing overshoots at edges, and a depth of 0 or below is none."""

_SQUASHED = 1.1  # from this change of a frame's aspect on, people are told

log = logging.getLogger("edgedepth")


class DirectProgram:
    """Runs metric_depth.

    Args:
        spec: a model of the family "zoedepth".
        pool: its stage; the program doesn't close it.
    """

    def __init__(self, spec: ModelSpec, pool: StagePool) -> None:
        self.spec = spec
        self._pool = pool
        self._told_of: set[tuple[int, int]] = set()

    def predict(self, rgb: Array, *, focal_px: float | None = None, guidance: Guidance = NOTHING) -> Prediction:
        """Metric depth of one frame.

        Args:
            rgb: (H, W, 3) float32, RGB in 0..1, as as_rgb() gives it; not written to.
            focal_px: in pixels of this frame; the depth doesn't depend on it, points in space do.
            guidance: nothing: the network takes none.

        Raises:
            FrameError: rgb is not in that form.
            OptionError: an impossible focal length.
            UnusableOutputError: the network's output is unusable.
        """
        assert guidance is NOTHING or guidance == NOTHING, "FrameSteps.check refuses what has no effect"
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.float32:
            raise FrameError(
                f"predict() got {rgb.dtype} {rgb.shape}, allowed is float32 (H, W, 3)", remedy="pass as_rgb(frame)"
            )
        height, width = rgb.shape[:2]
        focal = float("nan") if focal_px is None else check_focal_px(focal_px, width)
        self._tell_of_squashing(height, width)
        watch, loaded_ms = Stopwatch(), self._pool.load_ms
        with watch("preprocess"):
            image = prepare(rgb, self.spec.preprocess)[None]
        stage = self.spec.stage("metric_depth")
        session = self._pool.session(stage.name)
        with watch(stage.name):
            raw = run_stage(session, stage, {"image": image})["depth_m"]
        with watch("postprocess"):
            _check_depth(raw)
            depth = self._at_frame(raw.reshape(raw.shape[-2:]), height, width)
            inverse = np.reciprocal(depth)
        return Prediction(
            inverse_depth=inverse,
            depth=depth,
            focal_px=focal,
            fov_deg=float("nan") if focal_px is None else fov_deg_from_focal(focal, width),
            focal_source="unknown" if focal_px is None else "given",
            canonical_inverse_depth=inverse,
            timings_ms=watch.ms | {"load": self._pool.load_ms - loaded_ms},
        )

    def _at_frame(self, raw: Array, height: int, width: int) -> Array:
        """Depth of the mirrored frame at its size, without its borders. New, C-contiguous."""
        rows, columns = self.spec.preprocess.border(height, width)
        whole = resize_bicubic(raw, (height + 2 * rows, width + 2 * columns))
        depth = np.ascontiguousarray(whole[rows : rows + height, columns : columns + width])
        np.maximum(depth, np.float32(MIN_DEPTH_M), out=depth)
        return depth

    def _tell_of_squashing(self, height: int, width: int) -> None:
        """The published rule keeps a frame's aspect, with an input as long as that takes; an artefact has one size."""
        rows, columns = self.spec.preprocess.border(height, width)
        seen_height, seen_width = self.spec.preprocess.shape
        change = (seen_width / seen_height) / ((width + 2 * columns) / (height + 2 * rows))
        if 1 / _SQUASHED <= change <= _SQUASHED or (height, width) in self._told_of:
            return
        self._told_of.add((height, width))
        log.warning(
            "a frame of %d x %d is squashed into %s's %d x %d, its aspect changed by a factor of %.2f: its metres are "
            "less to be trusted; crop it, or export for such frames (--frame-size %dx%d)",
            width,
            height,
            self.spec.name,
            seen_width,
            seen_height,
            change,
            width,
            height,
        )


def _check_depth(raw: Array) -> None:
    low, high = float(raw.min()), float(raw.max())
    if not np.isfinite(low + high):
        bad = raw.size - int(np.isfinite(raw).sum())
        raise UnusableOutputError(
            f"{bad} of {raw.size} values of the depth are NaN or infinite",
            remedy="check the bundle with 'edgedepth verify BUNDLE', or export it with --fp32",
        )
    if high <= 0:
        raise UnusableOutputError(
            f"the depth runs from {low:g} to {high:g} m: nothing is above 0",
            remedy="check the weights: a network that wasn't trained gives this",
        )
