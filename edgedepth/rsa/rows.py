"""The rows of RSA's tables, each a way from relative depth to metres. Pure functions of numpy arrays.

Source: RSA (arXiv 2410.02924), section 4. Median and Linear fit know the picture's own truth, the others never do.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgedepth.core.session import Array
from edgedepth.verify.metrics import fit_linear

__all__ = ["linear_fit", "median_scaled", "metres"]

_Mask = npt.NDArray[np.bool_]
_SMALLEST = 1e-6


def metres(relative: Array, scale: float, shift: float, range_m: tuple[float, float]) -> Array:
    """1 / (scale * relative + shift), cut to a range; what is not positive is farthest.

    Args:
        relative: (H, W) float32, raw.
        scale: in 1/m per unit of the network.
        shift: in 1/m.
        range_m: nearest and farthest depth.
    """
    nearest_m, farthest_m = range_m
    inverse = relative.astype(np.float64) * scale + shift
    return np.asarray(1 / np.clip(inverse, 1 / farthest_m, 1 / nearest_m))


def median_scaled(relative: Array, true_m: Array, valid: _Mask, range_m: tuple[float, float]) -> Array:
    """1 / relative, scaled so that its median over the valid pixels is the truth's: there is no shift."""
    depth = 1 / np.maximum(relative.astype(np.float64), _SMALLEST)
    return np.clip(depth * (np.median(true_m[valid]) / np.median(depth[valid])), *range_m)


def linear_fit(relative: Array, true_m: Array, valid: _Mask, range_m: tuple[float, float]) -> Array:
    """The scale and shift that bring relative to the truth's inverse depth with the least squares: an oracle."""
    scale, shift = fit_linear(relative[valid].astype(np.float64), 1 / true_m[valid].astype(np.float64))
    return metres(relative, scale, shift, range_m)
