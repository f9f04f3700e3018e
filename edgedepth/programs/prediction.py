"""What a program gives for one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgedepth.core.session import Array

__all__ = ["FocalSource", "Prediction"]

FocalSource = Literal["given", "predicted"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """Metric depth of one frame. The arrays are the caller's own: no later frame writes into them.

    Args:
        inverse_depth: (H, W) float32 in 1/m, as the model gives it: not clamped, 0 for what is infinitely far.
        depth: (H, W) float32 in m: the inverse of inverse_depth clamped to 1e-4..1e4.
        focal_px: focal length in pixels of the frame that the scale rests on.
        fov_deg: the horizontal field of view that belongs to it, in degrees.
        focal_source: whether the caller gave the focal length or the model predicted it.
        canonical_inverse_depth: (S, S) float32, the network's own output before the focal length comes in.
        timings_ms: milliseconds by step, in the order in which they ran; "load" is the opening of stages, and a
            step that didn't run isn't there.
    """

    inverse_depth: Array
    depth: Array
    focal_px: float
    fov_deg: float
    focal_source: FocalSource
    canonical_inverse_depth: Array
    timings_ms: dict[str, float]
