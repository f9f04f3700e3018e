"""Tell what is installed, which devices there are, which targets can be exported and run here, and why not.

edgedepth doctor
"""

from __future__ import annotations

import argparse

from edgedepth.cli.console import print_json, print_table
from edgedepth.diagnosis import diagnose

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "tell what can be exported and run here, and why not"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""


def run(args: argparse.Namespace) -> int:
    """Diagnose and tell."""
    diagnosis = diagnose()
    if args.json:
        print_json(diagnosis.to_dict())
        return 0
    for name, value in {**diagnosis.machine, "store": diagnosis.store}.items():
        print(f"{name:10} {value}")
    rows = [
        (
            entry.name,
            entry.version or "–",
            "yes" if entry.runs else "no",
            ", ".join(entry.devices) or "–",
            "yes" if entry.exports else "no",
            entry.reason or "–",
        )
        for entry in diagnosis.targets
    ]
    print_table(("target", "version", "runs", "devices", "exports", "why not"), rows)
    missing = [f"{name} (pip install 'edgedepth[{extra}]')" for name, extra in diagnosis.missing.items()]
    print("packages: " + ", ".join(f"{name} {version}" for name, version in diagnosis.packages.items()))
    if missing:
        print("not installed: " + ", ".join(missing))
    return 0
