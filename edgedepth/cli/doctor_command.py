"""Tell what is installed, which devices there are, which targets can be exported and run here, and why not.

edgedepth doctor
edgedepth doctor --json           # sorted, with a fingerprint of what decides which artefact fits: for inventories
edgedepth doctor --bundle BUNDLE  # on a Mac: where Core ML would run each operation of it
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.cli.console import print_json, print_table
from edgedepth.core.bundle import open_bundle
from edgedepth.core.signing import trusted_key_of_environment
from edgedepth.diagnosis import diagnose
from edgedepth.runtimes.coreml_devices import DEVICES
from edgedepth.runtimes.coreml_placement import placement

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "tell what can be exported and run here, and why not"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--bundle", type=Path, metavar="DIR", help="a bundle for Core ML: tell where its operations would run, on a Mac"
    )
    parser.add_argument("--device", default="auto", help="with --bundle: auto, cpu, gpu or npu")


def run(args: argparse.Namespace) -> int:
    """Diagnose and tell."""
    if args.bundle is not None:
        return _tell_placement(args)
    diagnosis = diagnose()
    if args.json:
        print_json(diagnosis.to_dict())
        return 0
    facts = {**diagnosis.machine, "store": diagnosis.store, "fingerprint": diagnosis.fingerprint}
    for name, value in facts.items():
        print(f"{name:11} {value}")
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


def _tell_placement(args: argparse.Namespace) -> int:
    """Operations by stage and place, as Core ML plans them."""
    found = placement(open_bundle(args.bundle, trusted_key=trusted_key_of_environment()), args.device)
    if args.json:
        print_json(found)
    else:
        rows = [(stage, *(str(places.get(place, 0)) for place in DEVICES)) for stage, places in found.items()]
        print_table(("stage", *DEVICES), rows, title="operations that Core ML plans for each place")
    return 0
