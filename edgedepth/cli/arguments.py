"""Arguments that several commands share, so that they read and mean the same everywhere."""

from __future__ import annotations

import argparse

__all__ = ["add_device", "add_weights"]


def add_weights(parser: argparse.ArgumentParser, when: str = "") -> None:
    """--weights; `when` says for which other options it is meant."""
    parser.add_argument(
        "--weights",
        metavar="PATH",
        help=f"{when}checkpoint: depth_pro.pt, or safetensors of apple/DepthPro-hf; random:SEED for an untrained "
        "dry run (default: the cache, else a download)",
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """--device."""
    parser.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1; a device asked for by name is never swapped"
    )
