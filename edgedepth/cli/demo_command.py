"""Export the mini model, verify it, and run real photographs through the bundle: the whole road in a minute.

    edgedepth demo --out demo

The mini's weights are seeded random numbers until trained ones exist, so its depth means nothing, and every picture
says so; what the demo shows is that export, proof and inference work on this machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.cli.console import note, print_json, print_table, progress_bar
from edgedepth.cli.verify_command import print_report
from edgedepth.core.errors import OutputError
from edgedepth.exporting import export_bundle
from edgedepth.facade import EdgeDepth
from edgedepth.report.side_by_side import save_side_by_side
from edgedepth.sample_photos import sample_photos
from edgedepth.verifying import verify_bundle

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "export, verify and run the mini model on photographs"

MODEL = "depth-pro-mini"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="where to write (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """The road: export, verify, infer."""
    photos = sample_photos()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{args.out} can't be made: {error.strerror}", remedy="choose another folder with --out"
        ) from error
    with progress_bar() as progress:
        bundle = export_bundle(MODEL, "onnx", out=args.out / f"{MODEL}-onnx-fp32", progress=progress, announce=note)
        report = verify_bundle(bundle, [photo.pixels_rgb for photo in photos], color="rgb", progress=progress)
    rows, pictures = [], []
    with EdgeDepth(bundle.path, color="rgb", self_test="always") as model:
        for photo in photos:
            result = model.infer(photo.pixels_rgb, focal_px=photo.focal_px)
            picture = args.out / f"{photo.path.stem}.png"
            save_side_by_side(photo.pixels_rgb, result, picture)
            result.save_png16(args.out / f"{photo.path.stem}_depth.png")
            pictures.append(str(picture))
            rows.append(
                (photo.path.name, f"{result.fov_deg:.1f}", f"{sum(result.timings_ms.values()):.0f}", str(picture))
            )
    if args.json:
        print_json({"bundle": str(bundle.path), "verify": report.to_dict(), "pictures": pictures})
    else:
        print_report(report)
        print_table(("photograph", "fov °", "ms", "photograph and depth, side by side"), rows)
    return 0 if report.passed else 1
