"""edgedepth infer on a video, a camera or a URL: depth frame by frame, gone on with where it was cut off.

Frames are kept in a folder as 16-bit PNG while they come; OUT.mkv is made of them at the end, and they are removed.
"""

from __future__ import annotations

import argparse
import math
import shutil
import statistics
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgedepth.camera_files import read_intrinsics
from edgedepth.cli.arguments import open_runner
from edgedepth.cli.console import note, print_json, progress_bar
from edgedepth.coloring import color_range, colorize
from edgedepth.core.errors import OptionError
from edgedepth.facade import EdgeDepth
from edgedepth.result import PNG16_MAX_M
from edgedepth.streams.frame_folder import FrameFolder, FrameRecord
from edgedepth.streams.sources import is_live, is_stream, open_frames
from edgedepth.streams.writers import DepthVideoWriter, open_color_video

__all__ = ["add_stream_arguments", "refuse_stream_arguments", "run_stream", "stream_source"]

_CHECKED = 8
"""Frames that --reuse is compared with fresh runs on."""


def add_stream_arguments(parser: argparse.ArgumentParser) -> None:
    """What is about a video and not about pictures."""
    group = parser.add_argument_group("videos and cameras")
    group.add_argument(
        "--reuse",
        type=float,
        metavar="CHANGE",
        help="don't encode tiles again that changed by less (0..1 of the picture's range; 0: by nothing at all)",
    )
    group.add_argument("--camera", type=Path, metavar="FILE", help="intrinsics: JSON, ROS CameraInfo, OpenCV, or EXIF")
    group.add_argument("--undistort", action="store_true", help="take --camera's distortion out of the frames first")
    group.add_argument("--frames", type=int, metavar="N", help="stop after so many (cameras go on for ever)")
    group.add_argument("--timeout", type=float, metavar="S", help="seconds after which a hung backend is an error")


def stream_source(args: argparse.Namespace) -> str | None:
    """The video, camera or URL that is meant; None for pictures.

    Raises:
        OptionError: several at once, or together with pictures.
    """
    words = [str(word) for word in args.images]
    streams = [word for word in words if is_stream(word) and not (word.isdigit() and Path(word).exists())]
    if streams and len(words) > 1:
        raise OptionError(f"{streams[0]} is a video or camera, and comes alone", remedy="run them one by one")
    return streams[0] if streams else None


def refuse_stream_arguments(args: argparse.Namespace) -> None:
    """Refuse, with pictures, what would have no effect.

    Raises:
        OptionError: naming it.
    """
    for name in ("reuse", "camera", "undistort", "frames", "timeout"):
        if getattr(args, name) not in (None, False):
            raise OptionError(f"--{name} is for videos and cameras, and these are pictures", remedy="leave it out")


def run_stream(args: argparse.Namespace, source: str, guidance: dict[str, Any]) -> int:
    """Run a stream, write it, and say what it cost."""
    if args.npy or "kind" in guidance or "detections" in guidance:
        raise OptionError("--npy, --relative and --detections are for pictures", remedy="leave them out")
    if args.frames is not None and args.frames < 1:
        raise OptionError(f"--frames is {args.frames}; allowed are numbers from 1 on", remedy="leave it out")
    video = args.out if args.out.suffix.lower() == ".mkv" else None
    if video is None and args.out.suffix:
        raise OptionError(f"--out {args.out} is neither a .mkv nor a folder", remedy="--out depth.mkv")
    live = is_live(source)
    # A video that is none is refused before a model is opened; a camera bears only one opener.
    opened = None if live else open_frames(source, color="rgb", reconnect_s=0.0, skip=0)
    fps, count = (opened.fps or 30.0, opened.count) if opened else (30.0, None)
    camera = read_intrinsics(args.camera) if args.camera else None
    with open_runner(args) as model:
        about = {
            "source": source,
            "source_bytes": Path(source).stat().st_size if Path(source).is_file() else None,
            "model": model.spec.weights_sha256,
            "backend": model.backend,
            "reuse": args.reuse,
            "focal_px": args.focal_px,
            "camera": str(args.camera),
            "undistort": args.undistort,
        }
        folder = FrameFolder(Path(f"{video}.frames") if video else args.out, about)
        options = {**guidance, "camera": camera, "undistort": args.undistort}
        restarts = _infer_all(args, model, source, folder, options, live=live, count=count)
        facts = _facts(folder.records) | {"restarts": restarts}
        if args.reuse is not None and not live and folder.records:
            facts["against_fresh"] = _against_fresh(model, source, folder, options)
    facts["files"] = _write(folder, video, fps)
    if args.json:
        print_json(facts)
    else:
        _print(facts)
    return 0


def _infer_all(
    args: argparse.Namespace,
    model: EdgeDepth,
    source: str,
    folder: FrameFolder,
    options: dict[str, Any],
    *,
    live: bool,
    count: int | None,
) -> int:
    """Run the frames that aren't there yet. Returns how often the backend was opened anew."""
    done = len(folder.records)
    if done and live:
        raise OptionError(f"{folder.path} holds frames of an earlier run, and a camera can't be gone on with",
                          remedy=f"rm -r {folder.path}, or choose another --out")  # fmt: skip
    wanted = min(value for value in (count, args.frames, 10**9) if value is not None)
    if done:
        note(f"going on after {done} frames that {folder.path} holds")
    if done >= wanted:
        return 0
    if args.focal_px is not None:
        options = {**options, "focal_px": args.focal_px}
    elif options["camera"] is None and done and folder.records[-1].focal_px is not None:
        options = {**options, "focal_px": folder.records[-1].focal_px}  # the median that the run was fixed to
    with (
        model.stream(source, reuse=args.reuse, skip=done, **options) as results,
        progress_bar(every=max(1, wanted // 20) if wanted < 10**9 else 30) as progress,
    ):
        for number, result in enumerate(results, start=done + 1):
            folder.add(result)
            progress(f"frame {number}", number, wanted if wanted < 10**9 else number)
            if number >= wanted:
                break
        return results.stats.restarts


def _facts(records: list[FrameRecord]) -> dict[str, Any]:
    return {
        "frames": len(records),
        "tiles": sum(record.tiles for record in records),
        "tiles_of": sum(record.of for record in records),
        "network_ms": statistics.fmean(record.network_ms for record in records) if records else None,
    }


def _against_fresh(model: EdgeDepth, source: str, folder: FrameFolder, options: dict[str, Any]) -> dict[str, float]:
    """The error and the cost of some frames against runs that keep nothing.

    A frame's error is AbsRel in inverse depth's own clamp: as written, in whole millimetres, where the PNG reaches.
    """
    step = max(1, len(folder.records) // _CHECKED)
    checked = {record.index: record for record in folder.records[step - 1 :: step]}
    errors, fresh_ms = [], []
    for frame in open_frames(source, color="rgb", reconnect_s=0.0, skip=0).frames():
        record = checked.get(frame.index)
        if record is None:
            continue
        fresh = model.infer(frame.image, **options, focal_px=None if options["camera"] else record.focal_px)
        kept = folder.millimetres(record).astype(np.float64) / 1e3
        seen = (kept > 0) & (kept < PNG16_MAX_M) & (fresh.depth < PNG16_MAX_M)
        if seen.any():
            errors.append(float(np.mean(np.abs(kept[seen] - fresh.depth[seen]) / fresh.depth[seen])))
        fresh_ms.append(sum(fresh.timings_ms.values()))
        if len(fresh_ms) == len(checked):
            break
    mean_ms = statistics.fmean(record.network_ms for record in folder.records)
    return {
        "frames": len(fresh_ms),
        "abs_rel": statistics.fmean(errors) if errors else math.nan,
        "abs_rel_worst": max(errors, default=math.nan),
        "fresh_ms": statistics.median(fresh_ms),
        "speed_up": statistics.median(fresh_ms) / mean_ms,
    }


def _write(folder: FrameFolder, video: Path | None, fps: float) -> list[str]:
    """Make the videos of the frames; the colours have one range for all."""
    if not folder.records:
        raise OptionError("the source gave no frame", remedy="check that it plays")
    first = folder.millimetres(folder.records[0])
    sampled = [folder.millimetres(record) for record in folder.records[:: max(1, len(folder.records) // 16)]]
    near_m, far_m = color_range(np.concatenate(sampled).astype(np.float32) / 1e3)
    color_path = (video or folder.path / "depth.mkv").with_name(f"{video.stem if video else 'depth'}_color.mp4")
    color = open_color_video(color_path, size=first.shape, fps=fps)
    depth = DepthVideoWriter(video, size=first.shape, fps=fps) if video else None
    try:
        for record in folder.records:
            millimetres = folder.millimetres(record)
            if depth is not None:
                depth.write(millimetres)
            if millimetres.shape != first.shape:
                millimetres = cv2.resize(millimetres, first.shape[::-1], interpolation=cv2.INTER_NEAREST)  # type: ignore[assignment]
            color.write(colorize(millimetres.astype(np.float32) / 1e3, near_m, far_m))
    finally:
        color.release()
        if depth is not None:
            depth.close()
    if video is None:
        return [str(folder.path), str(color_path)]
    shutil.rmtree(folder.path)
    return [str(video), str(color_path)]


def _print(facts: dict[str, Any]) -> None:
    print(f"{facts['frames']} frames, {facts['network_ms']:.0f} ms each")
    if facts["tiles_of"]:
        share = facts["tiles"] / facts["tiles_of"]
        print(f"encoded tiles: {facts['tiles']} of {facts['tiles_of']} ({share:.1%})")
    if (fresh := facts.get("against_fresh")) is not None:
        print(f"speed-up: {fresh['speed_up']:.2f}x of fresh runs' {fresh['fresh_ms']:.0f} ms")
        print(
            f"error: AbsRel {fresh['abs_rel']:.3%}, at worst {fresh['abs_rel_worst']:.3%}, against fresh runs of "
            f"{fresh['frames']} frames"
        )
    for path in facts["files"]:
        print(path)
