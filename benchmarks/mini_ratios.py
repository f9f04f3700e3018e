"""depth-pro-mini on this machine's CPU, every backend in one process, as ratios to the eager reference.

    python benchmarks/mini_ratios.py --out mini_ratios.json
    python benchmarks/mini_ratios.py --against docs/measurements/mini_ratios.json --fail-above 1.25

Runs take turns, so a ratio hardly depends on what else the machine does, where seconds do. With --against it fails when
a ratio has grown by more than the factor: for a CI that wants to notice. Ratios of another processor are other ratios.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from edgedepth import EdgeDepth, export_bundle
from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.errors import EdgeDepthError, UnsupportedError
from edgedepth.core.spec import Precision
from edgedepth.exporters.base import ExportOptions
from edgedepth.models.loading import load_model
from edgedepth.programs.frames import as_rgb
from edgedepth.runtimes.torch_reference import EagerReference
from edgedepth.verify.latency import Latency, interleaved

__all__ = ["main"]

MODEL = "depth-pro-mini"
EAGER = "eager reference fp32"
PACKAGES = ("edgedepth", "numpy", "torch", "onnxruntime", "openvino")
TARGETS: tuple[tuple[str, Precision], ...] = (("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
FOCAL_PX = 500.0


def contenders(work: Path) -> dict[str, Callable[[], object]]:
    """What runs one frame, by name; bundles are exported into `work`."""
    frame = np.random.default_rng(0).integers(0, 255, (512, 512, 3), np.uint8)
    reference, rgb = EagerReference(load_model(MODEL)), as_rgb(frame)
    runs: dict[str, Callable[[], object]] = {EAGER: lambda: reference.predict(rgb)}
    for target, precision in TARGETS:
        out = work / f"{target}-{precision}"
        export_bundle(MODEL, target, options=ExportOptions(precision=precision), out=out)
        try:
            model = EdgeDepth(out, self_test="never")
        except UnsupportedError as error:
            print(f"left out: {target} {precision}: {error}", file=sys.stderr)
            continue
        runs[f"{target} {precision}"] = partial(model.infer, frame)
        runs[f"{target} {precision}, focal known"] = partial(model.infer, frame, focal_px=FOCAL_PX)
    return runs


def ratios(latencies: dict[str, Latency]) -> dict[str, float]:
    """Median over the rounds of each one's seconds over the reference's of the same round."""
    eager = np.array(latencies[EAGER].samples_s)
    return {name: float(np.median(np.array(latency.samples_s) / eager)) for name, latency in latencies.items()}


def grown(now: dict[str, float], before: dict[str, float], factor: float) -> list[str]:
    """In words, which ratios have grown by more than a factor."""
    return [
        f"{name}: {now[name]:.3f} of the reference, {before[name]:.3f} before"
        for name in now
        if name in before and now[name] > factor * before[name]
    ]


def main() -> int:
    """Measure, write JSON, print a table, and compare if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--against", type=Path, help="an earlier --out")
    parser.add_argument("--fail-above", type=float, default=1.25, metavar="FACTOR")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        latencies = interleaved(contenders(Path(work)), warmups=2, rounds=args.rounds)
    measured = ratios(latencies)
    for name, latency in latencies.items():
        milliseconds = f"{1e3 * latency.median_s:8.1f} ms +- {latency.spread:4.0%}"
        print(f"{name:28} {milliseconds}  {measured[name]:.3f} of the reference")
    if args.out:
        report = {
            "machine": describe_machine(),
            "versions": versions_of(PACKAGES),
            "command": " ".join(["python", "benchmarks/mini_ratios.py", *sys.argv[1:]]),
            "ratios": measured,
            "samples_s": {name: latency.samples_s for name, latency in latencies.items()},
        }
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    worse = grown(measured, json.loads(args.against.read_text())["ratios"], args.fail_above) if args.against else []
    print("\n".join(worse), file=sys.stderr)
    return 1 if worse else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except EdgeDepthError as error:
        sys.exit(str(error))
