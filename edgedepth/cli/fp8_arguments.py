"""What `export --fp8` takes and refuses."""

from __future__ import annotations

import argparse

from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import OptionError
from edgedepth.core.targets import ALIASES
from edgedepth.exporters.base import ExportOptions

__all__ = ["export_fp8"]

_OF_INT8 = ("budget", "int8_method", "smooth", "int8_decoder", "int8_weights_only")


def export_fp8(args: argparse.Namespace, options: ExportOptions) -> Bundle:
    """The FP8 bundle that the arguments ask for; `options` are those of every export.

    Raises:
        OptionError: another target, no calibration set, or arguments of --int8.
    """
    from edgedepth.cli.console import note, progress_bar
    from edgedepth.quantizing.fp8 import export_fp8_bundle

    if ALIASES.get(args.target, args.target) != "tensorrt":
        raise OptionError(
            f"--fp8 is for TensorRT, on GPUs from SM 89 on; --target {args.target} was asked for",
            remedy="--target tensorrt, or another precision: edgedepth export --help",
        )
    for name in _OF_INT8:
        if getattr(args, name, None) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise OptionError(f"{flag} goes with --int8", remedy=f"leave {flag} out")
    if args.calib is None:
        raise OptionError(
            "--fp8 is made and measured on a calibration set, and none was named",
            remedy="edgedepth calibrate SOURCE --out SET, then --calib SET",
        )
    with progress_bar() as progress:
        return export_fp8_bundle(
            args.model,
            calib=args.calib,
            options=options,
            weights=args.weights,
            out=args.out,
            progress=progress,
            announce=note,
        )
