"""What INT8 costs: a program's depth against the fp32 reference's, in the four figures of a budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from edgedepth.calibration.budget import Figures
from edgedepth.calibration.recording import Recording
from edgedepth.core.errors import UnusableOutputError
from edgedepth.programs.frames import as_rgb
from edgedepth.verify.boundaries import boundary_share
from edgedepth.verify.depth_errors import compare_depth
from edgedepth.verify.parity import Predictor

__all__ = ["boundary_share", "measure_figures"]


def measure_figures(
    predictor: Predictor, frame: Callable[[int], npt.NDArray[np.uint8]], answers: Recording, frames: Sequence[int]
) -> Figures:
    """Run a program over frames and compare it with what fp32 gave.

    Args:
        predictor: the INT8 program.
        frame: gives a frame by its number, (H, W, 3) uint8 RGB.
        answers: of the fp32 program.
        frames: the numbers to measure on, one at least.

    Returns:
        The figures; infinite errors where it gives no depth at all.
    """
    errors, shares, fov_deg = [], [], []
    for number in frames:
        depth, reference_fov_deg = answers.answer(number)
        try:
            prediction = predictor.predict(as_rgb(frame(number), "rgb"))
        except UnusableOutputError:
            return Figures(abs_rel=math.inf, delta1=0.0, boundary_f1=0.0, fov_deg=math.inf)
        errors.append(compare_depth(prediction.depth, depth))
        shares.append(boundary_share(prediction.depth, depth))
        fov_deg.append(abs(prediction.fov_deg - reference_fov_deg))
    with_edges = [share for share in shares if not math.isnan(share)]
    return Figures(
        abs_rel=float(np.mean([error.abs_rel for error in errors])),
        delta1=float(np.mean([error.delta1 for error in errors])),
        boundary_f1=float(np.mean(with_edges)) if with_edges else math.nan,
        fov_deg=float(np.max(fov_deg)),
    )
