"""Metric depth of many frames: folders, globs, videos and shards, on one machine or a Ray cluster, each frame once.

    edgedepth label photos --bundle BUNDLE --out labels
    edgedepth label 'drives/*/front/*.jpg' clip.mp4 shards/0001.tar --bundle BUNDLE --out labels --workers 2
    edgedepth label photos --bundle BUNDLE --out labels --engine ray --address auto --workers 64 --shard 1000

Writes depth/HASH.png (16 bit, millimetres) by the content's SHA-256, labels.parquet (with pyarrow) and labels.jsonl
with a row for each frame, and summary.json. Started again, it goes on where it ended. Bad frames are counted and named.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.choosing import choose_bundle
from edgedepth.cli.arguments import add_crew, add_device, crew_options, parse_tile_batch
from edgedepth.cli.console import note, print_json, print_table, progress_bar
from edgedepth.core.plain import to_plain
from edgedepth.labelling import LabelSummary, label

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "metric depth of a large set of frames, on one machine or many"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "sources", nargs="+", metavar="SOURCE", help="folders, globs, pictures, videos, .tar and .parquet shards"
    )
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--bundle", type=Path, help="the bundle to run (default: the newest that fits, of the store)")
    chosen.add_argument("--model", help="run the newest bundle of this model")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where depth and index go")
    parser.add_argument("--form", choices=("png16", "npz"), default="png16", help="npz: float32 metres, not rounded")
    parser.add_argument(
        "--shard", type=int, default=1, metavar="N", help="N frames to a file: .tar of PNGs, or .npz (default: 1)"
    )
    parser.add_argument("--focal-px", type=float, metavar="F", help="of every frame; wins over EXIF")
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed before")
    parser.add_argument(
        "--tile-batch",
        type=parse_tile_batch,
        metavar="N",
        help="for bundles exported with --dynamic-batch (default: the fastest on each device, measured once)",
    )
    parser.add_argument("--resident", choices=("all", "one"), default="all", help="one: for little memory, slower")
    add_device(parser)
    add_crew(parser)


def run(args: argparse.Namespace) -> int:
    """Label and tell."""
    with progress_bar(eta=True) as progress:
        summary = label(
            args.sources,
            bundle=args.bundle or choose_bundle(args.model, "auto", None).path,
            out=args.out,
            crew=crew_options(args),
            form=args.form,
            shard=args.shard,
            tile_batch=args.tile_batch,
            resident=args.resident,
            device=args.device,
            focal_px=args.focal_px,
            retry_failed=args.retry_failed,
            progress=progress,
        )
    if args.json:
        print_json(to_plain(summary))
    else:
        _print(summary, args.out)
    return 0 if summary.failed < summary.frames else 1


def _print(summary: LabelSummary, out: Path) -> None:
    new = summary.frames - summary.already
    rate = f", {new / summary.seconds:.2f} frames/s" if new else ""
    print_table(
        ("frames", "labelled", "duplicates", "failed", "done before", "seconds"),
        [
            (
                str(summary.frames),
                str(summary.labelled),
                str(summary.duplicates),
                str(summary.failed),
                str(summary.already),
                f"{summary.seconds:.1f}",
            )
        ],
    )
    for kind, told in summary.reasons.items():
        note(f"{kind}: {told}")
    print(f"labels in {out}{rate}")
