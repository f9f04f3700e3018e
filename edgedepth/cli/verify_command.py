"""Compare a bundle with the eager fp32 reference, stage by stage and end to end, on real pictures.

    edgedepth verify BUNDLE --images DIR
    edgedepth verify BUNDLE --images DIR --weights depth_pro.pt --json

Exit code 1 when a figure is out of its tolerance. The reference needs torch (the `export` extra) and the weights that
the bundle was made from.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.cli.arguments import add_device, add_weights
from edgedepth.cli.console import note, print_json, print_table, progress_bar
from edgedepth.core.bundle import open_bundle
from edgedepth.core.tolerances import EIGHT_BIT_PICTURES
from edgedepth.photos import list_photos, read_photo
from edgedepth.sample_photos import sample_photos
from edgedepth.verify.parity import OFF_DEVICE, ParityReport
from edgedepth.verifying import verify_bundle

__all__ = ["SUMMARY", "add_arguments", "print_report", "run"]

SUMMARY = "compare a bundle with the PyTorch reference"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, help="a bundle's folder")
    parser.add_argument(
        "--images",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders or files, two pictures at least (default: scikit-image's sample photographs)",
    )
    add_weights(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Verify and tell."""
    bundle = open_bundle(args.bundle)
    if args.images:
        frames = [read_photo(path).pixels_rgb for path in list_photos(args.images)]
    else:
        frames = [photo.pixels_rgb for photo in sample_photos()]
    with progress_bar() as progress:
        report = verify_bundle(
            bundle,
            frames,
            color="rgb",
            weights=args.weights,
            device=args.device,
            progress=progress,
            announce=note,
        )
    if args.json:
        print_json(report.to_dict())
    else:
        print_report(report)
    return 0 if report.passed else 1


def print_report(report: ParityReport) -> None:
    """Figures beside what is allowed, and the verdict."""
    tolerance, whole = report.tolerance, report.end_to_end
    off = report.where == OFF_DEVICE
    label = f" ({OFF_DEVICE})" if off else ""
    rows: list[tuple[str, ...]] = []
    if whole:
        rows = [
            ("end to end", "AbsRel", f"{whole.abs_rel:.2e}", f"≤ {tolerance.abs_rel:.0e}"),
            ("end to end", "max rel", f"{whole.max_rel:.2e}", f"≤ {tolerance.max_rel:.0e}"),
            ("end to end", "δ1", f"{whole.delta1:.6f}", ""),
            ("end to end", "FOV °", f"{whole.fov_deg:.2e}", f"≤ {tolerance.fov_deg:.0e}"),
        ]
    if cost := report.rounding:
        rows += [
            ("8-bit pictures", "AbsRel", f"{cost.abs_rel:.2e}", f"≤ {EIGHT_BIT_PICTURES.abs_rel:.0e}"),
            ("8-bit pictures", "max rel", f"{cost.max_rel:.2e}", f"≤ {EIGHT_BIT_PICTURES.max_rel:.0e}"),
            ("8-bit pictures", "FOV °", f"{cost.fov_deg:.2e}", f"≤ {EIGHT_BIT_PICTURES.fov_deg:.0e}"),
        ]
    for name, stage in report.stages.items():
        rows.append((name, "max rel", f"{stage.max_rel:.2e}", f"≤ {tolerance.stage_max_rel:.0e}"))
        rows.append((name, "mean rel", f"{stage.mean_rel:.2e}", ""))
    rows = [(*row, report.where) if off else row for row in rows]
    print_table(("what", "figure", "measured", "allowed", "where")[: 5 if off else 4], rows)
    print(f"tolerance: {tolerance.reason}{label}")
    for failure in report.failures:
        print(f"FAILED{label}: {failure}")
    print(f"{'passed' if report.passed else 'FAILED'} on {report.images} pictures{label}")
