"""What patch reuse saves and costs on synthetic videos, and what a stream's throughput is of pure inference.

    python benchmarks/streams.py BUNDLE [--frames 16] [--size 320x240] [--reuse 0 0.01] [--throughput 30]

Per video and threshold: tiles encoded, latency against fresh runs (medians over the frames after the first), AbsRel
against fresh runs and against the ground truth, flicker: the median over static pixels of depth's temporal standard
deviation by its mean, and seams: how far what is off against fresh runs steps from pixel to pixel, across the borders
of the decoder's windows and everywhere. The focal length is given, as a stream fixes it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
from videos import VIDEOS, VideoFrame

from edgedepth import EdgeDepth
from edgedepth.result import DepthResult


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--reuse", type=float, nargs="+", default=[0.0, 0.01])
    parser.add_argument("--only", choices=list(VIDEOS))
    parser.add_argument("--fresh", type=int, help="fresh runs a video: its last frames (default: every frame)")
    parser.add_argument("--throughput", type=int, default=0, metavar="N", help="also N frames as stream and as infer()")
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    with EdgeDepth(args.bundle, color="rgb", self_test="never") as model:
        for name in [args.only] if args.only else VIDEOS:
            frames = list(VIDEOS[name](args.frames, width, height))
            measure(model, name, frames, args.reuse, args.fresh or len(frames))
        if args.throughput:
            throughput(model, args.throughput, width, height)


def measure(model: EdgeDepth, name: str, frames: list[VideoFrame], thresholds: list[float], fresh_count: int) -> None:
    """One line of JSON a threshold."""
    compared = range(len(frames) - fresh_count, len(frames))
    runs = [run(model, frames, reuse) for reuse in thresholds]  # whose first frame is computed whole: a warm-up
    fresh, fresh_s = run(model, [frames[number] for number in compared], None)
    for reuse, (kept, seconds) in zip(thresholds, runs, strict=True):
        facts: dict[str, Any] = {
            "video": name,
            "reuse": reuse,
            "frames": len(frames),
            "tiles_a_frame": statistics.fmean(result.encoded.tiles for result in kept[1:] if result.encoded),
            "windows_a_frame": statistics.fmean(result.encoded.windows for result in kept[1:] if result.encoded),
            "fresh_s": statistics.median(fresh_s),
            "reuse_s": statistics.median(seconds[1:]),
            "faster": statistics.median(fresh_s) / statistics.median(seconds[1:]),
            "abs_rel_to_fresh": statistics.fmean(
                abs_rel(kept[number].depth, want.depth) for number, want in zip(compared, fresh, strict=True)
            ),
            "bits_equal": all(
                np.array_equal(kept[number].depth, want.depth) for number, want in zip(compared, fresh, strict=True)
            ),
            "abs_rel_to_truth": [
                truth_error([frames[number] for number in compared], results)
                for results in (fresh, [kept[number] for number in compared])
            ],
        }
        facts["seams"] = seams([kept[number] for number in compared], fresh)
        facts["stages_ms"] = [stage_ms(results) for results in (fresh, kept[1:])]
        if frames[0].static.any() and len(fresh) > 1:
            facts["flicker"] = [flicker(results, frames[0].static) for results in (fresh, kept)]
        print(json.dumps(facts), flush=True)


def run(model: EdgeDepth, frames: list[VideoFrame], reuse: float | None) -> tuple[list[DepthResult], list[float]]:
    """Results and seconds, frame by frame."""
    results, seconds = [], []
    for frame in frames:
        start = time.perf_counter()
        results.append(model.infer(frame.image, focal_px=frame.focal_px, reuse=reuse))
        seconds.append(time.perf_counter() - start)
    return results, seconds


def stage_ms(results: list[DepthResult]) -> dict[str, int]:
    """Medians by step."""
    steps = dict.fromkeys(step for result in results for step in result.timings_ms)
    return {step: round(statistics.median(result.timings_ms.get(step, 0) for result in results)) for step in steps}


def abs_rel(depth: np.ndarray, want: np.ndarray) -> float:
    """Mean of |d - d*| / d*."""
    return float(np.mean(np.abs(depth - want) / want))


def truth_error(frames: list[VideoFrame], results: list[DepthResult]) -> float:
    """AbsRel against the ground truth, where there is any."""
    errors = []
    for frame, result in zip(frames, results, strict=True):
        known = np.isfinite(frame.depth_m)
        errors.append(abs_rel(result.depth[known], frame.depth_m[known]))
    return statistics.fmean(errors)


def flicker(results: list[DepthResult], static: np.ndarray) -> float:
    """Median over static pixels of the temporal standard deviation by the mean."""
    depths = np.stack([result.depth[static] for result in results])
    return float(np.median(depths.std(axis=0) / depths.mean(axis=0)))


def seams(results: list[DepthResult], fresh: list[DepthResult]) -> list[float]:
    """Mean step of depth / fresh depth between neighbours, across the windows' borders, and between all."""
    steps: tuple[list[float], list[float]] = ([], [])
    for result, want in zip(results, fresh, strict=True):
        off = result.depth / want.depth
        for axis in (0, 1):
            step = np.abs(np.diff(off, axis=axis)).mean(axis=1 - axis)
            # The tiles' features meet at 21, 39, 57 and 75 of 96 (7, 13, 19 and 25 of 32): the same places but for 1 %.
            borders = [round(len(step) * place) for place in (0.219, 0.406, 0.594, 0.781)]
            steps[0].extend(max(step[border - 1 : border + 2]) for border in borders)
            steps[1].append(float(step.mean()))
    return [float(np.mean(part)) for part in steps]


def throughput(model: EdgeDepth, count: int, width: int, height: int) -> None:
    """Frames a second as a stream, and as infer() in a loop, interleaved."""
    frames = [frame.image for frame in VIDEOS["the same with sensor noise"](count, width, height)]
    ratios, cpu_ratios = [], []
    for _ in range(3):
        start, start_cpu = time.perf_counter(), time.process_time()
        for frame in frames:
            model.infer(frame, focal_px=300.0)
        pure_s, pure_cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
        start, start_cpu = time.perf_counter(), time.process_time()
        with model.stream(frames, focal_px=300.0) as results:
            for _result in results:
                pass
        stream_s = time.perf_counter() - start
        ratios.append(pure_s / stream_s)
        cpu_ratios.append(pure_cpu_s / (time.process_time() - start_cpu))  # which a busy machine hardly changes
    print(
        json.dumps(
            {
                "stream_by_pure": statistics.median(ratios),
                "all": ratios,
                "cpu_time": cpu_ratios,
                "stream_fps": count / stream_s,
            }
        )
    )


if __name__ == "__main__":
    main()
