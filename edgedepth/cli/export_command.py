"""Export a model for a target: writes a bundle, a folder with one artefact a stage and a manifest.

edgedepth export --model depth-pro-mini --target onnx
edgedepth export --target onnx --fp16 --weights depth_pro.pt --out depth-pro-fp16
edgedepth export --target openvino --bf16
edgedepth export --target tensorrt --fp16
edgedepth export --target coreml --compute-layout ane
edgedepth export --target onnx --int8 --calib SET --budget absrel=0.01
edgedepth export --target tensorrt --fp8 --calib SET
edgedepth export --target onnx --dynamic-batch --serve triton --out repository
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from edgedepth.cli.arguments import add_engine_options, add_weights, engine_options
from edgedepth.cli.console import note, print_json, progress_bar
from edgedepth.cli.fp8_arguments import export_fp8
from edgedepth.cli.inspect_command import bundle_facts, print_bundle
from edgedepth.cli.int8_arguments import add_int8, asks_for_int8, export_int8
from edgedepth.cli.repository_command import print_repository, repository_facts
from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import OptionError
from edgedepth.core.targets import ALIASES, PRECISIONS
from edgedepth.exporters.base import EXPORTERS, ExportOptions
from edgedepth.exporters.coreml_options import DEPLOYMENT_TARGETS, CoreMlOptions
from edgedepth.exporters.trt_engines import proven_here
from edgedepth.exporting import export_bundle
from edgedepth.models.registry import DEFAULT_MODEL
from edgedepth.serving import SERVERS, check_served_target, write_repository

__all__ = ["SUMMARY", "add_arguments", "add_coreml_arguments", "run"]

SUMMARY = "write a bundle for a target"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--model", default=DEFAULT_MODEL, help="a name that `edgedepth models` lists (default: %(default)s)"
    )
    parser.add_argument("--target", default="onnx", help=f"{', '.join(EXPORTERS)} (default: %(default)s)")
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument(
        "--fp32", dest="precision", action="store_const", const="fp32", help="the default, but for coreml"
    )
    precision.add_argument(
        "--fp16",
        dest="precision",
        action="store_const",
        const="fp16",
        help="half the size; LayerNorm, softmax and the last inverse-depth arithmetic stay fp32 (on a CPU OpenVINO "
        "computes all of it in fp32); the default for coreml",
    )
    precision.add_argument(
        "--bf16",
        dest="precision",
        action="store_const",
        const="bf16",
        help="openvino: weights as --fp16, arithmetic in bf16, on processors that have it; the fastest there",
    )
    precision.add_argument(
        "--int8",
        dest="precision",
        action="store_const",
        const="int8",
        help="on a calibration set, see below; coreml: weights of 8 bits, arithmetic as --fp16; without a set all "
        "layers, and nothing is measured",
    )
    precision.add_argument(
        "--fp8",
        dest="precision",
        action="store_const",
        const="fp8",
        help="tensorrt, from SM 89 on: the encoders' linear layers in FP8, the rest as --fp16; with --calib",
    )
    add_weights(parser)
    parser.add_argument(
        "--layout",
        choices=("staged", "single"),
        default="staged",
        help="one graph a stage, or one in all: image in, inverse depth and FOV out (default: %(default)s)",
    )
    parser.add_argument(
        "--tile-batch",
        type=int,
        default=ExportOptions().tile_batch,
        metavar="N",
        help="tiles a call of the patch encoder (default: %(default)s)",
    )
    parser.add_argument("--dynamic-batch", action="store_true", help="let the patch encoder take any number of tiles")
    parser.add_argument(
        "--decoder-windows",
        action="store_true",
        help="also export the decoder in windows, so that infer --reuse decodes only what changed",
    )
    parser.add_argument(
        "--opset", type=int, default=ExportOptions().opset, help="ONNX opset, with --target onnx (default: %(default)s)"
    )
    parser.add_argument(
        "--frame-size",
        type=_frame_size,
        metavar="WxH",
        help="the camera's frames in pixels, for ZoeDepth, whose input follows them (default: 640x480)",
    )
    add_coreml_arguments(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="the bundle's folder (default: in the artefact store)")
    parser.add_argument(
        "--serve",
        choices=SERVERS,
        help="write a server's model repository into --out as well; the bundle, which clients open, goes to the "
        "artefact store (`edgedepth repository` does it for a bundle that is there)",
    )
    add_engine_options(parser)
    add_int8(parser)


def add_coreml_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked of --target coreml alone."""
    group = parser.add_argument_group("with --target coreml")
    unset = CoreMlOptions()
    group.add_argument(
        "--deployment-target",
        default=unset.deployment_target,
        metavar="SYSTEM",
        help=f"the oldest system that shall run it: {', '.join(DEPLOYMENT_TARGETS)}, or the macOS of the same year "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--compute-layout",
        choices=("gpu", "ane"),
        default=unset.compute_layout,
        help="ane: the transformers as the Neural Engine takes them (default: %(default)s)",
    )
    group.add_argument("--image-input", action="store_true", help="inputs called image take pictures, not tensors")
    group.add_argument("--multifunction", action="store_true", help="one package with a function a stage (iOS18)")


def _frame_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})[xX](\d{1,6})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, as 640x480")
    return int(match[1]), int(match[2])


def run(args: argparse.Namespace) -> int:
    """Export and tell what was written."""
    options = _options(args)
    repository = _take_repository(args)
    if args.precision == "fp8":
        bundle = export_fp8(args, options)
    else:
        bundle = export_int8(args, options) if asks_for_int8(args) else _export(args, options)
    if repository is not None:
        write_repository(bundle, args.serve, repository)
    if args.json:
        told = {} if repository is None else repository_facts(bundle, args.serve, repository)
        print_json(bundle_facts(bundle) | told)
        return 0
    print_bundle(bundle)
    if repository is not None:
        print_repository(bundle, args.serve, repository)
    if bundle.manifest.target == "tensorrt":
        note(proven_here(bundle))
    else:
        note(f"next: edgedepth verify {bundle.path} --images DIR")
    return 0


def _take_repository(args: argparse.Namespace) -> Path | None:
    """The repository's folder with --serve: then --out isn't the bundle's, which goes to the artefact store."""
    if args.serve is None:
        return None
    if args.out is None:
        raise OptionError("--serve writes a model repository, and no folder is named", remedy="--out DIR")
    check_served_target(ALIASES.get(args.target, args.target), args.serve, args.model)
    repository: Path = args.out
    args.out = None
    return repository


def _options(args: argparse.Namespace) -> ExportOptions:
    return ExportOptions(
        precision=args.precision or PRECISIONS.get(ALIASES.get(args.target, args.target), ("fp32",))[0],
        layout=args.layout,
        tile_batch=args.tile_batch,
        dynamic_batch=args.dynamic_batch,
        decoder_windows=args.decoder_windows,
        opset=args.opset,
        frame_size=args.frame_size,
        engine=engine_options(args),
        coreml=CoreMlOptions(
            deployment_target=args.deployment_target,
            compute_layout=args.compute_layout,
            image_input=args.image_input,
            multifunction=args.multifunction,
        ),
    )


def _export(args: argparse.Namespace, options: ExportOptions) -> Bundle:
    with progress_bar() as progress:
        return export_bundle(
            args.model,
            args.target,
            options=options,
            weights=args.weights,
            out=args.out,
            progress=progress,
            announce=note,
        )
