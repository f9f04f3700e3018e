"""The arguments of `export --int8`, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import OptionError
from edgedepth.core.targets import ALIASES
from edgedepth.exporters.base import ExportOptions

__all__ = ["add_int8", "asks_for_int8", "export_int8"]

_NAMES = {
    "calib": "--calib",
    "budget": "--budget",
    "int8_method": "--int8-method",
    "smooth": "--smooth",
    "int8_decoder": "--int8-decoder",
    "int8_weights_only": "--int8-weights-only",
    "int8_activations": "--int8-activations",
}


def add_int8(parser: argparse.ArgumentParser) -> None:
    """Everything that goes with --int8."""
    group = parser.add_argument_group("with --int8")
    group.add_argument(
        "--calib", type=Path, metavar="SET", help="the calibration set, as `edgedepth calibrate` makes it; needed"
    )
    group.add_argument(
        "--budget",
        metavar="LIMITS",
        help="what may be lost against fp32 on the frames that are held back, "
        "absrel=0.01,delta1=0.99,boundary_f1=0.95,fov_deg=0.5 or some of it: the fewest blocks stay in high precision "
        "that meet it, or the export fails and shows what can be had",
    )
    group.add_argument(
        "--int8-method",
        choices=("minmax", "mean", "entropy", "percentile"),
        help="how an activation's range is found, with --target onnx and tensorrt (default: minmax)",
    )
    group.add_argument(
        "--smooth",
        type=float,
        metavar="ALPHA",
        help="SmoothQuant: move outliers of activations into the weights, 0 to 1, 0.5 as a start (default: leave them)",
    )
    group.add_argument(
        "--int8-decoder",
        action="store_true",
        default=None,
        help="quantise the decoder's convolutions too (default: the linear layers of the three encoders)",
    )
    group.add_argument(
        "--int8-weights-only",
        action="store_true",
        default=None,
        help="with --target openvino: weights in INT8, arithmetic as before: smaller, not faster",
    )
    group.add_argument(
        "--int8-activations",
        action="store_true",
        default=None,
        help="with --target coreml: what goes into the linear layers in INT8 too (default: weights alone)",
    )


def asks_for_int8(args: argparse.Namespace) -> bool:
    """Whether it is an INT8 export.

    Raises:
        OptionError: arguments that go with --int8 without it, or --int8 without a calibration set.
    """
    given = [flag for name, flag in _NAMES.items() if getattr(args, name) is not None]
    if args.precision != "int8":
        if given:
            raise OptionError(f"{given[0]} goes with --int8", remedy=f"add --int8, or leave {given[0]} out")
        return False
    if args.calib is None and not given and ALIASES.get(args.target, args.target) == "coreml":
        return False  # weights alone need no frames; without them nothing is measured
    if args.calib is None:
        raise OptionError(
            "--int8 is made and measured on a calibration set, and none was named",
            remedy="edgedepth calibrate SOURCE --out SET, then --calib SET",
        )
    return True


def export_int8(args: argparse.Namespace, options: ExportOptions) -> Bundle:
    """The bundle that the arguments ask for; `options` are those of every export."""
    from edgedepth.calibration.budget import parse_budget
    from edgedepth.cli.console import note, progress_bar
    from edgedepth.quantizing.exporting import export_int8_bundle
    from edgedepth.quantizing.options import Int8Options

    int8 = Int8Options(
        calib=args.calib,
        budget=parse_budget(args.budget) if args.budget is not None else None,
        method=args.int8_method or "minmax",
        smooth=args.smooth,
        decoder=bool(args.int8_decoder),
        weights_only=bool(args.int8_weights_only),
        activations=bool(args.int8_activations),
    )
    with progress_bar() as progress:
        return export_int8_bundle(
            args.model,
            args.target,
            int8=int8,
            options=options,
            weights=args.weights,
            out=args.out,
            progress=progress,
            announce=note,
        )
