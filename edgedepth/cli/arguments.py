"""Arguments that several commands share, so that they read and mean the same everywhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

from edgedepth.core.engine import BuildOptions
from edgedepth.crew import CrewOptions
from edgedepth.facade import EdgeDepth
from edgedepth.trt.options import EngineOptions, parse_sms

__all__ = [
    "add_crew",
    "add_device",
    "add_engine_options",
    "add_runner",
    "add_weights",
    "crew_options",
    "engine_options",
    "open_runner",
    "parse_tile_batch",
    "runner_options",
]


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


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """How TensorRT builds engines."""
    group = parser.add_argument_group("TensorRT")
    group.add_argument("--provider", choices=("auto", "tensorrt", "tensorrt-rtx"), help="who builds (default: auto)")
    group.add_argument(
        "--sm", metavar="LIST", help="tensorrt-rtx, without a GPU: compute capabilities to build for (86,89,120)"
    )
    group.add_argument("--workspace-mb", type=int, metavar="N", help="the most scratch memory that a kernel may want")
    group.add_argument("--optimization-level", type=int, metavar="N", help="0, quick build, to 5, fast engine")
    group.add_argument("--dla", type=int, metavar="CORE", help="run on this DLA core of a Jetson, the rest on its GPU")


def engine_options(args: argparse.Namespace) -> EngineOptions | None:
    """What add_engine_options() was given; None where that was nothing.

    Raises:
        OptionError: a number or list that isn't one.
    """
    if (args.provider, args.sm, args.workspace_mb, args.optimization_level, args.dla) == (None,) * 5:
        return None
    return EngineOptions(
        provider=args.provider or "auto",
        sms=None if args.sm is None else parse_sms(args.sm),
        build=BuildOptions(
            workspace_mb=args.workspace_mb, optimization_level=args.optimization_level, dla_core=args.dla
        ),
    )


def add_runner(parser: argparse.ArgumentParser) -> None:
    """What runs, and where: --bundle or --model, --backend, --precision, --device, --weights, and its memory."""
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--bundle", type=Path, help="the bundle to run (default: the newest that fits, of the store)")
    chosen.add_argument("--model", help="run the newest bundle of this model; with --backend torch, the model itself")
    parser.add_argument(
        "--backend",
        default="auto",
        help="onnx, openvino, trt, coreml, coreai, or torch for the reference itself (default: the bundle's)",
    )
    parser.add_argument("--precision", help="fp32, fp16, bf16, int8 or fp8, to choose among the store's bundles")
    parser.add_argument(
        "--build-if-missing",
        action="store_true",
        help="with --backend trt: build engines that the bundle lacks for this device, and keep them",
    )
    parser.add_argument(
        "--dla",
        type=int,
        metavar="CORE",
        help="with --backend trt: run on this DLA core of a Jetson, the rest on its GPU",
    )
    add_device(parser)
    add_weights(parser, "with --backend torch: ")
    parser.add_argument(
        "--tile-batch",
        type=parse_tile_batch,
        metavar="N",
        help="for bundles exported with --dynamic-batch; auto: the fastest on this device, measured once",
    )
    parser.add_argument(
        "--resident",
        choices=("all", "one"),
        default="all",
        help="one: load the stages in turn; slower, for little memory",
    )


def parse_tile_batch(text: str) -> int | Literal["auto"]:
    """An argument's type.

    Raises:
        argparse.ArgumentTypeError: neither a number nor auto.
    """
    if text == "auto":
        return "auto"
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number of tiles nor auto") from None


def open_runner(args: argparse.Namespace) -> EdgeDepth:
    """Open what add_runner's arguments ask for; it takes RGB frames.

    Raises:
        EdgeDepthError: as EdgeDepth.
    """
    return EdgeDepth(**runner_options(args))


def runner_options(args: argparse.Namespace) -> dict[str, Any]:
    """What add_runner's arguments ask for, as EdgeDepth takes it."""
    return {
        "model": args.bundle if args.bundle is not None else args.model,
        "backend": args.backend,
        "device": args.device,
        "precision": args.precision,
        "weights": args.weights,
        "color": "rgb",
        "tile_batch": args.tile_batch,
        "resident": args.resident,
        "build_if_missing": args.build_if_missing,
        "dla_core": args.dla,
        "timeout_s": getattr(args, "timeout", None),
    }


def add_crew(parser: argparse.ArgumentParser) -> None:
    """--workers, --engine and what belongs to them."""
    group = parser.add_argument_group("workers")
    group.add_argument("--workers", type=int, default=1, metavar="N", help="models that run at once (default: 1)")
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="processes of this machine, or actors of a Ray cluster (default: local)",
    )
    group.add_argument("--address", help="of a Ray cluster: auto, or ray://HOST:10001 (default: one on this machine)")
    group.add_argument(
        "--threads", type=int, metavar="N", help="of each worker's arithmetic (default: the cores, shared out)"
    )
    group.add_argument(
        "--gpus",
        type=float,
        metavar="G",
        help="that each Ray worker reserves; 0.5 for two on a GPU (default: 1 where the cluster has any)",
    )


def crew_options(args: argparse.Namespace) -> CrewOptions:
    """What add_crew() was given.

    Raises:
        OptionError: values that are none, or don't go together.
    """
    return CrewOptions(
        workers=args.workers, engine=args.engine, address=args.address, threads=args.threads, gpus=args.gpus
    )
