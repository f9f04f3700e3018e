"""edgedepth infer on a video, a camera or a URL: depth frame by frame, gone on with where it was cut off.

Frames are kept in a folder as 16-bit PNG while they come; OUT.mkv is made of them at the end, and they are removed.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth.cli.arguments import open_runner
from edgedepth.cli.camera_arguments import camera_of
from edgedepth.cli.console import note, print_json, progress_bar
from edgedepth.cli.stopping import sigterm_interrupts
from edgedepth.core.errors import OptionError
from edgedepth.core.heap import share_one_heap
from edgedepth.facade import EdgeDepth
from edgedepth.programs.reuse import reuse_policy
from edgedepth.result import PNG16_MAX_M
from edgedepth.streams.folder_to_video import write_depth_videos
from edgedepth.streams.frame_folder import FrameFolder, FrameRecord
from edgedepth.streams.options import FOV_FRAMES
from edgedepth.streams.sources import is_live, is_stream, open_frames
from edgedepth.streams.writers import check_gray16

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
    group.add_argument("--frames", type=int, metavar="N", help="stop after so many (cameras go on until Ctrl-C)")


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
    for name in ("reuse", "frames"):
        if getattr(args, name) is not None:
            raise OptionError(f"--{name} is for videos and cameras, and these are pictures", remedy="leave it out")


def run_stream(args: argparse.Namespace, source: str, guidance: dict[str, Any]) -> int:
    """Run a stream, write it, and say what it cost."""
    if args.npy or args.points or "kind" in guidance or "detections" in guidance:
        raise OptionError("--npy, --points, --relative and --detections are for pictures", remedy="leave them out")
    if args.frames is not None and args.frames < 1:
        raise OptionError(f"--frames is {args.frames}; allowed are numbers from 1 on", remedy="leave it out")
    video = args.out if args.out.suffix.lower() == ".mkv" else None
    if video is None and args.out.suffix:
        raise OptionError(f"--out {args.out} is neither a .mkv nor a folder", remedy="--out depth.mkv")
    if args.reuse is not None:
        reuse_policy(args.reuse)
    share_one_heap()
    camera = camera_of(args)
    if video is not None:
        check_gray16()
    live = is_live(source)
    # A video that is none is refused before a model is opened; a camera bears only one opener.
    opened = None if live else open_frames(source, color="rgb", reconnect_s=0.0, skip=0)
    count = opened.count if opened else None
    with open_runner(args) as model:
        about = {
            "source": source,
            "source_bytes": Path(source).stat().st_size if Path(source).is_file() else None,
            "model": model.spec.weights_sha256,
            "backend": model.backend,
            "precision": model.bundle.manifest.precision if model.bundle else None,
            "reuse": args.reuse,
            "focal_px": args.focal_px,
            "camera": repr(camera),
            "undistort": args.undistort,
            "guidance": repr(guidance),
        }
        folder = FrameFolder(Path(f"{video}.frames") if video else args.out, about)
        options = {**guidance, "camera": camera, "undistort": args.undistort}
        try:
            with sigterm_interrupts():
                facts = _infer_all(args, model, source, folder, options, live=live, count=count)
                facts = {"reuse": args.reuse} | _facts(folder.records) | _focal_facts(args, folder.records) | facts
                if args.reuse is not None and not live and folder.records:
                    facts["against_fresh"] = _against_fresh(model, source, folder, options)
        finally:
            folder.leave()
    fps = (opened.fps if opened else _fps(folder.records)) or 30.0
    facts["files"] = write_depth_videos(
        folder, video, fps=fps, near_m=args.near_m, far_m=args.far_m, trained=model.spec.trained
    )
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
) -> dict[str, Any]:
    """Run the frames that aren't there yet. Returns what happened on the way."""
    if args.focal_px is not None:
        options = {**options, "focal_px": args.focal_px}
    elif options["camera"] is None and folder.records:
        if len(folder.records) < FOV_FRAMES:  # the median isn't known yet: what they were given would stay
            folder.start_over()
        elif folder.records[-1].focal_px is not None:
            options = {**options, "focal_px": folder.records[-1].focal_px}  # the median that the run was fixed to
    done = len(folder.records)
    if done and live:
        raise OptionError(f"{folder.path} holds frames of an earlier run, and a camera can't be gone on with",
                          remedy=f"rm -r {folder.path}, or choose another --out")  # fmt: skip
    # What a file announces is for the bar: where it is an estimate, the video may be longer.
    total = min((value for value in (count, args.frames) if value is not None), default=0)
    if done:
        note(f"going on after {done} frames that {folder.path} holds")
    if args.frames is not None and done >= args.frames:
        return {"restarts": 0, "dropped": 0, "reconnects": 0, "cut_short": ""}
    with (
        model.stream(source, reuse=args.reuse, skip=done, **options) as results,
        progress_bar(every=max(1, total // 20) if total else 30) as progress,
    ):
        try:
            for number, result in enumerate(results, start=done + 1):
                folder.add(result)
                progress(f"frame {number}", number, max(total, number) if total else 0)
                if number == args.frames:
                    break
        except KeyboardInterrupt:
            if not (live and folder.records):
                note(f"{len(folder.records)} frames are kept in {folder.path}; the same command goes on there")
                raise
            note(f"stopped after {len(folder.records)} frames")  # a camera has no other end
        stats = asdict(results.stats)
        return {name: stats[name] for name in ("restarts", "dropped", "reconnects", "cut_short")}


def _fps(records: list[FrameRecord]) -> float | None:
    """Frames a second that came of a camera; None where that can't be told."""
    seconds = records[-1].time_s - records[0].time_s if records else 0.0
    return min(1000.0, (len(records) - 1) / seconds) if seconds > 0 else None


def _facts(records: list[FrameRecord]) -> dict[str, Any]:
    return {
        "frames": len(records),
        "tiles": sum(record.tiles for record in records),
        "tiles_of": sum(record.of for record in records),
        "decoder": {way: sum(record.decoder == way for record in records) for way in ("whole", "windows", "none")},
        "windows": sum(record.windows for record in records),
        "windows_a_frame": max((record.windows_of for record in records), default=0),
        "network_ms": statistics.fmean(record.network_ms for record in records) if records else None,
    }


def _focal_facts(args: argparse.Namespace, records: list[FrameRecord]) -> dict[str, Any]:
    """What the metres rest on: of the last frame, which is that of all but the first few."""
    if not records or records[-1].focal_px is None:
        return {"focal_px": None, "fov_deg": None, "focal_source": "not known, and not needed for this model's depth"}
    given = "by --focal-px" if args.focal_px is not None else f"by --camera {args.camera}" if args.camera else ""
    predicted = f"predicted: the median of the first {min(FOV_FRAMES, len(records))} frames"
    return {
        "focal_px": records[-1].focal_px, "fov_deg": records[-1].fov_deg, "focal_source": given or predicted
    }  # fmt: skip


def _against_fresh(model: EdgeDepth, source: str, folder: FrameFolder, options: dict[str, Any]) -> dict[str, Any]:
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
        "abs_rel": statistics.fmean(errors) if errors else None,
        "abs_rel_worst": max(errors, default=None),
        "fresh_ms": statistics.fmean(fresh_ms),
        "speed_up": statistics.fmean(fresh_ms) / mean_ms,  # means both: what all frames took
    }


def _print(facts: dict[str, Any]) -> None:
    print(f"{facts['frames']} frames, {facts['network_ms']:.0f} ms each")
    focal = "" if facts["focal_px"] is None else f"{facts['focal_px']:.1f} px ({facts['fov_deg']:.1f} degrees), "
    print(f"focal length: {focal}{facts['focal_source']}")
    if facts["tiles_of"]:
        share = facts["tiles"] / facts["tiles_of"]
        print(f"encoded tiles: {facts['tiles']} of {facts['tiles_of']} ({share:.1%})")
    if facts["reuse"] is not None and facts["windows_a_frame"]:
        print(f"decoder windows: {_windows(facts)}")
    if (fresh := facts.get("against_fresh")) is not None:
        print(f"speed-up: {fresh['speed_up']:.2f}x of fresh runs' {fresh['fresh_ms']:.0f} ms")
        print(f"error: {_error(fresh)}")
    for path in facts["files"]:
        print(path)


def _windows(facts: dict[str, Any]) -> str:
    frames = facts["decoder"]
    of = facts["windows_a_frame"] * frames["windows"]
    share = f" ({facts['windows'] / of:.1%})" if of else ""
    return (
        f"{facts['windows']} of {of}{share} in {frames['windows']} frames; the decoder whole in {frames['whole']}, "
        f"not at all in {frames['none']}"
    )


def _error(fresh: dict[str, Any]) -> str:
    if fresh["abs_rel"] is None:
        return f"not measured: nothing is nearer than {PNG16_MAX_M} m"
    return (
        f"AbsRel {fresh['abs_rel']:.3%}, at worst {fresh['abs_rel_worst']:.3%}, against fresh runs of "
        f"{fresh['frames']} frames"
    )
