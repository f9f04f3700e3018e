"""What a caller may say of a picture's scale: captions, detections, or scale and shift themselves. Checked here.

Source of the template: RSA (arXiv 2410.02924), section 3: "An image with seventeen chairs, a shelf, ...".
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal, get_args

from edgedepth.core.errors import OptionError
from edgedepth.programs.clip_tokens import check_caption

__all__ = ["NOTHING", "CaptionStyle", "Guidance", "Kind", "caption_of", "guidance_of", "parse_detections"]

Kind = Literal["metric", "relative_inverse"]
CaptionStyle = Literal["words", "digits"]
Detections = Sequence[tuple[str, int]]

MAX_CAPTIONS = 64
MAX_COUNT = 999

_UNITS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_IRREGULAR = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "mouse": "mice",
    "knife": "knives",
    "shelf": "shelves",
    "bookshelf": "bookshelves",
    "leaf": "leaves",
    "foot": "feet",
    "tooth": "teeth",
    "sheep": "sheep",
    "skis": "skis",
    "scissors": "scissors",
}
_CLASS = re.compile(r"[^\W\d_][\w' /()-]{0,59}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Guidance:
    """Checked: at most one of captions and scale_shift.

    Args:
        captions: of the picture, each on its own.
        scale_shift: pinned by the caller.
        kind: what is asked for; None: metres, or what the model gives.
    """

    captions: tuple[str, ...] = ()
    scale_shift: tuple[float, float] | None = None
    kind: Kind | None = None


NOTHING = Guidance()


def guidance_of(
    *,
    caption: object = None,
    detections: object = None,
    scale_shift: object = None,
    kind: object = None,
) -> Guidance:
    """Check what a caller said.

    Args:
        caption: a text, or a sequence of up to 64 of them.
        detections: (class, count) pairs, which the structured template makes a caption of.
        scale_shift: two numbers, scale > 0.
        kind: "metric" or "relative_inverse".

    Raises:
        OptionError: something else, or two of them at once.
    """
    given = {"caption": caption, "detections": detections, "scale_shift": scale_shift}
    names = [name for name, value in given.items() if value is not None]
    if len(names) > 1:
        raise OptionError(f"{names[0]} and {names[1]} exclude each other: one scale is enough", remedy="pass one")
    if kind is not None and kind not in get_args(Kind):
        raise OptionError(f"kind is {kind!r}; allowed are {' and '.join(get_args(Kind))}", remedy="leave kind out")
    if kind == "relative_inverse" and names:
        raise OptionError(
            f"kind='relative_inverse' is depth without a scale; {names[0]} would have no effect", remedy="leave one out"
        )
    captions: tuple[str, ...] = ()
    if caption is not None:
        captions = _captions(caption)
    elif detections is not None:
        captions = (caption_of(detections),)
    pinned = None if scale_shift is None else _scale_shift(scale_shift)
    return Guidance(captions=captions, scale_shift=pinned, kind=kind)  # type: ignore[arg-type]


def caption_of(detections: object, *, style: CaptionStyle = "digits", seed: int | None = None) -> str:
    """A structured caption from what was detected.

    Args:
        detections: (class, count) pairs, count 1 to 999; a class that comes twice is counted together.
        style: "words" as in the paper, "An image with two chairs, a desk."; "digits" as the released heads expect
            it, "An image with 2 chairs, desk."
        seed: shuffles the order; None keeps it.

    Raises:
        OptionError: not such pairs, no class that is a name, or a count that is none.
    """
    counts: dict[str, int] = {}
    for name, count in _pairs(detections):
        counts[name] = counts.get(name, 0) + count
    if over := [name for name, count in counts.items() if count > MAX_COUNT]:
        raise OptionError(f"{counts[over[0]]} of {over[0]!r}; {MAX_COUNT} at most are allowed", remedy="cap the count")
    items = list(counts.items())
    if seed is not None:
        random.Random(seed).shuffle(items)  # noqa: S311  (an order, no secret)
    phrases = [_phrase(name, count, style) for name, count in items]
    return f"An image with {', '.join(phrases)}."


def parse_detections(text: str) -> list[tuple[str, int]]:
    """(class, count) pairs from "chair=2,desk": a count that is left out is 1.

    Raises:
        OptionError: a count that is no whole number.
    """
    pairs = []
    for part in text.split(","):
        name, equals, count = part.partition("=")
        if equals and not re.fullmatch(r"\s*-?\d{1,9}\s*", count):
            raise OptionError(f"{part.strip()!r} has no count that is a whole number", remedy=_DETECTIONS_CLI)
        pairs.append((name.strip(), int(count) if equals else 1))
    return pairs


_DETECTIONS = 'detections=[("chair", 2), ("desk", 1)]'
_DETECTIONS_CLI = '--detections "chair=2,desk"'


def _pairs(detections: object) -> list[tuple[str, int]]:
    if isinstance(detections, str | bytes) or not isinstance(detections, Sequence):
        raise OptionError(f"detections is a {type(detections).__name__}; pairs are allowed", remedy=_DETECTIONS)
    if not detections:
        raise OptionError("detections is empty: it says nothing of the scale", remedy=_DETECTIONS)
    checked = []
    for pair in detections:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise OptionError(f"detections holds {pair!r}; pairs of class and count are allowed", remedy=_DETECTIONS)
        name, count = pair
        if not isinstance(name, str) or not _CLASS.fullmatch(name.strip().replace("_", " ")):
            raise OptionError(f"detections holds the class {name!r}; names are allowed: 'chair'", remedy=_DETECTIONS)
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise OptionError(f"detections holds {count!r} of {name!r}; counts are 1 and more", remedy=_DETECTIONS)
        checked.append((" ".join(name.replace("_", " ").split()), count))
    return checked


def _phrase(name: str, count: int, style: CaptionStyle) -> str:
    if style == "digits":
        return name if count == 1 else f"{count} {_plural(name)}"
    if count == 1:
        return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
    return f"{_in_words(count)} {_plural(name)}"


def _plural(name: str) -> str:
    head, _, last = name.rpartition(" ")
    plural = _IRREGULAR.get(last.lower())
    if plural is None:
        if re.search(r"(s|x|z|ch|sh)$", last):
            plural = f"{last}es"
        elif re.search(r"[^aeiou]y$", last):
            plural = f"{last[:-1]}ies"
        else:
            plural = f"{last}s"
    return f"{head} {plural}" if head else plural


def _in_words(count: int) -> str:
    if count < 20:
        return _UNITS[count]
    if count < 100:
        tens, unit = divmod(count, 10)
        return _TENS[tens] + (f"-{_UNITS[unit]}" if unit else "")
    hundreds, rest = divmod(count, 100)
    return f"{_UNITS[hundreds]} hundred" + (f" and {_in_words(rest)}" if rest else "")


def _captions(caption: object) -> tuple[str, ...]:
    if isinstance(caption, str) or not isinstance(caption, Sequence) or isinstance(caption, bytes):
        return (check_caption(caption),)
    if not 1 <= len(caption) <= MAX_CAPTIONS:
        raise OptionError(f"there are {len(caption)} captions; 1 to {MAX_CAPTIONS} are allowed", remedy="caption='...'")
    return tuple(map(check_caption, caption))


def _scale_shift(pair: object) -> tuple[float, float]:
    remedy = "scale_shift=(scale, shift), in 1/m"
    if isinstance(pair, str | bytes) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise OptionError(f"scale_shift is {pair!r}; two numbers are allowed", remedy=remedy)
    for number in pair:
        if isinstance(number, bool) or not isinstance(number, Real) or not math.isfinite(number):
            raise OptionError(f"scale_shift holds {number!r}; finite numbers are allowed", remedy=remedy)
    if not pair[0] > 0:
        raise OptionError(f"the scale is {pair[0]}; it has to be positive: near stays near", remedy=remedy)
    return float(pair[0]), float(pair[1])
