"""Export a model for a target: writes a bundle, a folder with one artefact a stage and a manifest.

edgedepth export --model depth-pro-mini --target onnx
edgedepth export --target onnx --fp16 --weights depth_pro.pt --out depth-pro-fp16
edgedepth export --target openvino --bf16
edgedepth export --target onnx --int8 --calib SET --budget absrel=0.01
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.cli.arguments import add_weights
from edgedepth.cli.console import note, print_json, progress_bar
from edgedepth.cli.inspect_command import bundle_facts, print_bundle
from edgedepth.cli.int8_arguments import add_int8, asks_for_int8, export_int8
from edgedepth.core.bundle import Bundle
from edgedepth.core.targets import PLANNED
from edgedepth.exporters.base import EXPORTERS, ExportOptions
from edgedepth.exporting import export_bundle
from edgedepth.models.registry import DEFAULT_MODEL

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "write a bundle for a target"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="a name that `edgedepth models` lists (default: %(default)s)"
    )
    built, planned = ", ".join(EXPORTERS), ", ".join(PLANNED)
    parser.add_argument("--target", default="onnx", help=f"{built}; not built yet: {planned} (default: %(default)s)")
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument("--fp32", dest="precision", action="store_const", const="fp32", help="the default")
    precision.add_argument(
        "--fp16",
        dest="precision",
        action="store_const",
        const="fp16",
        help="half the size; LayerNorm, softmax and the last inverse-depth arithmetic stay fp32 (on a CPU OpenVINO "
        "computes all of it in fp32)",
    )
    precision.add_argument(
        "--bf16",
        dest="precision",
        action="store_const",
        const="bf16",
        help="openvino: weights as --fp16, arithmetic in bf16, on processors that have it; the fastest there",
    )
    precision.add_argument(
        "--int8", dest="precision", action="store_const", const="int8", help="on a calibration set; see below"
    )
    add_weights(parser)
    parser.add_argument(
        "--layout",
        choices=("staged", "single"),
        default="staged",
        help="one graph a stage, or one in all: image in, inverse depth and FOV out (default: %(default)s)",
    )
    parser.add_argument(
        "--tile-batch",
        type=int,
        default=ExportOptions().tile_batch,
        metavar="N",
        help="tiles a call of the patch encoder (default: %(default)s)",
    )
    parser.add_argument("--dynamic-batch", action="store_true", help="let the patch encoder take any number of tiles")
    parser.add_argument(
        "--opset", type=int, default=ExportOptions().opset, help="ONNX opset, with --target onnx (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="the bundle's folder (default: in the artefact store)")
    add_int8(parser)
    parser.set_defaults(precision="fp32")


def run(args: argparse.Namespace) -> int:
    """Export and tell what was written."""
    bundle = export_int8(args) if asks_for_int8(args) else _export(args)
    if args.json:
        print_json(bundle_facts(bundle))
    else:
        print_bundle(bundle)
        note(f"next: edgedepth verify {bundle.path} --images DIR")
    return 0


def _export(args: argparse.Namespace) -> Bundle:
    options = ExportOptions(
        precision=args.precision,
        layout=args.layout,
        tile_batch=args.tile_batch,
        dynamic_batch=args.dynamic_batch,
        opset=args.opset,
    )
    with progress_bar() as progress:
        return export_bundle(
            args.model,
            args.target,
            options=options,
            weights=args.weights,
            out=args.out,
            progress=progress,
            announce=note,
        )
