"""Metric depth of pictures, by a bundle.

    edgedepth infer photo.jpg --bundle BUNDLE --out depth
    edgedepth infer folder --backend onnx --focal-px 1450

Writes NAME_depth.png (16 bit, millimetres) and NAME_color.png for each picture. The focal length is --focal-px, else
the picture's own EXIF, else the model's prediction; the table tells which.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth.cli.arguments import add_runner, open_runner
from edgedepth.cli.console import error_facts, note, print_error, print_json, print_table
from edgedepth.core.errors import EdgeDepthError, OptionError, OutputError
from edgedepth.facade import EdgeDepth
from edgedepth.photos import Photo, list_photos, read_photo
from edgedepth.result import PNG16_MAX_M, DepthResult

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "metric depth of pictures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="pictures, or folders of pictures")
    add_runner(parser)
    parser.add_argument(
        "--focal-px", type=float, metavar="F", help="the camera's focal length in pixels; wins over EXIF"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("depth"), metavar="DIR", help="where to write (default: %(default)s)"
    )
    parser.add_argument("--npy", action="store_true", help="also write NAME_depth.npy: float32 metres, not rounded")


def run(args: argparse.Namespace) -> int:
    """Run every picture; a bad one is told and the others go on."""
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
                done.append(_run_one(model, path, args.out / name, args))
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


def _run_one(model: EdgeDepth, path: Path, out: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Read a picture, run it, write its files; `out` is what their names begin with."""
    photo = read_photo(path)
    result, source = _infer(model, photo, args.focal_px)
    note(f"{path}: focal length {result.focal_px:.0f} px, {source}")
    beyond = float(np.mean(result.depth > PNG16_MAX_M))
    if beyond > 0 and not args.npy:
        note(f"{path}: {beyond:.1%} of it lie beyond {PNG16_MAX_M} m, where a 16-bit PNG ends; --npy keeps them")
    files = _save(result, out, npy=args.npy)
    facts = {"image": str(path), **result.summary(), "focal_source": source}
    return {**facts, "beyond_png16": beyond, "files": files}


def _infer(model: EdgeDepth, photo: Photo, focal_px: float | None) -> tuple[DepthResult, str]:
    """The depth, and in words where its focal length came from."""
    if focal_px is not None:
        return model.infer(photo.pixels_rgb, focal_px=focal_px), "given by --focal-px"
    result = model.infer(photo.pixels_rgb, focal_px=photo.focal_px)
    if photo.focal_px is not None:
        return result, photo.focal_source
    return result, f"predicted by the model ({photo.focal_source})"


def _save(result: DepthResult, out: Path, *, npy: bool) -> dict[str, str]:
    files = {
        "depth_png16_mm": result.save_png16(f"{out}_depth.png"),
        "color": result.save_color(f"{out}_color.png"),
    }
    if npy:
        files["depth_npy_m"] = result.save_npy(f"{out}_depth.npy")
    return {kind: str(path) for kind, path in files.items()}


def _print(done: list[dict[str, Any]]) -> None:
    rows = [
        (
            entry["image"],
            f"{entry['focal_px']:.0f}",
            f"{entry['fov_deg']:.1f}",
            " / ".join(f"{entry['depth_m'][name]:.2f}" for name in ("min", "median", "max")),
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
