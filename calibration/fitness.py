"""What can't calibrate: noise and blank frames one by one, and too little of a source as a whole.

INT8 whose scales were found on noise runs, keeps its errors small on noise, and is wrong on pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.calibration.set_index import LeftOut
from edgedepth.core.errors import CalibrationError
from edgedepth.programs.frames import MAX_SIDE, MIN_SIDE

__all__ = ["BLANK", "MIN_FRAMES", "NEAR_DUPLICATE", "NOISE", "UNREADABLE", "fault_of", "refuse_too_few"]

MIN_FRAMES = 4
"""Fewer distinct frames are refused: with a quarter held back there is one to measure on."""

NOISE = "random noise"
BLANK = "blank"
NEAR_DUPLICATE = "near-duplicate"
UNREADABLE = "can't be used"

_SIDES = (64, 32)
_CORRELATED = 0.2
"""Correlation of neighbours that a picture has at one of those sides at least.

Photographs of places have 0.55 and more at both; head-on pictures of gravel, grass and brick 0.25 to 0.38 at 64. Noise
has 0.05 and less, enlarged eight times 0.17.
"""
_STEP = 1 / 255
"""Contrast, the standard deviation of luma of a white of 1, that less than a byte's step has: nothing is to be seen."""
_FAINT = 0.02
"""Contrast below which a frame without structure is blank, not noise: a wall, with a sensor's own noise."""
_ROUNDING = 1e-4
"""Variance of luma, of a white of 255, that float32's rounding leaves in averaged areas that are equal."""


def fault_of(image: npt.NDArray[np.uint8]) -> str:
    """Why a frame can't calibrate, for people; "" where it can.

    Args:
        image: (H, W, 3) uint8, RGB.
    """
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE or max(height, width) > MAX_SIDE:
        return f"{width} x {height} pixels; allowed are {MIN_SIDE} to {MAX_SIDE} on each side"
    # float32: averaged areas of noise differ by less than a byte's step, and would be rounded to blocks of equals.
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    contrast = float(luma.std()) / 255
    if contrast >= _STEP and max(_neighbour_correlation(luma, side) for side in _SIDES) >= _CORRELATED:
        return ""
    return NOISE if contrast >= _FAINT else BLANK


def refuse_too_few(source: str, candidates: int, usable: int, left_out: Sequence[LeftOut]) -> CalibrationError:
    """The refusal of a source that has fewer usable frames than MIN_FRAMES, with what became of the others."""
    kinds = Counter(left.reason.partition(":")[0] for left in left_out)
    became = "".join(f", {count} left out: {reason}" for reason, count in kinds.most_common())
    broken = next((left for left in left_out if left.reason.startswith(UNREADABLE)), None)
    example = f" ({broken.name}{broken.reason.removeprefix(UNREADABLE)})" if broken else ""
    return CalibrationError(
        f"{source} can't calibrate: {usable} usable frames of {candidates}, and {MIN_FRAMES} that differ are the "
        f"least{became}{example}",
        remedy=_REMEDIES.get(kinds.most_common(1)[0][0] if kinds else "", _GIVE_PICTURES),
    )


_GIVE_PICTURES = "give 16 pictures or more of the places where the model will run, or try synthetic:64"
_REMEDIES = {
    NOISE: "INT8 scales found on noise are wrong on pictures: " + _GIVE_PICTURES,
    NEAR_DUPLICATE: "frames that repeat each other tell one picture's range: " + _GIVE_PICTURES,
    UNREADABLE: "save the pictures again as JPEG or PNG, or name another folder",
}


def _neighbour_correlation(luma: npt.NDArray[np.float32], side: int) -> float:
    """Mean correlation of horizontal and vertical neighbours of a picture shrunk to side x side; 0 for a blank one."""
    small = np.asarray(cv2.resize(luma, (side, side), interpolation=cv2.INTER_AREA), np.float64)
    pairs = ((small[:, 1:], small[:, :-1]), (small[1:], small[:-1]))
    return float(np.mean([_correlation(a, b) for a, b in pairs]))


def _correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    a, b = a - a.mean(), b - b.mean()
    power = float(np.sqrt(np.square(a).mean() * np.square(b).mean()))
    return float((a * b).mean()) / power if power > _ROUNDING else 0.0
