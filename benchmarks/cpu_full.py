"""Full-size Depth Pro on this machine's CPU: latency and peak memory, side by side.

    python benchmarks/cpu_full.py --out cpu_full.json

Contenders: the eager reference, transformers' DepthProForDepthEstimation, and edgedepth's ONNX bundle with all stages
in memory and with one at a time. Each run is a process of its own: it loads, runs one frame to warm up, and then times
the next ones; peak memory is that process's. Rounds are interleaved, so that a busy neighbour hits everybody alike; the
figures are medians and the ratio to the eager reference of the same round. Weights are random: they cost what trained
ones cost.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth.core.environment import describe_machine, versions_of

__all__ = ["CONTENDERS", "main"]

WEIGHTS = "random:0"
PACKAGES = ("edgedepth", "numpy", "opencv-python", "torch", "onnxruntime", "transformers")
Run = Callable[[], None]


def frame() -> np.ndarray:
    """One (1536, 1536, 3) uint8 picture: Depth Pro's own size, so that nobody resizes."""
    return np.random.default_rng(0).integers(0, 255, (1536, 1536, 3), np.uint8)


def open_eager(_: argparse.Namespace) -> Run:
    """The eager fp32 reference, all tiles in one batch, as published."""
    from edgedepth.models.loading import load_model
    from edgedepth.programs.frames import as_rgb
    from edgedepth.runtimes.torch_reference import EagerReference

    reference, rgb = EagerReference(load_model("depth-pro", WEIGHTS)), as_rgb(frame())
    return lambda: float(reference.predict(rgb).depth[0, 0])  # type: ignore[return-value]


def open_transformers(_: argparse.Namespace) -> Run:
    """transformers' model with ViT-L sub-configs, fp32."""
    import torch
    from transformers import DepthProConfig, DepthProForDepthEstimation

    vit = {
        "model_type": "dinov2",
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 16,
    }
    config = DepthProConfig(
        use_fov_model=True, image_model_config=dict(vit), patch_model_config=dict(vit), fov_model_config=dict(vit)
    )
    model = DepthProForDepthEstimation(config).eval()
    pixels = torch.from_numpy(frame().transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)

    def run() -> None:
        with torch.inference_mode():
            model(pixel_values=pixels)

    return run


def open_bundle_resident(resident: str) -> Callable[[argparse.Namespace], Run]:
    """edgedepth's ONNX bundle."""

    def open_it(args: argparse.Namespace) -> Run:
        from edgedepth import EdgeDepth

        model = EdgeDepth(args.bundle, self_test="never", resident=resident)  # type: ignore[arg-type]
        picture = frame()
        return lambda: float(model.infer(picture).depth[0, 0])  # type: ignore[return-value]

    return open_it


CONTENDERS: dict[str, Callable[[argparse.Namespace], Run]] = {
    "eager reference fp32": open_eager,
    "transformers fp32": open_transformers,
    "edgedepth onnx fp32": open_bundle_resident("all"),
    "edgedepth onnx fp32, resident=one": open_bundle_resident("one"),
}


def measure_here(args: argparse.Namespace) -> dict[str, Any]:
    """Measure one contender in this process."""
    start = time.perf_counter()
    run = CONTENDERS[args.only](args)
    load_s = time.perf_counter() - start
    run()
    latencies = []
    for _ in range(args.repeats):
        start = time.perf_counter()
        run()
        latencies.append(time.perf_counter() - start)
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"load_s": load_s, "latency_s": latencies, "peak_rss_gb": peak_gb}


def measure_apart(name: str, args: argparse.Namespace, bundle: Path) -> dict[str, Any]:
    """Measure one contender in a process of its own."""
    command = [sys.executable, __file__, "--only", name, "--repeats", str(args.repeats), "--bundle", str(bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{name} failed:\n{done.stderr}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def summarise(rounds: list[dict[str, dict[str, Any]]]) -> dict[str, dict[str, float]]:
    """Medians over the rounds, and the median of each round's ratio to the eager reference."""

    def latency(measured: dict[str, Any]) -> float:
        return statistics.median(measured["latency_s"])

    baseline = next(iter(CONTENDERS))
    summary = {}
    for name in rounds[0]:
        runs = [round_[name] for round_ in rounds]
        ratios = [latency(round_[name]) / latency(round_[baseline]) for round_ in rounds]
        summary[name] = {
            "latency_s": statistics.median(latency(run) for run in runs),
            "ratio_to_eager": statistics.median(ratios),
            "peak_rss_gb": max(run["peak_rss_gb"] for run in runs),
            "load_s": statistics.median(run["load_s"] for run in runs),
        }
    return summary


def main() -> int:
    """Export if needed, measure all contenders round by round, write JSON and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1, help="timed frames a process")
    parser.add_argument("--bundle", type=Path, help="a full-size fp32 ONNX bundle (default: exported now)")
    parser.add_argument("--out", type=Path, default=Path("cpu_full.json"))
    parser.add_argument("--only", choices=CONTENDERS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure_here(args)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        bundle = args.bundle or Path(folder) / "bundle"
        if args.bundle is None:
            export = ["export", "--model", "depth-pro", "--weights", WEIGHTS, "--out", str(bundle)]
            subprocess.run([sys.executable, "-m", "edgedepth", *export], check=True, env=os.environ)
        rounds: list[dict[str, dict[str, Any]]] = []
        for number in range(args.rounds):
            rounds.append({name: measure_apart(name, args, bundle) for name in CONTENDERS})
            write_report(args.out, rounds)  # after each: a round takes a quarter of an hour
            print(f"round {number + 1} of {args.rounds} done", file=sys.stderr)
    for name, row in summarise(rounds).items():
        print(f"{name:36}", "  ".join(f"{key} {value:7.2f}" for key, value in row.items()))
    return 0


def write_report(path: Path, rounds: list[dict[str, dict[str, Any]]]) -> None:
    """The measurements with what they were taken on."""
    report = {
        "machine": describe_machine(),
        "versions": versions_of(PACKAGES),
        "command": " ".join(["python", *sys.argv]),
        "summary": summarise(rounds),
        "rounds": rounds,
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
