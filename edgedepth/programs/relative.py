"""A frame to relative inverse depth: resized, normalised, one stage, and back to the frame's size."""

from __future__ import annotations

import numpy as np

from edgedepth.core.errors import UnusableOutputError
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec
from edgedepth.programs.canonical import prepare
from edgedepth.programs.resize_bicubic import resize_bicubic
from edgedepth.programs.stages import StagePool, run_stage
from edgedepth.programs.stopwatch import Stopwatch

__all__ = ["check_relative", "predict_relative"]

_FULL_SCALES = (1.0, 255.0, 65535.0)


def predict_relative(rgb: Array, spec: ModelSpec, pool: StagePool, watch: Stopwatch) -> Array:
    """Raw inverse depth up to scale and shift.

    Args:
        rgb: (H, W, 3) float32 in 0..1.
        spec: a model with the stage "relative_depth".
        pool: its stages.
        watch: for the steps' times.

    Returns:
        (H, W) float32 in the network's own numbers, new.

    Raises:
        UnusableOutputError: the network's output is none that scale and shift can be put on.
    """
    with watch("preprocess"):
        image = prepare(rgb, spec.preprocess)[None]
    stage = spec.stage("relative_depth")
    session = pool.session(stage.name)
    with watch(stage.name):
        raw = run_stage(session, stage, {"image": image})["relative_inverse_depth"]
    with watch("postprocess"):
        check_relative(raw)
        return resize_bicubic(raw.reshape(raw.shape[-2:]), (rgb.shape[0], rgb.shape[1]))


def check_relative(raw: Array) -> None:
    """Refuse what a scale and a shift were never fitted to.

    Raises:
        UnusableOutputError: NaN or infinite values, nothing above 0, or an output that was normalised.
    """
    low, high = float(raw.min()), float(raw.max())
    if not np.isfinite(low + high):
        bad = raw.size - int(np.isfinite(raw).sum())
        raise UnusableOutputError(
            f"{bad} of {raw.size} values of the relative depth are NaN or infinite",
            remedy="check the bundle with 'edgedepth verify BUNDLE', or export it with --fp32",
        )
    if high <= 0:
        raise UnusableOutputError(
            f"the relative inverse depth runs from {low:g} to {high:g}: nothing is above 0",
            remedy="check that the network gives inverse depth, near being large",
        )
    if low == 0 and high in _FULL_SCALES:
        raise UnusableOutputError(
            f"the relative inverse depth runs from 0 to exactly {high:g}: it was normalised, and scale and shift "
            "belong to raw values",
            remedy="use the network's own output, without a final normalisation",
        )
