"""The focal length that a picture's EXIF data tells, or the reason why it tells none. Pure functions.

Source: Exif 2.32 (CIPA DC-008), tables 7 and 8; the diagonal rule is that of github.com/apple/ml-depth-pro.
That code falls back on FocalLength with a guessed sensor size; here nothing is guessed, and the model predicts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

__all__ = ["ExifFocal", "focal_from_exif", "focal_px_from_35mm"]

_FOCAL_LENGTH = 0x920A
_PIXEL_X_DIMENSION = 0xA002
_PIXEL_Y_DIMENSION = 0xA003
_DIGITAL_ZOOM_RATIO = 0xA404
_FOCAL_LENGTH_35MM = 0xA405

# Lenses end at some 3000 mm, with digital zoom at some 10000; 65535 is what some writers put for "unknown".
_MIN_35MM, _MAX_35MM = 1.0, 10_000.0


@dataclass(frozen=True, slots=True)
class ExifFocal:
    """A focal length in pixels, or None, and in words where it came from or why there is none."""

    focal_px: float | None
    source: str


def focal_px_from_35mm(focal_35mm: float, width: int, height: int) -> float:
    """Focal length in pixels of a picture from the 35 mm equivalent in mm: the diagonals have the same angle."""
    return focal_35mm * math.hypot(width, height) / math.hypot(36, 24)


def focal_from_exif(tags: Mapping[int, object], *, width: int, height: int, turned: bool) -> ExifFocal:
    """The focal length by FocalLengthIn35mmFilm.

    A digital zoom is taken as included in that number, as phones write it. A crop that keeps the aspect ratio
    can't be told from a resize; the source says so wherever the size has changed.

    Args:
        tags: the Exif IFD, by tag number; values as they were found, damaged ones included.
        width: of the picture as it is shown, in pixels.
        height: likewise.
        turned: whether the orientation swaps width and height of the stored picture (5 to 8).
    """
    if not tags:
        return ExifFocal(None, "no EXIF data about the lens")
    if _FOCAL_LENGTH_35MM not in tags:
        return ExifFocal(None, _why_no_35mm(tags))
    focal = _number(tags[_FOCAL_LENGTH_35MM])
    if focal is None or not _MIN_35MM <= focal <= _MAX_35MM:
        got = "0, which means unknown" if focal == 0 else f"{tags[_FOCAL_LENGTH_35MM]!r:.40}, which is no focal length"
        return ExifFocal(None, f"EXIF FocalLengthIn35mmFilm is {got}")
    taken = (_number(tags.get(_PIXEL_X_DIMENSION)), _number(tags.get(_PIXEL_Y_DIMENSION)))
    if _is_cropped(taken, (width, height), turned):
        return ExifFocal(
            None,
            f"EXIF FocalLengthIn35mmFilm = {focal:g} mm is of {taken[0]:g} x {taken[1]:g} pixels; "
            f"this picture is {width} x {height}, so it was cropped or turned since",
        )
    zoom = _number(tags.get(_DIGITAL_ZOOM_RATIO)) or 0
    note = f" (digital zoom {zoom:.3g} taken as included)" if zoom > 1 else ""
    if taken[0] and taken[1] and {taken[0], taken[1]} != {width, height}:
        note += f" (taken at {taken[0]:g} x {taken[1]:g}: right only if it was resized since, and nothing cut off)"
    return ExifFocal(focal_px_from_35mm(focal, width, height), f"EXIF FocalLengthIn35mmFilm = {focal:g} mm{note}")


def _why_no_35mm(tags: Mapping[int, object]) -> str:
    focal = _number(tags.get(_FOCAL_LENGTH))
    if focal:
        return f"EXIF has FocalLength = {focal:.3g} mm, but no FocalLengthIn35mmFilm: the sensor's size is unknown"
    return "no FocalLengthIn35mmFilm in the EXIF data"


def _is_cropped(taken: tuple[float | None, float | None], shown: tuple[int, int], turned: bool) -> bool:
    """Whether the aspect ratio is another than the camera wrote. Unknown counts as not cropped."""
    width, height = taken
    if not width or not height:
        return False
    candidates = [(width, height)]
    if turned:
        # By the standard the dimensions are those of the stored picture; some phones write them as it is shown.
        candidates.append((height, width))
    return not any(_same_aspect(candidate, shown) for candidate in candidates)


def _same_aspect(taken: tuple[float, float], shown: tuple[int, int]) -> bool:
    difference = abs(shown[0] * taken[1] - shown[1] * taken[0])
    # 1 %: focal lengths are in whole millimetres, which is coarser. Sum: a resize rounds each side by up to a pixel.
    return difference <= max(0.01 * shown[0] * taken[1], sum(taken))


def _number(value: object) -> float | None:
    """A finite number, or None for what isn't one: text, bytes, tuples, 1/0."""
    if not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except (OverflowError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None
