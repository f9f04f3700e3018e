"""Arguments that several commands share, so that they read and mean the same everywhere."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.facade import EdgeDepth

__all__ = ["add_device", "add_runner", "add_weights", "open_runner"]


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
        "--device",
        default="auto",
        help="auto, cpu, cuda, cuda:1, gpu, npu; a device asked for by name is never swapped",
    )


def add_runner(parser: argparse.ArgumentParser) -> None:
    """What runs, and where: --bundle or --model, --backend, --precision, --device, --weights, and its memory."""
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--bundle", type=Path, help="the bundle to run (default: the newest that fits, of the store)")
    chosen.add_argument("--model", help="run the newest bundle of this model; with --backend torch, the model itself")
    parser.add_argument(
        "--backend", default="auto", help="onnx, openvino, or torch for the reference itself (default: the bundle's)"
    )
    parser.add_argument("--precision", help="fp32, fp16, bf16 or int8, to choose among the store's bundles")
    add_device(parser)
    add_weights(parser, "with --backend torch: ")
    parser.add_argument("--tile-batch", type=int, metavar="N", help="for bundles exported with --dynamic-batch")
    parser.add_argument(
        "--resident",
        choices=("all", "one"),
        default="all",
        help="one: load the stages in turn; slower, for little memory",
    )


def open_runner(args: argparse.Namespace) -> EdgeDepth:
    """Open what add_runner's arguments ask for; it takes RGB frames.

    Raises:
        EdgeDepthError: as EdgeDepth.
    """
    return EdgeDepth(
        args.bundle if args.bundle is not None else args.model,
        backend=args.backend,
        device=args.device,
        precision=args.precision,
        weights=args.weights,
        color="rgb",
        tile_batch=args.tile_batch,
        resident=args.resident,
    )
