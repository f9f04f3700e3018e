"""Find where a bundle starts to differ from the reference: the first stage, the first block, the usual cause, the cure.

    edgedepth debug BUNDLE --images DIR
    edgedepth debug BUNDLE --against FP32_ONNX_BUNDLE --images DIR

Exit code 1 when something is out of its tolerance. ONNX graphs are looked into; of other targets the stage is named.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.cli.arguments import add_device, add_weights
from edgedepth.cli.console import note, print_json, print_table, progress_bar
from edgedepth.cli.verify_command import add_pictures, chosen_pictures
from edgedepth.core.bundle import open_bundle
from edgedepth.core.signing import trusted_key_of_environment
from edgedepth.debugging import debug_bundle
from edgedepth.verify.blame import InnerError
from edgedepth.verify.debug_report import DebugReport

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "find where a bundle starts to differ from the reference"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, help="a bundle's folder")
    add_pictures(parser)
    parser.add_argument(
        "--against", type=Path, metavar="BUNDLE", help="an fp32 ONNX bundle of the model that is right; needs no torch"
    )
    add_weights(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Look and tell."""
    bundle = open_bundle(args.bundle, trusted_key=trusted_key_of_environment())
    pictures, _ = chosen_pictures(args)
    with progress_bar() as progress:
        report = debug_bundle(
            bundle,
            pictures,
            weights=args.weights,
            against=args.against,
            device=args.device,
            progress=progress,
            announce=note,
        )
    if args.json:
        print_json(report.to_dict())
    else:
        _print(report)
    return 0 if report.passed else 1


def _print(report: DebugReport) -> None:
    rows = [
        (
            link.what,
            f"{link.max_rel:.2e}",
            f"{link.mean_rel:.2e}",
            "ok" if link.good else "WRONG",
            ", ".join(
                filter(None, (link.told, f"{link.nan} NaN" * bool(link.nan), f"{link.inf} infinite" * bool(link.inf)))
            ),
        )
        for link in report.chain
    ]
    print_table(("from picture to metres", "max rel", "mean rel", "", ""), rows)
    first = report.first
    if report.blocks and first is not None:
        print_table(_COLUMNS, [_row(error, report) for error in report.blocks], title=f"\nblocks of {first.what}")
    if report.tensors:
        title = f"\ninside of {report.tensors[-1].node.block}"
        names = [error.tensor for error in report.tensors]
        first_bad = names.index(report.first_tensor.tensor) if report.first_tensor else len(names)
        shown = report.tensors[: first_bad + _BEHIND]  # what comes after follows from it
        print_table(_COLUMNS, [_row(error, report) for error in shown], title=title)
    print()
    for line in report.notes:
        print(f"note: {line}")
    if first is None:
        print("nothing is out of its tolerance" if report.passed else f"FAILED: {report.failures[0]}")
        return
    print(f"first wrong: {first.what}")
    if report.first_block is not None and report.first_tensor is not None:
        node = report.first_tensor.node
        layer = f", layer {node.layer}" if node.layer else ""
        print(f"first block: {report.first_block}, at {report.first_tensor.tensor} ({node.op} {node.name}{layer})")
    if report.cause is None:
        print("cause: nothing here points to one of the usual ones")
        return
    print(f"cause: {report.cause.kind}: {report.cause.says}")
    print(f"  try: {report.cause.cure}")


_BEHIND = 4
_COLUMNS = ("block", "tensor", "op", "max rel", "mean rel", "reference reaches", "bundle reaches", "")


def _row(error: InnerError, report: DebugReport) -> tuple[str, ...]:
    counted = error.error.nan + error.error.inf
    return (
        error.node.block,
        error.tensor,
        error.node.op,
        f"{error.error.max_rel:.1e}",
        f"{error.error.mean_rel:.1e}",
        f"{error.largest:.4g}",
        f"{error.found:.4g}" + (f", {counted} not finite" if counted else ""),
        "<-" if report.first_tensor is not None and error.tensor == report.first_tensor.tensor else "",
    )
