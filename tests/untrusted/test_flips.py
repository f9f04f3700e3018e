"""A bundle with any one byte changed is refused."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from edgedepth.core.bundle import MANIFEST, MANIFEST_DIGEST, open_bundle
from edgedepth.core.errors import BundleError

ELSEWHERE = 2000


def flip(path: Path, at: int, mask: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def taken(bundle: Path, name: str, at: int, mask: int) -> bool:
    flip(bundle / name, at, mask)
    try:
        open_bundle(bundle)
    except BundleError:
        return False
    finally:
        flip(bundle / name, at, mask)
    return True


@pytest.mark.slow
def test_no_flipped_byte_is_taken(mini_bundle: Path, tmp_path: Path) -> None:
    """Every byte of the manifest and its digest, and so many elsewhere, each with a bit of its own."""
    bundle = Path(shutil.copytree(mini_bundle, tmp_path / "bundle"))
    rng = random.Random(0)
    sizes = {name: (bundle / name).stat().st_size for name in (MANIFEST, MANIFEST_DIGEST)}
    places = [(name, at) for name, size in sizes.items() for at in range(size)]
    entries = open_bundle(bundle).manifest.files
    for name in rng.choices(list(entries), [entry.size for entry in entries.values()], k=ELSEWHERE):
        places.append((name, rng.randrange(entries[name].size)))
    assert not [(name, at) for name, at in places if taken(bundle, name, at, 1 << rng.randrange(8))]
    open_bundle(bundle)
