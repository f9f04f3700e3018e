"""Make a calibration set: the frames that INT8 is made of and measured on.

    edgedepth calibrate synthetic:64 --out calib
    edgedepth calibrate photos --out calib --count 32
    edgedepth calibrate drive.mp4 --out calib --seed 7
    edgedepth calibrate 0 --out calib --every 1

SOURCE is a folder of pictures or of a data set, a video file, a camera's index, or synthetic:N for N rendered scenes
that are neither trained on nor evaluated. Of the frames that can calibrate, the most different ones are taken; what
can't be used is counted and named. Stopped, killed or out of disk: the same command goes on.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from edgedepth.calibrating import PICTURES, calibrate
from edgedepth.calibration.coverage import Coverage
from edgedepth.calibration.fitness import NEAR_DUPLICATE
from edgedepth.calibration.sets import CalibrationSet
from edgedepth.cli.console import note, print_json, print_table, progress_bar
from edgedepth.core.plain import to_plain
from edgedepth.datasets import LAYOUTS
from edgedepth.models.registry import DEFAULT_MODEL

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "make a calibration set for INT8"

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="folder, video file, camera's index, or synthetic:N")
    parser.add_argument("--out", type=Path, required=True, metavar="SET", help="the set's folder")
    parser.add_argument(
        "--count", type=int, default=64, metavar="N", help="take N frames at most (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="of what is drawn; the same seed gives the same set"
    )
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="that will be calibrated; the set is for all that take frames as it does (default: %(default)s)",
    )
    layouts = ", ".join((PICTURES, *(layout.name for layout in LAYOUTS)))
    parser.add_argument("--layout", help=f"of a folder: {layouts} (default: told by what is in it)")
    parser.add_argument(
        "--every",
        type=float,
        default=0.5,
        metavar="SECONDS",
        help="from one frame of a camera to the next (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Make the set, and tell what it covers."""
    try:
        with progress_bar() as progress:
            made = calibrate(
                args.source,
                args.out,
                count=args.count,
                seed=args.seed,
                model=args.model,
                layout=args.layout,
                interval_s=args.every,
                progress=progress,
                announce=note,
            )
    except KeyboardInterrupt:
        note("the frames so far are kept; the same command goes on")
        raise
    if args.json:
        print_json(_facts(made))
    else:
        _print(made)
    return 0


def _facts(made: CalibrationSet) -> dict[str, object]:
    index = made.index
    return {
        "out": str(made.path),
        "fingerprint": made.fingerprint,
        "preprocessing": made.preprocessing,
        "source": index.source,
        "seed": index.seed,
        "asked_for": index.asked_for,
        "looked_at": index.candidates,
        "names": list(made.names),
        "coverage": to_plain(made.coverage),
        "left_out": to_plain(index.left_out),
    }


def _print(made: CalibrationSet) -> None:
    index = made.index
    print(
        f"{made.path}: {len(made)} frames of {index.source} (asked for {index.asked_for}, looked at {index.candidates})"
    )
    print(f"fingerprint {made.fingerprint[:12]}, for models that take frames as {made.preprocessing} does")
    print_table(("coverage", "least", "median", "most"), _rows(made.coverage))
    kinds = Counter(left.reason.partition(":")[0] for left in index.left_out)
    for kind, count in kinds.most_common():
        print(f"left out: {count}, {kind}")
    named = [left for left in index.left_out if left.reason != NEAR_DUPLICATE]
    for left in named[:_SHOWN]:
        print(f"  {left.name}: {left.reason}")
    if (more := len(named) - _SHOWN) > 0:
        print(f"  {more} more, in {made.path}")


def _rows(coverage: Coverage) -> list[list[str]]:
    figures = {
        "brightness 0..1": (coverage.brightness, 2),
        "contrast 0..1": (coverage.contrast, 2),
        "near m (5 % of a frame)": (coverage.near_m, 1),
        "far m (95 % of a frame)": (coverage.far_m, 1),
    }
    return [
        [label, *(f"{value:.{digits}f}" for value in (spread.least, spread.median, spread.most))]
        for label, (spread, digits) in figures.items()
        if spread is not None
    ]
