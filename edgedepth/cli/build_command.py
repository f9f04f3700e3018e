"""Build TensorRT engines from a bundle's graphs: on the device that shall run them, or ahead of time for desktop RTX.

edgedepth build KIT
edgedepth build KIT --workspace-mb 2048 --optimization-level 4
edgedepth build KIT --provider tensorrt-rtx --sm 89,120 --out rtx
edgedepth build KIT --check-only

KIT is what 'edgedepth export --target tensorrt' writes, or a bundle of target onnx. Without --out a kit gets its
engines where it lies; what stood there stays until the new bundle is whole.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.cli.arguments import add_engine_options, engine_options
from edgedepth.cli.console import note, print_json, print_table, progress_bar
from edgedepth.cli.inspect_command import bundle_facts, print_bundle
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.pack import seal_again
from edgedepth.core.signing import trusted_key_of_environment
from edgedepth.core.store import bundle_folder
from edgedepth.exporters.trt_engines import build_bundle, check_graphs, proven_here
from edgedepth.trt.options import EngineOptions

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "build TensorRT engines from a kit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, help="a bundle of target tensorrt or onnx")
    add_engine_options(parser)
    parser.add_argument("--check-only", action="store_true", help="look for what TensorRT refuses, and build nothing")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder of the bundle with engines")


def run(args: argparse.Namespace) -> int:
    """Build, or check, and tell."""
    bundle = open_bundle(args.bundle, damaged_engines=True, trusted_key=trusted_key_of_environment())
    if args.check_only:
        return _check(bundle, as_json=args.json)
    options = engine_options(args) or EngineOptions()
    out = args.out or _default_folder(bundle)
    with progress_bar() as progress:
        built = build_bundle(bundle, out, options, progress=progress)
    seal_again(built.path)
    if args.json:
        print_json(bundle_facts(built))
    else:
        print_bundle(built)
        note(proven_here(built))
    return 0


def _default_folder(bundle: Bundle) -> Path:
    manifest = bundle.manifest
    if manifest.target == "tensorrt":
        return bundle.path
    return bundle_folder(manifest.model.name, "tensorrt", manifest.precision, manifest.layout)


def _check(bundle: Bundle, *, as_json: bool) -> int:
    findings = check_graphs(bundle)
    rows = [(stage, found.node, found.operator, found.problem) for stage, all_ in findings.items() for found in all_]
    if as_json:
        keys = ("stage", "node", "operator", "problem")
        print_json({"findings": [dict(zip(keys, row, strict=True)) for row in rows]})
    elif rows:
        print_table(("stage", "node", "operator", "what is wrong"), rows)
    else:
        print(f"{len(findings)} graphs: nothing that TensorRT is known to refuse or to compute wrongly")
    return 1 if rows else 0
