"""How far one picture's metres are from the reference's: how much, of what kind, and where. Pure functions.

Least squares tell a constant error from noise. They are taken on inverse depth, which is what the models give and where
the far end of a picture, kilometres of it, doesn't outweigh everything near.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edgedepth.core.session import Array
from edgedepth.verify.boundaries import boundary_share
from edgedepth.verify.depth_errors import compare_depth
from edgedepth.verify.metrics import fit_linear
from edgedepth.verify.structure import lost_structure

__all__ = ["PictureParity", "WorstPixel", "compare_picture", "fit_depth", "is_one_colour"]

_PIXELS = 1 << 20  # that edges and least squares are taken of: a large picture's are spread evenly, and say the same
_NARROW = 1 / 255  # a spread of colours up to which a picture shows nothing: one step of eight bits


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstPixel:
    """Where a picture's max_rel is.

    Args:
        row: from the top.
        column: from the left.
        depth_m: the candidate's; NaN or infinite where that is what it gave.
        reference_m: the reference's.
    """

    row: int
    column: int
    depth_m: float
    reference_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureParity:
    """One picture's figures; d is the candidate's and r the reference's depth.

    Args:
        name: of the picture.
        abs_rel: mean of |d - r| / r.
        delta1: share of pixels with max(d / r, r / d) < 1.25.
        max_rel: of the worst pixel, on inverse depth (depth_errors.py).
        fov_deg: degrees between the fields of view; 0 where neither model has one.
        boundary_f1: of d against r's own edges, over what r itself reaches; NaN for a picture without an edge.
        lost_structure: 1 - correlation of the shapes in the worst cell (structure.py); NaN for a picture without any.
        depth_scale: by least squares, 1/d = 1/r / depth_scale + inverse_shift: 1.02 is two percent too far.
        inverse_shift: likewise, in 1/m.
        correlation: of 1/d and 1/r: near 1 beside a wrong scale means that the scale is all that is wrong. NaN where
            one of the two is constant.
        worst: the worst pixel.
    """

    name: str
    abs_rel: float
    delta1: float
    max_rel: float
    fov_deg: float = 0.0
    boundary_f1: float = math.nan
    lost_structure: float = math.nan
    depth_scale: float = 1.0
    inverse_shift: float = 0.0
    correlation: float = 1.0
    worst: WorstPixel | None = None


def compare_picture(
    name: str, depth: Array, reference: Array, *, fov_deg: float, reference_fov_deg: float
) -> PictureParity:
    """Compare a picture's depth and field of view with the reference's.

    Args:
        name: of the picture.
        depth: (H, W) float32 in metres.
        reference: likewise, finite and above 0.
        fov_deg: horizontal; NaN where the model predicts none.
        reference_fov_deg: likewise.
    """
    error = compare_depth(depth, reference)
    thin = math.isqrt(-(-depth.size // _PIXELS) - 1) + 1
    thin_depth, thin_reference = depth[::thin, ::thin], reference[::thin, ::thin]
    usable = math.isfinite(error.abs_rel)
    scale, shift, correlation = fit_depth(thin_depth, thin_reference) if usable else (math.nan,) * 3
    return PictureParity(
        name=name,
        abs_rel=error.abs_rel,
        delta1=error.delta1,
        max_rel=error.max_rel,
        fov_deg=_fov_error(fov_deg, reference_fov_deg),
        boundary_f1=boundary_share(thin_depth, thin_reference) if usable else 0.0,
        lost_structure=lost_structure(thin_depth, thin_reference) if usable else math.inf,
        depth_scale=scale,
        inverse_shift=shift,
        correlation=correlation,
        worst=_worst_pixel(depth, reference),
    )


def fit_depth(depth: Array, reference: Array) -> tuple[float, float, float]:
    """(depth_scale, inverse_shift in 1/m, correlation) of two depth maps; see PictureParity.

    All are NaN where a depth isn't finite and above 0. Where the reference is constant, the scale is that of the means.
    """
    if not np.isfinite(depth).all() or (depth <= 0).any():
        return math.nan, math.nan, math.nan
    inverse, truth = 1 / depth.astype(np.float64).reshape(-1), 1 / reference.astype(np.float64).reshape(-1)
    slope, shift = fit_linear(truth, inverse)
    spread = float(inverse.std()) * float(truth.std())
    if not (slope > 0 and spread > 0):
        return float(truth.mean() / inverse.mean()), 0.0, math.nan
    correlation = float(((inverse - inverse.mean()) * (truth - truth.mean())).mean()) / spread
    return 1 / slope, shift, correlation


def is_one_colour(rgb: Array) -> bool:
    """Whether an (H, W, 3) picture in 0..1 shows nothing: no channel varies by more than a step of eight bits."""

    def narrow(pixels: Array) -> bool:
        return all(float(np.ptp(pixels[..., channel])) <= _NARROW for channel in range(pixels.shape[-1]))

    return narrow(rgb[::8, ::8]) and narrow(rgb)  # few pixels tell of nearly every picture


def _worst_pixel(depth: Array, reference: Array) -> WorstPixel:
    inverse = 1 / reference
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(1 / depth - inverse) / np.maximum(inverse, inverse.mean(dtype=np.float64).astype(np.float32))
    error[~(np.isfinite(depth) & (depth > 0))] = np.inf
    row, column = np.unravel_index(int(error.argmax()), error.shape)
    return WorstPixel(
        row=int(row),
        column=int(column),
        depth_m=float(depth[row, column]),
        reference_m=float(reference[row, column]),
    )


def _fov_error(actual: float, expected: float) -> float:
    """Degrees between two fields of view; none between two models that predict none."""
    if math.isnan(actual) and math.isnan(expected):
        return 0.0
    return abs(float(actual) - float(expected))
