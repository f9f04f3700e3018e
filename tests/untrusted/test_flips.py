"""A bundle with any one byte changed is refused."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from edgedepth.core.bundle import open_bundle

from . import seeds
from .flips import ELSEWHERE, everywhere, taken


@pytest.mark.slow
def test_no_flipped_byte_of_the_mini_is_taken(mini_bundle: Path, tmp_path: Path) -> None:
    assert_none_is_taken(Path(shutil.copytree(mini_bundle, tmp_path / "bundle")), ELSEWHERE)


def test_no_flipped_byte_of_a_small_one_is_taken(tmp_path: Path) -> None:
    assert_none_is_taken(seeds.bundle(tmp_path / "bundle"), 200)


def assert_none_is_taken(bundle: Path, elsewhere: int) -> None:
    """Every byte of the manifest and its digest, and so many elsewhere, each with a bit of its own."""
    rng = random.Random(0)
    assert not taken(bundle, everywhere(bundle, rng, elsewhere), rng)
    open_bundle(bundle)
