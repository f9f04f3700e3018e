"""What bench and matrix share: how often frames are timed, beside what, and the notes that a run ends in."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from edgedepth.bench.contenders import PEERS
from edgedepth.bench.running import WARM_UP
from edgedepth.core.runs import Entry, Run

__all__ = ["add_timing", "print_machine", "print_notes"]


def add_timing(parser: argparse.ArgumentParser, *, frames: int) -> None:
    """--frames, --warm-up and --peer.

    Args:
        parser: of the command.
        frames: how many are timed unless told otherwise.
    """
    parser.add_argument(
        "--frames", type=int, default=frames, metavar="N", help="timed frames of each bundle (default: %(default)s)"
    )
    parser.add_argument(
        "--warm-up",
        type=int,
        default=WARM_UP,
        metavar="N",
        help="frames before them, until they are steady, at most N (default: %(default)s)",
    )
    parser.add_argument(
        "--peer",
        action="append",
        choices=PEERS,
        default=[],
        help="time this beside the bundles: the eager PyTorch reference",
    )


def print_machine(made: Run) -> None:
    """What it was measured on, in lines."""
    for name, value in made.machine.items():
        print(f"{name:14} {value}")
    print(f"{'versions':14} " + ", ".join(f"{name} {version}" for name, version in made.versions.items()))


def print_notes(entries: Iterable[Entry]) -> None:
    """What has to be known of the figures."""
    for entry in entries:
        for line in entry.timing.notes if entry.timing else ():
            print(f"note: {entry.name}: {line}")
