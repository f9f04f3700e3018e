"""Which of many frames calibrate best: seeded, without near-duplicates, as different from each other as can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["SAME_BELOW", "Choice", "choose_diverse", "spread_numbers", "thumbnail"]

SAME_BELOW = 0.02
"""RMS difference of two thumbnails, of a white of 1, below which frames are near-duplicates."""

_SIDE = 16

Thumbnail = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen of a list of frames.

    Args:
        chosen: indices into the list, the most telling first: any beginning of it is diverse too.
        near_duplicates: indices of frames that differ from a chosen one by less than SAME_BELOW.
    """

    chosen: tuple[int, ...]
    near_duplicates: tuple[int, ...]


def thumbnail(image: npt.NDArray[np.uint8]) -> Thumbnail:
    """What frames are compared by: (H, W, 3) uint8 shrunk to (16, 16, 3) by averaging areas."""
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def spread_numbers(total: int, wanted: int, seed: int) -> tuple[int, ...]:
    """At most `wanted` numbers of range(total), ascending, spread over it: one of each equal share, drawn by seed.

    Neighbours in a video are alike, and so are neighbours in a folder that a camera filled.
    """
    if wanted >= total:
        return tuple(range(total))
    borders = [share * total // wanted for share in range(wanted + 1)]
    draw = np.random.default_rng(seed)
    return tuple(int(draw.integers(low, high)) for low, high in pairwise(borders))


def choose_diverse(thumbnails: Sequence[Thumbnail], count: int, seed: int) -> Choice:
    """Choose frames by farthest-point sampling (Gonzalez 1985): each is the one least like all before it.

    It ends where the next would be a near-duplicate.

    Args:
        thumbnails: of the frames.
        count: how many to choose at most.
        seed: draws the first; ties go to the earlier frame.
    """
    if not thumbnails:
        return Choice((), ())
    # Whole numbers, which float64 adds without rounding: the same choice on every processor.
    points = np.stack(thumbnails).reshape(len(thumbnails), -1).astype(np.float64)
    squares = np.square(points).sum(axis=1)
    same_below = (SAME_BELOW * 255) ** 2 * points.shape[1]
    chosen: list[int] = []
    nearest = np.full(len(points), np.inf)
    following = int(np.random.default_rng(seed).integers(len(points)))
    while len(chosen) < count and nearest[following] >= same_below:
        chosen.append(following)
        nearest = np.minimum(nearest, squares + squares[following] - 2 * (points @ points[following]))
        following = int(nearest.argmax())
    alike = set(np.flatnonzero(nearest < same_below).tolist()) - set(chosen)
    return Choice(tuple(chosen), tuple(sorted(alike)))
