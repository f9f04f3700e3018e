"""What a program gives for one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgedepth.core.session import Array
from edgedepth.programs.reuse import EncodedTiles

__all__ = ["FocalSource", "Prediction", "ScaleShift"]

FocalSource = Literal["given", "predicted", "median", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleShift:
    """What made metres of relative depth: 1 / (scale * relative + shift).

    Args:
        scale: in 1/m per unit of the relative model.
        shift: in 1/m.
        source: whether the caller gave both or captions did.
        captions: that were read; of several, scale and shift are the medians.
        scale_range: smallest and largest scale that the captions gave.
        shift_range: smallest and largest shift.
        clamped: pixels whose depth was outside of the model's limits, negative ones among them.
    """

    scale: float
    shift: float
    source: Literal["given", "captions"]
    captions: tuple[str, ...] = ()
    scale_range: tuple[float, float] | None = None
    shift_range: tuple[float, float] | None = None
    clamped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """Metric depth of one frame. The arrays are the caller's own: no later frame writes into them.

    Args:
        inverse_depth: (H, W) float32 in 1/m, as the model gives it: not clamped, 0 for what is infinitely far.
        depth: (H, W) float32 in m: the inverse of inverse_depth clamped to 1e-4..1e4.
        focal_px: focal length in pixels of the frame that the scale rests on.
        fov_deg: the horizontal field of view that belongs to it, in degrees.
        focal_source: whether the caller gave the focal length or the model predicted it; "median" of what it predicted
            for a stream's first frames; "unknown" with NaN for both.
        canonical_inverse_depth: (S, S) float32, the network's own output before the focal length comes in.
        timings_ms: milliseconds by step, in the order in which they ran; "load" is the opening of stages, and a
            step that didn't run isn't there.
        kind: "relative_inverse": inverse_depth is the network's raw output in no unit, and depth 1 over it.
        scale_shift: how relative depth became metres, for models that give relative depth.
        encoded: what of it was computed and what kept of earlier frames; None where nothing is ever kept.
    """

    inverse_depth: Array
    depth: Array
    focal_px: float
    fov_deg: float
    focal_source: FocalSource
    canonical_inverse_depth: Array
    timings_ms: dict[str, float]
    kind: Literal["metric", "relative_inverse"] = "metric"
    scale_shift: ScaleShift | None = None
    encoded: EncodedTiles | None = None
