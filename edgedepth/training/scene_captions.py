"""Captions of procedural scenes: the place in everyday words and what is in view, or the structured template alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from edgedepth.programs.guidance import caption_of
from edgedepth.training.scenes import SceneObject

__all__ = ["natural_caption", "scene_captions", "structured_caption"]

_PLACES: Mapping[str, tuple[str, ...]] = {
    "room": ("a room", "a living room", "an office", "a bedroom", "a kitchen", "an apartment", "the inside of a house"),
    "corridor": ("a corridor", "a hallway", "a long hall", "a narrow passage in a building"),
    "street": ("a street", "a road", "a city street", "a street with houses", "a town", "a road between buildings"),
    "park": ("a park", "a garden", "a meadow", "a lawn under trees", "a field", "the countryside"),
    "table-top": ("a table-top", "a desk", "a table", "small things on a table", "a desk from close by", "a worktop"),
}
_FRAMES = (
    "{place}",
    "{place}",
    "a photo of {place}",
    "a picture of {place}",
    "this is {place}",
    "we see {place}",
)
_JOINTS = (" with {things}", ", {things}", ". There are {things}", ": {things}")
_KEPT = 0.85
"""How many of the things in view a caption names: nobody lists them all."""


def scene_captions(place: str, objects: Sequence[SceneObject], *, seed: int, natural: int = 5) -> tuple[str, ...]:
    """Captions of a scene: natural ones, then five of the structured template as RSA orders them at random.

    Args:
        place: one of PLACES.
        objects: in view.
        seed: of the words that are chosen.
        natural: how many natural ones.
    """
    random = Random(seed)  # noqa: S311  (words are no secret)
    spoken = tuple(natural_caption(place, objects, random) for _ in range(natural))
    return spoken + tuple(structured_caption(objects, random) for _ in range(5) if objects)


def natural_caption(place: str, objects: Sequence[SceneObject], random: Random) -> str:
    """A sentence that names the place and most of the things in view."""
    said = random.choice(_FRAMES).format(place=random.choice(_PLACES[place]))
    kept = [(thing.name, thing.count) for thing in objects if random.random() < _KEPT]
    if kept and random.random() < 0.85:
        things = _things(kept[: random.randint(1, 6)], random)
        said += random.choice(_JOINTS).format(things=things)
    return said[0].upper() + said[1:]


def structured_caption(objects: Sequence[SceneObject], random: Random) -> str:
    """RSA's template over the things in view, in words or digits."""
    kept = [(thing.name, thing.count) for thing in objects if random.random() < _KEPT]
    kept = kept or [(objects[0].name, objects[0].count)]
    return caption_of(kept, style=random.choice(("words", "digits")), seed=random.randrange(2**31))


def _things(kept: list[tuple[str, int]], random: Random) -> str:
    """ "two chairs, a table and a lamp", in any order."""
    phrases = caption_of(kept, style="words", seed=random.randrange(2**31))
    phrases = phrases.removeprefix("An image with ").removesuffix(".")
    head, comma, last = phrases.rpartition(", ")
    return f"{head} and {last}" if comma else last
