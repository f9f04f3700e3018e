"""How far from the eager fp32 reference a result may be and still be right, by precision, each with its reason.

The one table of the project: bundles carry its numbers for their golden frame, verify judges by it, and tests
take their tolerances from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgedepth.core.errors import UnsupportedError
from edgedepth.core.spec import Precision

__all__ = ["TOLERANCES", "Tolerance", "tolerance_for"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """What is still right.

    Args:
        abs_rel: mean of |depth - reference| / reference.
        max_rel: largest |depth - reference| / reference of any pixel.
        fov_deg: degrees between the fields of view.
        stage_max_rel: largest error of a stage's output, over the largest value of the reference's output, when
            both are fed the same.
        reason: why that much.
    """

    abs_rel: float
    max_rel: float
    fov_deg: float
    stage_max_rel: float
    reason: str


# Measured with ONNX Runtime on a CPU against the eager reference, depth-pro-mini on random weights (seeds 0 and 1),
# a drawn frame and two photographs; the worst of all:
#           abs_rel   max_rel   fov_deg   stage_max_rel
#   fp32    2.5e-7    4.6e-6    4e-6      1.8e-6
#   fp16    1.8e-4    3.0e-3    6e-3      8.2e-4
# A tile in the wrong place or a swapped input costs more than 1e-2 in abs_rel.
TOLERANCES: dict[Precision, Tolerance] = {
    "fp32": Tolerance(
        abs_rel=1e-4,
        max_rel=1e-3,
        fov_deg=1e-2,
        stage_max_rel=1e-4,
        reason="kernels add float32 products in another order: 2.5e-7 was measured on the mini; the rest is room for "
        "wider and deeper encoders and for other devices",
    ),
    "fp16": Tolerance(
        abs_rel=5e-3,
        max_rel=1e-1,
        fov_deg=1e-1,
        stage_max_rel=1e-2,
        reason="fp16 keeps 11 bits: 1.8e-4 was measured on the mini; the rest is room for wider and deeper encoders, "
        "for devices that also add in fp16, and, pixel by pixel, for far points, whose inverse depth is near zero",
    ),
}


def tolerance_for(precision: Precision) -> Tolerance:
    """The table's row.

    Raises:
        UnsupportedError: nothing was ever exported at this precision, so nobody knows.
    """
    if precision not in TOLERANCES:
        raise UnsupportedError(
            f"there is no tolerance for {precision} yet; there are ones for {', '.join(TOLERANCES)}",
            remedy="export at a precision that can be verified: --fp32 or --fp16",
        )
    return TOLERANCES[precision]
