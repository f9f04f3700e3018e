"""List the models there are: sizes, licences, where the weights come from, and whether they are here.

edgedepth models
edgedepth models --verbose
"""

from __future__ import annotations

import argparse

from edgedepth.cli.console import print_json, print_table
from edgedepth.models.listing import ModelListing, list_models

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "list the models there are"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""


def run(args: argparse.Namespace) -> int:
    """List and tell."""
    listings = list_models()
    if args.json:
        print_json({"models": [listing.to_dict() for listing in listings]})
        return 0
    rows = [
        (listing.name, f"{listing.parameters / 1e6:,.1f} M", _size(listing), listing.state, listing.licence)
        for listing in listings
    ]
    print_table(("model", "parameters", "input", "weights", "licence of the weights"), rows)
    for listing in listings:
        print(f"{listing.name}: {listing.note}. Weights: {listing.source}.")
        for data_set, figures in listing.figures.items() if args.verbose else ():
            told = ", ".join(f"{metric} {value:.4f}" for metric, value in figures.items())
            print(f"{listing.name}: its head says of itself, on {data_set}: {told}")
    return 0


def _size(listing: ModelListing) -> str:
    height, width = listing.input_size, listing.input_width
    return f"{height}²" if height == width else f"{height}×{width}"
