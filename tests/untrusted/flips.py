"""Flip a bit in every byte of a bundle's manifest and its digest, and in bytes elsewhere, and count what is taken.

    edgedepth export --model depth-pro-mini --target onnx --out mini
    python -m tests.untrusted.flips mini --out docs/measurements/flips.json

The bundle is changed and put right again byte by byte: give it a copy.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgedepth.core.bundle import MANIFEST, MANIFEST_DIGEST, open_bundle
from edgedepth.core.environment import describe_machine
from edgedepth.core.errors import BundleError

__all__ = ["everywhere", "main", "taken"]

ELSEWHERE = 2000
COMMAND = "python -m tests.untrusted.flips mini --out docs/measurements/flips.json"
Place = tuple[str, int]


def everywhere(bundle: Path, rng: random.Random, elsewhere: int = ELSEWHERE) -> list[Place]:
    """Every byte of the manifest and its digest, and so many drawn from all other files, by their sizes."""
    sizes = {name: (bundle / name).stat().st_size for name in (MANIFEST, MANIFEST_DIGEST)}
    places = [(name, at) for name, size in sizes.items() for at in range(size)]
    entries = open_bundle(bundle).manifest.files
    for name in rng.choices(list(entries), [entry.size for entry in entries.values()], k=elsewhere):
        places.append((name, rng.randrange(entries[name].size)))
    return places


def taken(bundle: Path, places: Iterable[Place], rng: random.Random) -> list[Place]:
    """The places where a flipped bit, drawn for each, went unnoticed."""
    return [(name, at) for name, at in places if _is_taken(bundle, name, at, 1 << rng.randrange(8))]


def _is_taken(bundle: Path, name: str, at: int, mask: int) -> bool:
    _flip(bundle / name, at, mask)
    try:
        open_bundle(bundle)
    except BundleError:
        return False
    finally:
        _flip(bundle / name, at, mask)
    return True


def _flip(path: Path, at: int, mask: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ mask]))


def main() -> int:
    """Flip, and keep the figures; 1 where one was taken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rng = random.Random(0)
    start = time.process_time()
    places = everywhere(args.bundle, rng)
    manifest = open_bundle(args.bundle).manifest
    groups: dict[str, list[Place]] = {MANIFEST: [], MANIFEST_DIGEST: [], "all other files": []}
    for place in places:
        groups[place[0] if place[0] in groups else "all other files"].append(place)
    rows: list[dict[str, Any]] = []
    for name, group in groups.items():
        rows.append({"file": name, "flips": len(group), "taken": len(taken(args.bundle, group, rng))})
    document = {
        "what": f"Flipped bits in a bundle of {manifest.model.name}, {manifest.target} {manifest.precision}",
        "command": COMMAND,
        "machine": describe_machine(),
        "cpu_s": round(time.process_time() - start, 1),
        "rows": rows,
    }
    args.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return int(any(row["taken"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
