"""Real photographs for the demo, and for verify when nobody names any: those that scikit-image carries."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from edgedepth.core.errors import MissingExtraError
from edgedepth.photos import Photo, read_photo

__all__ = ["SAMPLES", "sample_photo_paths", "sample_photos"]

SAMPLES = ("motorcycle_left.png", "coffee.png", "chelsea.png")
"""Middlebury's motorcycle, a cup of coffee and a cat: a scene with depth, a table top, a close-up."""


def sample_photo_paths() -> list[Path]:
    """Where they are.

    Raises:
        MissingExtraError: scikit-image isn't installed.
    """
    found = find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        raise MissingExtraError(
            "scikit-image is needed for the sample photographs and is not installed",
            remedy="name pictures of yours with --images DIR, or pip install 'edgedepth[demo]'",
        )
    folder = Path(found.submodule_search_locations[0]) / "data"
    return [folder / name for name in SAMPLES]


def sample_photos() -> list[Photo]:
    """Read them.

    Raises:
        MissingExtraError: scikit-image isn't installed.
    """
    return [read_photo(path) for path in sample_photo_paths()]
