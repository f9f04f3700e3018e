"""Look into the artefact store, and make room in it.

    edgedepth store list
    edgedepth store remove depth-pro-mini-onnx-fp32
    edgedepth store prune --max-gb 20
    edgedepth store prune --max-gb 20 --dry-run

The store is EDGEDEPTH_HOME. prune deletes the oldest bundles until the rest fit, and what killed exports left; it never
touches a bundle that is being written. Weights and caches are listed, and stay: deleting them costs a download or a
slower start, so that is yours to do.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

from edgedepth.cli.console import print_json, print_table
from edgedepth.core.errors import OptionError
from edgedepth.core.folders import sweep
from edgedepth.core.store import Stored, bundles_folder, cache_folder, folder_bytes, stored, surplus, weights_folder

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "list, remove and prune stored bundles"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("action", choices=("list", "remove", "prune"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="of bundles, as list shows them; for remove")
    parser.add_argument("--max-gb", type=float, metavar="GB", help="what all bundles may take (10^9 bytes); for prune")
    parser.add_argument("--dry-run", action="store_true", help="tell what would be deleted, and delete nothing")


def run(args: argparse.Namespace) -> int:
    """List, or delete and tell."""
    if args.action == "list":
        if args.names or args.max_gb is not None:
            raise OptionError("list takes no names and no --max-gb", remedy="edgedepth store list")
        return _list(as_json=args.json)
    doomed = _named(args.names) if args.action == "remove" else _surplus(args)
    freed = 0
    if not args.dry_run:
        freed = sweep(bundles_folder()) if args.action == "prune" else 0
        for bundle in doomed:
            bundle.remove()
    bytes_of_bundles = sum(bundle.size for bundle in doomed)
    if args.json:
        names = [bundle.path.name for bundle in doomed]
        print_json({"removed": names, "bytes": bytes_of_bundles + freed, "dry_run": args.dry_run})
    else:
        verb = "would be removed" if args.dry_run else "removed"
        for bundle in doomed:
            print(f"{verb}: {bundle.path.name} ({_size(bundle.size)}, of {bundle.created_utc})")
        print(f"{len(doomed)} bundles {verb}, {_size(bytes_of_bundles + freed)}")
    return 0


def _surplus(args: argparse.Namespace) -> list[Stored]:
    if args.names or args.max_gb is None:
        raise OptionError("prune goes by --max-gb and takes no names", remedy="edgedepth store prune --max-gb 20")
    if not (math.isfinite(args.max_gb) and args.max_gb >= 0):
        raise OptionError(f"--max-gb is {args.max_gb}; allowed are 0 and more", remedy="--max-gb 20")
    return surplus(stored(), max_bytes=int(args.max_gb * 1e9))


def _named(names: list[str]) -> list[Stored]:
    if not names:
        raise OptionError("no bundle was named", remedy="edgedepth store list names them")
    there = {bundle.path.name: bundle for bundle in stored()}
    if unknown := [name for name in names if name not in there]:
        raise OptionError(
            f"the store has no bundle {unknown[0]!r}; it has {', '.join(sorted(there)) or 'none'}",
            remedy="edgedepth store list names them",
        )
    return [there[name] for name in dict.fromkeys(names)]


def _list(*, as_json: bool) -> int:
    bundles = stored()
    others = {"weights": folder_bytes(weights_folder()), "cache": folder_bytes(cache_folder())}
    if as_json:
        print_json({"folder": str(bundles_folder()), "bundles": [_facts(bundle) for bundle in bundles], **others})
        return 0
    rows = [tuple(map(str, _facts(bundle).values())) for bundle in bundles]
    rows = [(*row[:-2], _size(bundle.size), row[-1]) for row, bundle in zip(rows, bundles, strict=True)]
    print_table(("name", "model", "target", "precision", "size", "made"), rows, title=str(bundles_folder()))
    total = sum(bundle.size for bundle in bundles)
    print(
        f"{len(bundles)} bundles, {_size(total)}; weights {_size(others['weights'])}, "
        f"what runtimes keep to start faster {_size(others['cache'])}"
    )
    return 0


def _facts(bundle: Stored) -> dict[str, Any]:
    """Of a pack the targets and precisions in its order."""
    return {
        "name": bundle.path.name,
        "model": bundle.model,
        "target": ", ".join(manifest.target for manifest in bundle.manifests),
        "precision": ", ".join(manifest.precision for manifest in bundle.manifests),
        "bytes": bundle.size,
        "created_utc": bundle.created_utc,
    }


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"
