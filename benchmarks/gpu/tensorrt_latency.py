"""Latency and memory of TensorRT bundles on this GPU, beside torch eager fp16 and torch.compile fp16, in one table.

    python benchmarks/gpu/tensorrt_latency.py --model depth-pro --weights random:0 --out gpu-results fp32 fp16

Stages are timed with CUDA events on features that stay on the device; "frame" is EdgeDepth.infer with the host's clock,
from a numpy picture to metres. Contenders take turns, round by round, so that a clock that drops hits all alike. The
floor is the frame's arithmetic over what a large fp16 matrix product reaches on this card in the same run.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgedepth import EdgeDepth
from edgedepth.cli.console import print_table
from edgedepth.core.bundle import open_bundle
from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.errors import EdgeDepthError
from edgedepth.models.loading import load_model
from edgedepth.models.precision import half_precision_
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.trt_backend import TrtBackend

__all__ = ["main"]

FRAME_TFLOP = 19.0  # multiplications and additions of one 1536 x 1536 frame of depth-pro
ROUNDS, FRAMES, WARM_UP = 5, 20, 5
PACKAGES = ("edgedepth", "torch", "numpy", "tensorrt", "tensorrt-rtx-cu13-bindings", "cuda-bindings")


def percentiles(milliseconds: list[float]) -> dict[str, float]:
    """p50, p90 and p99."""
    return {f"p{part}": round(float(np.percentile(milliseconds, part)), 3) for part in (50, 90, 99)}


def time_stages(path: Path) -> dict[str, dict[str, float]]:
    """Each stage by CUDA events, inputs and outputs on the device; the patch encoder's are those of one micro-batch."""
    backend, bundle = TrtBackend(), open_bundle(path, check_hashes=False)
    timings = {}
    for name in bundle.manifest.artefacts:
        session = backend.open(bundle, name, SessionOptions())
        gpu = session.arrays.gpu
        feeds: dict[str, Any] = {}
        for tensor in session.inputs:
            host = np.random.default_rng(0).standard_normal(tuple(map(int, tensor.shape)), dtype=np.float32)
            feeds[tensor.name] = session.arrays.resident(host.shape)
            gpu.upload(feeds[tensor.name].address, host)
            gpu.synchronise()
        out: dict[str, Any] = {one.name: session.arrays.resident(tuple(map(int, one.shape))) for one in session.outputs}
        measured = []
        for number in range(WARM_UP + ROUNDS * FRAMES):
            stop = gpu.timer()
            session.run(feeds, out)
            milliseconds = stop()
            if number >= WARM_UP:
                measured.append(milliseconds)
        timings[name] = percentiles(measured)
        session.close()
    return timings


def used_mb() -> float:
    """Device memory in use, by everybody."""
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 1e6


def open_bundle_runner(path: Path) -> Callable[[], object]:
    """EdgeDepth.infer on a picture of the model's own size."""
    model = EdgeDepth(path, backend="trt")
    size = model.spec.preprocess.size
    picture = np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)
    return lambda: model.infer(picture)


def open_torch(name: str, weights: str | None, *, compiled: bool) -> Callable[[], object]:
    """The reference at fp16 with the same fp32 islands, whole, from a picture on the device."""
    loaded = load_model(name, weights)
    module = half_precision_(loaded.module).cuda().eval()
    run: Any = torch.compile(module, mode="max-autotune") if compiled else module
    size = loaded.spec.preprocess.size
    image = torch.randn(1, 3, size, size, device="cuda")

    def infer() -> object:
        with torch.inference_mode():
            result = run(image)
        torch.cuda.synchronize()
        return result

    return infer


def matmul_tflops() -> float:
    """What this card reaches in fp16."""
    side = 8192
    a, b = (torch.randn(side, side, device="cuda", dtype=torch.float16) for _ in range(2))
    best = 0.0
    for _ in range(20):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        a @ b
        end.record()
        end.synchronize()
        best = max(best, 2 * side**3 / start.elapsed_time(end) / 1e9)
    return best


def main() -> None:
    """Measure, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--model", default="depth-pro")
    parser.add_argument("--weights")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    args = parser.parse_args()

    contenders: dict[str, Callable[[], Callable[[], object]]] = {
        f"edgedepth {open_bundle(path).manifest.precision}": lambda path=path: open_bundle_runner(path)
        for path in args.bundles
    }
    contenders["torch eager fp16"] = lambda: open_torch(args.model, args.weights, compiled=False)
    contenders["torch.compile fp16"] = lambda: open_torch(args.model, args.weights, compiled=True)
    figures: dict[str, Any] = {}
    runners = {}
    for name, open_contender in contenders.items():
        before = used_mb()
        try:
            runners[name] = open_contender()
            for _ in range(WARM_UP):
                runners[name]()
            figures[name] = {"memory_mb": round(used_mb() - before)}
        except (EdgeDepthError, RuntimeError) as error:
            figures[name] = {"error": str(error)}
            runners.pop(name, None)
        gc.collect()
    measured: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(ROUNDS):
        for name, run in runners.items():
            for _ in range(FRAMES):
                start = time.perf_counter()
                run()
                measured[name].append(1e3 * (time.perf_counter() - start))
    for name, milliseconds in measured.items():
        figures[name]["frame_ms"] = percentiles(milliseconds)
    runners.clear()
    gc.collect()
    stages = {str(path): time_stages(path) for path in args.bundles}
    rate = matmul_tflops()
    floor_ms = 1e3 * FRAME_TFLOP / rate if args.model == "depth-pro" else None
    result = {
        "machine": describe_machine() | {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda},
        "versions": versions_of(PACKAGES),
        "frames": figures,
        "stages_ms": stages,
        "matmul_tflops": round(rate, 1),
        "floor_ms": floor_ms,
    }
    (args.out / "tensorrt_latency.json").write_text(json.dumps(result, indent=2) + "\n")
    print_results(result)


def print_results(result: dict[str, Any]) -> None:
    """One table."""
    rows = []
    for name, figures in result["frames"].items():
        times = figures.get("frame_ms", {})
        cells = [f"{times[part]:.1f}" if times else "–" for part in ("p50", "p90", "p99")]
        rows.append((name, "frame", *cells, str(figures.get("memory_mb", figures.get("error", "–")))))
    for path, stages in result["stages_ms"].items():
        for stage, times in stages.items():
            rows.append((path, stage, *(f"{times[part]:.2f}" for part in ("p50", "p90", "p99")), "–"))
    if result["floor_ms"]:
        rate = f"{result['matmul_tflops']:.0f} TFLOP/s"
        rows.append(("arithmetic floor", rate, f"{result['floor_ms']:.1f}", "–", "–", "–"))
    gpu = f"{result['machine']['gpu']}, {result['versions']}"
    print_table(("who", "what", "p50 ms", "p90 ms", "p99 ms", "memory MB"), rows, title=gpu)


if __name__ == "__main__":
    main()
