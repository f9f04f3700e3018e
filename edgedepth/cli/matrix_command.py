"""Export a model to everything that works here, verify and time each, and print one table.

    edgedepth matrix --model depth-pro-mini --out matrix
    edgedepth matrix --model depth-pro-mini --targets onnx openvino --precisions fp32 bf16
    edgedepth matrix --model depth-pro --weights depth_pro.pt --calib SET --images photos

--out gets bundles/, run.json, matrix.md, and pictures to look at; a run that was cut off goes on with the same command.
A row that fails or can't run here says why, and the others go on. The exit code is 1 when a row failed.
"""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from edgedepth.cli.arguments import add_weights
from edgedepth.cli.console import note, print_json, print_table, progress_bar
from edgedepth.cli.timing_arguments import add_timing, print_machine, print_notes
from edgedepth.core.plain import to_plain
from edgedepth.core.runs import Run
from edgedepth.matrix.planning import plan_rows
from edgedepth.matrix.running import FRAMES, MatrixOptions, make_matrix
from edgedepth.matrix.table import COLUMNS, TABLE, table_rows
from edgedepth.models.registry import DEFAULT_MODEL
from edgedepth.photos import list_photos
from edgedepth.sample_photos import sample_photo_paths

__all__ = ["SUMMARY", "add_arguments", "print_matrix", "run"]

SUMMARY = "export to all that works here, verify and time each, in one table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a model's name (default: %(default)s)")
    parser.add_argument("--targets", nargs="+", default=[], metavar="TARGET", help="these only (default: all)")
    parser.add_argument("--precisions", nargs="+", default=[], metavar="P", help="these only (default: all)")
    parser.add_argument(
        "--images",
        nargs="+",
        type=Path,
        metavar="DIR",
        help="folders or files, two pictures at least (default: scikit-image's sample photographs)",
    )
    parser.add_argument(
        "--calib", type=Path, metavar="SET", help="calibration set of the INT8 rows (default: 8 rendered scenes)"
    )
    add_weights(parser)
    add_timing(parser, frames=FRAMES)
    parser.add_argument(
        "--out", type=Path, default=Path("matrix"), metavar="DIR", help="the run's folder (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Make the matrix, and tell."""
    options = MatrixOptions(
        model=args.model,
        rows=tuple(plan_rows(args.targets, args.precisions)),
        images=tuple(list_photos(args.images) if args.images else sample_photo_paths()),
        frames=args.frames,
        warm_up=args.warm_up,
        weights=args.weights,
        calib=args.calib,
        peers=tuple(args.peer),
    )
    command = shlex.join(["edgedepth", *args.words])
    try:
        with progress_bar() as progress:
            made = make_matrix(options, args.out, command=command, progress=progress, announce=note)
    except KeyboardInterrupt:
        note(f"what is done is kept in {args.out}; the same command goes on")
        raise
    if args.json:
        print_json(to_plain(made))
    else:
        print_matrix(made)
        note(f"written: {args.out / TABLE} and {args.out}")
    failed = any(entry.status == "failed" for entry in made.entries)
    return 1 if failed or not any(entry.status == "passed" for entry in made.entries) else 0


def print_matrix(made: Run) -> None:
    """The machine, the table, and what has to be known of its figures."""
    print_machine(made)
    print_table(COLUMNS, table_rows(made))
    print_notes(made.entries)
