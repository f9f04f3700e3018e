"""Metric depth of pictures, or of a video, a camera or a URL, by a bundle.

    edgedepth infer photo.jpg --bundle BUNDLE --out depth
    edgedepth infer folder --backend onnx --focal-px 1450
    edgedepth infer photo.jpg --bundle RSA_BUNDLE --caption "An office with two desks and a chair"
    edgedepth infer photo.jpg --camera camera.yaml --undistort --points ply
    edgedepth infer video.mp4 --out depth.mkv --reuse 0.01

Writes NAME_depth.png (16 bit, millimetres) and NAME_color.png for each picture. The focal length is --focal-px or
--camera's, else the picture's own EXIF, else the model's prediction; the table tells which. Of a video it writes
OUT.mkv (FFV1, 16 bit, millimetres) or a folder of PNGs, and OUT_color.mp4; run again after an interruption, it goes on
where it was. A camera goes on until Ctrl-C, and is written then.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.cameras.points import Hole
from edgedepth.cameras.undistort import Undistorter
from edgedepth.cli.arguments import add_runner, open_runner
from edgedepth.cli.camera_arguments import add_camera_arguments, camera_of
from edgedepth.cli.console import error_facts, note, print_error, print_json, print_table
from edgedepth.cli.infer_stream import add_stream_arguments, refuse_stream_arguments, run_stream, stream_source
from edgedepth.core.errors import EdgeDepthError, OptionError, OutputError
from edgedepth.facade import EdgeDepth
from edgedepth.photos import Photo, list_photos, read_photo
from edgedepth.programs.guidance import guidance_of, parse_detections
from edgedepth.result import PNG16_MAX_M, DepthResult, write_picture

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
    add_camera_arguments(parser)
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
    parser.add_argument("--timeout", type=float, metavar="S", help="seconds after which a hung backend is an error")
    add_stream_arguments(parser)
    parser.add_argument(
        "--points",
        choices=("ply", "npz"),
        help="also write NAME_points: coloured points in metres (npz: in the picture's order, with the holes' reasons)",
    )
    parser.add_argument("--npy", action="store_true", help="also write NAME_depth.npy: float32 metres, not rounded")


def run(args: argparse.Namespace) -> int:
    """Run every picture; a bad one is told and the others go on."""
    guidance = _guidance(args)
    if (source := stream_source(args)) is not None:
        return run_stream(args, source, guidance)
    refuse_stream_arguments(args)
    if args.points and args.relative:
        raise OptionError("--points are in metres, and --relative gives none", remedy="leave one of them out")
    asked = {**guidance, "focal_px": args.focal_px, "camera": camera_of(args), "undistort": args.undistort}
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
                done.append(_run_one(model, path, args.out / name, args, asked=asked))
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
    model: EdgeDepth, path: Path, out: Path, args: argparse.Namespace, *, asked: dict[str, Any]
) -> dict[str, Any]:
    """Read a picture, run it as it is `asked`, write its files; `out` is what their names begin with."""
    photo = read_photo(path)
    rgb, camera = photo.pixels_rgb, asked["camera"]
    result, source = _infer(model, photo, asked)
    note(f"{path}: {_told(result, source)}")
    metric = result.kind == "metric"
    beyond = float(np.mean(result.depth > PNG16_MAX_M)) if metric else 0.0
    if beyond > 0 and not args.npy:
        note(f"{path}: {beyond:.1%} of it lie beyond {PNG16_MAX_M} m, where a 16-bit PNG ends; --npy keeps them")
    files = _save(result, out, args)
    facts = {"image": str(path), **result.summary(), "focal_source": source, "beyond_png16": beyond}
    if camera is not None and args.undistort:
        rgb = Undistorter(camera.for_frame(rgb.shape[1], rgb.shape[0]))(rgb)
        files["undistorted"] = str(write_picture(f"{out}_undistorted.png", np.ascontiguousarray(rgb[..., ::-1])))
    if args.points:
        cloud = result.point_cloud(rgb, near_m=args.near_m or 0.0, far_m=args.far_m or math.inf)
        files["points"] = str(cloud.save(f"{out}_points.{args.points}"))
        facts |= {"points": int(np.count_nonzero(cloud.holes == Hole.NONE)), "holes": cloud.hole_counts()}
    return {**facts, "files": files}


def _infer(model: EdgeDepth, photo: Photo, asked: dict[str, Any]) -> tuple[DepthResult, str]:
    """The depth, and in words where its focal length came from."""
    if asked["focal_px"] is not None:
        return model.infer(photo.pixels_rgb, **asked), "given by --focal-px"
    if (camera := asked["camera"]) is not None:
        words = _camera_words(camera, photo.pixels_rgb.shape[:2], undistorted=asked["undistort"])
        return model.infer(photo.pixels_rgb, **asked), words
    result = model.infer(photo.pixels_rgb, **{**asked, "focal_px": photo.focal_px})
    if photo.focal_px is not None:
        return result, photo.focal_source
    if math.isnan(result.focal_px):
        return result, f"not known ({photo.focal_source}), and not needed for this model's depth"
    return result, f"predicted by the model ({photo.focal_source})"


def _camera_words(camera: Intrinsics, size: tuple[int, int], *, undistorted: bool) -> str:
    """Where the focal length came from, and what was done to the picture."""
    words = f"by --camera {camera.source}"
    if size != (camera.height, camera.width):
        words += f", scaled from {camera.width} x {camera.height}"
    if undistorted:
        return f"{words}, undistorted"
    return f"{words}; its distortion is left in (--undistort takes it out)" if camera.distorts else words


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


def _save(result: DepthResult, out: Path, args: argparse.Namespace) -> dict[str, str]:
    files = {"color": result.save_color(f"{out}_color.png", args.near_m, args.far_m)}
    if result.kind == "metric":
        files["depth_png16_mm"] = result.save_png16(f"{out}_depth.png")
    if args.npy:
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
