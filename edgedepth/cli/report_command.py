"""Make one self-contained page of runs: tables, charts, pictures, a point cloud, machine and provenance.

    edgedepth report runs/matrix --out report.html
    edgedepth report runs/verify runs/bench --out report.html
    edgedepth report runs/jetson runs/laptop --cross-device --out report.html

RUN is a folder that verify, bench or matrix wrote with --out. The page is one file that loads nothing from anywhere.
A proof and a timing of the same bundle on the same machine become one row.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.cli.console import note, print_json, progress_bar
from edgedepth.report.page import DEFAULT_PICTURES, write_report

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "make one HTML page of runs, to look at and to pass on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument(
        "--out", type=Path, default=Path("report.html"), metavar="FILE", help="the page (default: %(default)s)"
    )
    parser.add_argument(
        "--pictures",
        type=int,
        default=DEFAULT_PICTURES,
        metavar="N",
        help="show at most N photographs, those with the largest errors; 0 for none (default: %(default)s)",
    )
    parser.add_argument("--cross-device", action="store_true", help="take runs of different machines, and label them")


def run(args: argparse.Namespace) -> int:
    """Make the page and tell where it is."""
    with progress_bar() as progress:
        page = write_report(
            args.runs, args.out, cross_device=args.cross_device, pictures=args.pictures, progress=progress
        )
    size = page.stat().st_size
    if args.json:
        print_json({"page": str(page), "bytes": size})
    else:
        print(page)
        note(f"{size / 1e6:.1f} MB; open it in any browser")
    return 0
