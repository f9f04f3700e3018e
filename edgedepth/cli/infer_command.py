"""Metric depth of pictures, or of a video, a camera or a URL, by a bundle.

    edgedepth infer photo.jpg --bundle BUNDLE --out depth
    edgedepth infer folder --backend onnx --focal-px 1450
    edgedepth infer photo.jpg --bundle RSA_BUNDLE --caption "An office with two desks and a chair"
    edgedepth infer video.mp4 --out depth.mkv --reuse 0.01

Writes NAME_depth.png (16 bit, millimetres) and NAME_color.png for each picture. The focal length is --focal-px, else
the picture's own EXIF, else the model's prediction; the table tells which. Of a video it writes OUT.mkv (FFV1, 16 bit,
millimetres) or a folder of PNGs, and OUT_color.mp4; run again after an interruption, it goes on where it was.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth.cli.arguments import add_runner, open_runner
from edgedepth.cli.console import error_facts, note, print_error, print_json, print_table
from edgedepth.cli.infer_stream import add_stream_arguments, refuse_stream_arguments, run_stream, stream_source
from edgedepth.core.errors import EdgeDepthError, OptionError, OutputError
from edgedepth.facade import EdgeDepth
from edgedepth.photos import Photo, list_photos, read_photo
from edgedepth.programs.guidance import guidance_of, parse_detections
from edgedepth.result import PNG16_MAX_M, DepthResult

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "metric depth of pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="pictures, or folders of pictures; or one video, camera index or URL",
    )
    add_runner(parser)
    parser.add_argument(
        "--focal-px", type=float, metavar="F", help="the camera's focal length in pixels; wins over EXIF"
    )
    words = parser.add_mutually_exclusive_group()
    words.add_argument(
        "--caption",
        action="append",
        metavar="TEXT",
        help="for RSA models: what the pictures show, which tells their scale; given several times, the median counts",
    )
    words.add_argument(
        "--detections", metavar="LIST", help='for RSA models: what a detector found: "chair=2,desk" (a count of 1)'
    )
    words.add_argument(
        "--scale-shift", metavar="A,B", help="for models of relative depth: depth = 1 / (A * relative + B)"
    )
    words.add_argument(
        "--relative", action="store_true", help="for RSA models: relative depth, without a scale; writes no millimetres"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("depth"), metavar="DIR", help="where to write (default: %(default)s)"
    )
    add_stream_arguments(parser)
    parser.add_argument("--npy", action="store_true", help="also write NAME_depth.npy: float32 metres, not rounded")


def run(args: argparse.Namespace) -> int:
    """Run every picture; a bad one is told and the others go on."""
    guidance = _guidance(args)
    if (source := stream_source(args)) is not None:
        return run_stream(args, source, guidance)
    refuse_stream_arguments(args)
    paths = list_photos(args.images)
    names = _unique_names(paths)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{args.out} can't be made: {error.strerror}", remedy="choose another folder with --out"
        ) from error
    done: list[dict[str, Any]] = []
    worst = 0
    with open_runner(args) as model:
        for path, name in zip(paths, names, strict=True):
            try:
                done.append(_run_one(model, path, args.out / name, args, guidance))
            except EdgeDepthError as error:
                note(f"{path}:")
                print_error(error, as_json=False)
                done.append({"image": str(path), "error": error_facts(error)})
                worst = max(worst, error.exit_code)
    if args.json:
        print_json({"images": done})
    else:
        _print(done)
    return worst


def _guidance(args: argparse.Namespace) -> dict[str, Any]:
    """What infer() shall be told of the pictures' scale; refuses what can't be, before a model is opened."""
    given: dict[str, Any] = {"caption": args.caption}
    if args.detections is not None:
        given["detections"] = parse_detections(args.detections)
    if args.scale_shift is not None:
        try:
            given["scale_shift"] = tuple(map(float, args.scale_shift.split(",")))
        except ValueError:
            raise OptionError(
                f"--scale-shift {args.scale_shift!r} is not two numbers", remedy="--scale-shift 0.02,0.1"
            ) from None
    if args.relative:
        given["kind"] = "relative_inverse"
    guidance_of(**given)
    return given


def _run_one(
    model: EdgeDepth, path: Path, out: Path, args: argparse.Namespace, guidance: dict[str, Any]
) -> dict[str, Any]:
    """Read a picture, run it, write its files; `out` is what their names begin with."""
    photo = read_photo(path)
    result, source = _infer(model, photo, args.focal_px, guidance)
    note(f"{path}: {_told(result, source)}")
    metric = result.kind == "metric"
    beyond = float(np.mean(result.depth > PNG16_MAX_M)) if metric else 0.0
    if beyond > 0 and not args.npy:
        note(f"{path}: {beyond:.1%} of it lie beyond {PNG16_MAX_M} m, where a 16-bit PNG ends; --npy keeps them")
    files = _save(result, out, npy=args.npy)
    facts = {"image": str(path), **result.summary(), "focal_source": source}
    return {**facts, "beyond_png16": beyond, "files": files}


def _infer(model: EdgeDepth, photo: Photo, focal_px: float | None, guidance: dict[str, Any]) -> tuple[DepthResult, str]:
    """The depth, and in words where its focal length came from."""
    if focal_px is not None:
        return model.infer(photo.pixels_rgb, focal_px=focal_px, **guidance), "given by --focal-px"
    result = model.infer(photo.pixels_rgb, focal_px=photo.focal_px, **guidance)
    if photo.focal_px is not None:
        return result, photo.focal_source
    if math.isnan(result.focal_px):
        return result, f"not known ({photo.focal_source}), and not needed for this model's depth"
    return result, f"predicted by the model ({photo.focal_source})"


def _told(result: DepthResult, source: str) -> str:
    """What the metres rest on, in one line."""
    focal = f"{result.focal_px:.0f} px, " if not math.isnan(result.focal_px) else ""
    told = f"focal length {focal}{source}"
    scale_shift = result.scale_shift
    if scale_shift is None:
        return told
    told += f"; scale {scale_shift.scale:.4g}, shift {scale_shift.shift:.4g}"
    if len(scale_shift.captions) > 1 and scale_shift.scale_range and scale_shift.shift_range:
        spread = (scale_shift.scale_range, scale_shift.shift_range)
        ranges = " and ".join(f"{low:.4g} to {high:.4g}" for low, high in spread)
        told += f" (medians of {len(scale_shift.captions)} captions, which give {ranges})"
    if scale_shift.clamped:
        told += f"; {scale_shift.clamped} pixels were clamped to the model's limits"
    return told


def _save(result: DepthResult, out: Path, *, npy: bool) -> dict[str, str]:
    files = {"color": result.save_color(f"{out}_color.png")}
    if result.kind == "metric":
        files["depth_png16_mm"] = result.save_png16(f"{out}_depth.png")
    if npy:
        files["depth_npy_m" if result.kind == "metric" else "depth_npy_no_unit"] = result.save_npy(f"{out}_depth.npy")
    return {kind: str(path) for kind, path in files.items()}


def _print(done: list[dict[str, Any]]) -> None:
    rows = [
        (
            entry["image"],
            "-" if entry["focal_px"] is None else f"{entry['focal_px']:.0f}",
            "-" if entry["fov_deg"] is None else f"{entry['fov_deg']:.1f}",
            _range(entry),
            f"{sum(entry['timings_ms'].values()):.0f}",
            entry["files"]["color"],
        )
        for entry in done
        if "error" not in entry
    ]
    if rows:
        untrained = any(not entry.get("trained", True) for entry in done)
        title = "UNTRAINED weights: these depths mean nothing" if untrained else ""
        columns = ("picture", "focal px", "fov °", "depth m: min / median / max", "ms", "picture of the depth")
        print_table(columns, rows, title=title)


def _range(entry: dict[str, Any]) -> str:
    depths = [entry["depth_m"][name] for name in ("min", "median", "max")]
    if entry["kind"] != "metric":
        return "relative"
    return " / ".join("-" if depth is None else f"{depth:.2f}" for depth in depths)


def _unique_names(paths: list[Path]) -> list[str]:
    """Names for the outputs: the stem, or the whole name where two pictures share a stem."""
    stems = Counter(path.stem for path in paths)
    names = [path.stem if stems[path.stem] == 1 else path.name for path in paths]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise OptionError(
            f"two pictures are called {twice[0]!r}; their results would overwrite each other",
            remedy="run them one by one, with another --out for each",
        )
    return names
