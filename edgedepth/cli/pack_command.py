"""Put bundles of one model into a pack: one folder that a whole fleet takes, each machine its own bundle of it.

    edgedepth pack orin-fp16 openvino-bf16 onnx-fp32 --out robots
    edgedepth pack robots new-fp16 --out robots-2
    edgedepth inspect robots

The order counts: a machine takes the first bundle whose target runs there, of TensorRT the one with engines for its
GPU, else the first, as a build kit. `edgedepth inspect PACK` tells which one that is here, and why not the others;
EdgeDepth(PACK), verify and sign take a pack as they take a bundle, and all other commands one of PACK/targets/*.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgedepth.cli.console import print_json, print_table
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import BundleNotFoundError
from edgedepth.core.pack import Pack, is_pack, open_pack
from edgedepth.core.packing import write_pack
from edgedepth.fitting import choose_member, fits_of

__all__ = ["SUMMARY", "add_arguments", "pack_facts", "print_pack", "run"]

SUMMARY = "put bundles for several devices into one folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "bundles",
        type=Path,
        nargs="+",
        metavar="BUNDLE",
        help="bundles of one model, or packs of them; preferred first",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the pack's folder")


def run(args: argparse.Namespace) -> int:
    """Pack, and tell what was written."""
    pack = write_pack([bundle for path in args.bundles for bundle in _bundles_at(path)], args.out)
    if args.json:
        print_json(pack_facts(pack))
    else:
        print_pack(pack)
    return 0


def _bundles_at(path: Path) -> list[Bundle]:
    if not is_pack(path):
        return [open_bundle(path)]
    pack = open_pack(path)
    return [pack.bundle(name) for name in pack.manifests]


def pack_facts(pack: Pack) -> dict[str, Any]:
    """A pack as JSON has it: its bundles, whether each runs here, and which one EdgeDepth would take."""
    fits = fits_of(pack)
    try:
        chosen = choose_member(pack, None, None, fits).name
    except BundleNotFoundError:
        chosen = None
    targets = {
        name: {
            "path": str(bundle.path),
            "target": bundle.manifest.target,
            "precision": bundle.manifest.precision,
            "bytes": bundle.size,
            "manifest_sha256": pack.digests[name],
            "runs": fits[name].runs,
            "to_build": fits[name].to_build,
            "reason": fits[name].reason,
        }
        for name, bundle in pack.bundles.items()
    }
    model = next(iter(pack.manifests.values())).model.name
    return {"path": str(pack.path), "model": model, "bytes": pack.size, "chosen": chosen, "targets": targets}


def print_pack(pack: Pack) -> None:
    """The same for a person."""
    facts = pack_facts(pack)
    print(f"pack   {pack.path}")
    print(f"model  {facts['model']}")
    print(f"size   {pack.size / 1e6:,.1f} MB")
    rows = [
        (
            name,
            one["precision"],
            f"{one['bytes'] / 1e6:,.1f}",
            "to build" if one["to_build"] else "yes" if one["runs"] else "no",
            one["reason"],
        )
        for name, one in facts["targets"].items()
    ]
    print_table(("bundle", "precision", "MB", "runs here", "on what, or why not"), rows)
    print(f"here EdgeDepth takes {facts['chosen'] or 'none of them'}")
