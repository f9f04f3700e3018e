"""Export the mini model, verify it, and run a rendered scene and photographs through the bundle, in a minute.

    edgedepth demo --out demo

The mini is a demonstration, trained on procedural scenes alone: what the demo shows is that export, proof and inference
work on this machine, and what their results look like. Its metres are not to be relied on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from edgedepth.cli.console import note, print_json, print_table, progress_bar
from edgedepth.cli.verify_command import print_report
from edgedepth.core.errors import OutputError
from edgedepth.exporting import export_bundle
from edgedepth.facade import EdgeDepth
from edgedepth.photos import Photo
from edgedepth.report.side_by_side import save_beside_truth, save_overview, save_side_by_side
from edgedepth.result import DepthResult
from edgedepth.sample_photos import sample_photos
from edgedepth.training.scenes import HELD_OUT_SEED, render_scene
from edgedepth.verifying import verify_bundle

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "export, verify and run the mini model on a scene and photographs"

MODEL = "depth-pro-mini"

SCENE_SEED = HELD_OUT_SEED
"""The first of the scenes that no training has seen."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--out", type=Path, default=Path("demo"), metavar="DIR", help="where to write (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """The road: export, verify, infer."""
    photos = sample_photos()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{args.out} can't be made: {error.strerror}", remedy="choose another folder with --out"
        ) from error
    with progress_bar() as progress:
        bundle = export_bundle(MODEL, "onnx", out=args.out / f"{MODEL}-onnx-fp32", progress=progress, announce=note)
        report = verify_bundle(bundle, [photo.pixels_rgb for photo in photos], color="rgb", progress=progress)
    with EdgeDepth(bundle.path, color="rgb", self_test="always") as model:
        rows = _draw(model, photos, args.out)
    if args.json:
        print_json({"bundle": str(bundle.path), "verify": report.to_dict(), "pictures": [row[-1] for row in rows]})
    else:
        print_report(report)
        print_table(("picture", "fov °", "ms", "with its depth, side by side"), rows)
    return 0 if report.passed else 1


def _draw(model: EdgeDepth, photos: list[Photo], out: Path) -> list[tuple[str, str, str, str]]:
    """Run a scene that has true depth, and the photographs; a table's row for each."""
    scene = render_scene(SCENE_SEED)
    seen = model.infer(scene.image)
    true_m = np.where(np.isfinite(scene.depth_m), scene.depth_m, np.float32(0))
    save_beside_truth(scene.image, true_m, seen, out / "scene.png")
    rows = [_row(f"scene {scene.seed}", seen, out / "scene.png")]
    pictures = [(scene.image, seen)]
    for photo in photos:
        result = model.infer(photo.pixels_rgb, focal_px=photo.focal_px)
        save_side_by_side(photo.pixels_rgb, result, out / f"{photo.path.stem}.png")
        result.save_png16(out / f"{photo.path.stem}_depth.png")
        rows.append(_row(photo.path.name, result, out / f"{photo.path.stem}.png"))
        pictures.append((photo.pixels_rgb, result))
    save_overview(pictures[:2], out / "overview.jpg")
    return rows


def _row(name: str, result: DepthResult, picture: Path) -> tuple[str, str, str, str]:
    return name, f"{result.fov_deg:.1f}", f"{sum(result.timings_ms.values()):.0f}", str(picture)
