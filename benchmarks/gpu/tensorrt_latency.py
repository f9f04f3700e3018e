"""Latency, memory and parity of TensorRT bundles on this GPU, beside torch eager and torch.compile, fp16: one table.

    python benchmarks/gpu/tensorrt_latency.py --model depth-pro --weights random:0 --out gpu-results fp32 fp16

Stages are timed with CUDA events on features that stay on the device; "frame" is EdgeDepth.infer with the host's clock,
from a numpy picture to metres. Contenders take turns, round by round, so that a clock that drops hits all alike; with
--in-turn, for boards whose memory doesn't hold them all, each is measured alone. The floor is the frame's arithmetic
over what a large fp16 matrix product reaches on this card in the same run. What run.sh wrote beside the bundles
(verify-PRECISION.json) is in the table too.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth import EdgeDepth
from edgedepth.cli.console import print_table
from edgedepth.core.bundle import open_bundle
from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.errors import EdgeDepthError
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.trt_backend import TrtBackend
from edgedepth.trt import providers
from edgedepth.trt.adapter import Gpu

__all__ = ["main"]

FRAME_TFLOP = 19.0  # multiplications and additions of one 1536 x 1536 frame of depth-pro
ROUNDS, FRAMES, WARM_UP = 5, 20, 5
ROOM_MB = 24_000  # with less, contenders are measured in turn
PACKAGES = ("edgedepth", "torch", "numpy", "tensorrt", "tensorrt-rtx-cu13-bindings", "cuda-bindings")

Runner = Callable[[], object]


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """p50, p90 and p99."""
    return {f"p{part}": round(float(np.percentile(milliseconds, part)), 3) for part in (50, 90, 99)}


def time_stages(path: Path, *, runs: int) -> dict[str, dict[str, float]]:
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
        for number in range(WARM_UP + runs):
            stop = gpu.timer()
            session.run(feeds, out)
            milliseconds = stop()
            if number >= WARM_UP:
                measured.append(milliseconds)
        timings[name] = percentiles(measured)
        session.close()
    return timings


def open_bundle_runner(path: Path) -> Runner:
    """EdgeDepth.infer on a picture of the model's own size."""
    model = EdgeDepth(path, backend="trt")
    size = model.spec.preprocess.size
    picture = np.random.default_rng(0).integers(0, 255, (size, size, 3), np.uint8)
    return lambda: model.infer(picture)


def open_torch(name: str, weights: str | None, *, compiled: bool) -> Runner:
    """The reference at fp16 with the same fp32 islands, whole, from a picture on the device."""
    import torch

    from edgedepth.models.loading import load_model
    from edgedepth.models.precision import half_precision_

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
    import torch

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


def measure_frames(
    contenders: dict[str, Callable[[], Runner]], gpu: Gpu, *, frames: int, in_turn: bool
) -> dict[str, dict[str, Any]]:
    """Frame times and device memory by contender; what doesn't run has its error instead."""
    figures: dict[str, dict[str, Any]] = {}
    for group in [[name] for name in contenders] if in_turn else [list(contenders)]:
        runners: dict[str, Runner] = {}
        for name in group:
            before = gpu.used_mb()
            try:
                runner = contenders[name]()
                for _ in range(WARM_UP):
                    runner()
                figures[name] = {"memory_mb": round(gpu.used_mb() - before)}
                runners[name] = runner
            except (EdgeDepthError, RuntimeError) as error:
                figures[name] = {"error": " ".join(str(error).split())}
            gc.collect()
        measured: dict[str, list[float]] = {name: [] for name in runners}
        for _ in range(ROUNDS):
            for name, run in runners.items():
                for _ in range(frames):
                    start = time.perf_counter()
                    run()
                    measured[name].append(1e3 * (time.perf_counter() - start))
        for name, milliseconds in measured.items():
            figures[name]["frame_ms"] = percentiles(milliseconds)
        runners.clear()
        gc.collect()
    return figures


def facts_of(path: Path) -> dict[str, Any]:
    """What a bundle's manifest says of its engines, and run.sh's verification of it."""
    engines = open_bundle(path, check_hashes=False).manifest.engines
    report = path.with_name(f"verify-{path.name}.json")
    parity = json.loads(report.read_text()) if report.is_file() and report.stat().st_size else None
    return {
        "engines_mb": round(sum(engine.size for engine in engines) / 1e6, 1),
        "build_s": round(sum(engine.build_s for engine in engines), 1),
        "abs_rel": parity["end_to_end"]["abs_rel"] if parity else None,
        "verified": parity["passed"] if parity else None,
    }


def main(words: Sequence[str] | None = None) -> int:
    """Measure, print the table, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="*", type=Path)
    parser.add_argument("--model", default="depth-pro")
    parser.add_argument("--weights")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"))
    parser.add_argument("--no-torch", action="store_true", help="for machines whose torch sees no GPU")
    parser.add_argument("--in-turn", action="store_true", help="one contender in memory at a time")
    parser.add_argument("--frames", type=int, default=FRAMES, help="in each of the rounds (default: %(default)s)")
    args = parser.parse_args(words)

    hardware = providers.HARDWARE()
    gpu = hardware.open(0, hardware.find()[0])
    contenders: dict[str, Callable[[], Runner]] = {
        f"edgedepth {path.name}": lambda path=path: open_bundle_runner(path) for path in args.bundles
    }
    if not args.no_torch:
        contenders["torch eager fp16"] = lambda: open_torch(args.model, args.weights, compiled=False)
        contenders["torch.compile fp16"] = lambda: open_torch(args.model, args.weights, compiled=True)
    in_turn = args.in_turn or gpu.facts.memory_mb < ROOM_MB
    figures = measure_frames(contenders, gpu, frames=args.frames, in_turn=in_turn)
    stages: dict[str, Any] = {}
    for path in args.bundles:
        if "frame_ms" in figures[f"edgedepth {path.name}"]:
            stages[path.name] = time_stages(path, runs=ROUNDS * args.frames)
        figures[f"edgedepth {path.name}"] |= facts_of(path)
    rate = None if args.no_torch else matmul_tflops()
    result = {
        "machine": describe_machine() | {"gpu": gpu.facts.name, "sm": gpu.facts.sm, "driver": gpu.facts.driver},
        "versions": versions_of(PACKAGES),
        "in_turn": in_turn,
        "frames": figures,
        "stages_ms": stages,
        "matmul_tflops": rate and round(rate, 1),
        "floor_ms": 1e3 * FRAME_TFLOP / rate if rate and args.model == "depth-pro" else None,
    }
    (args.out / "tensorrt_latency.json").write_text(json.dumps(result, indent=2) + "\n")
    print_results(result)
    return 0


def print_results(result: dict[str, Any]) -> None:
    """One table; errors below it, whole."""
    rows: list[tuple[str, ...]] = []
    for name, figures in result["frames"].items():
        rest = ("memory_mb", "abs_rel", "verified", "engines_mb", "build_s")
        rows.append((name, "frame", *_times(figures.get("frame_ms")), *(_cell(figures.get(key)) for key in rest)))
        for stage, times in result["stages_ms"].get(name.removeprefix("edgedepth "), {}).items():
            rows.append((name, stage, *_times(times), *("–" for _ in rest)))
    if result["floor_ms"]:
        rate = f"at {result['matmul_tflops']:.0f} TFLOP/s"
        rows.append(("arithmetic floor", rate, f"{result['floor_ms']:.1f}", *("–" for _ in range(7))))
    machine = result["machine"]
    title = f"{machine['gpu']}, SM {machine['sm']}, {machine['driver']}, {result['versions']}"
    headers = ("who", "what", "p50 ms", "p90 ms", "p99 ms", "memory MB", "AbsRel", "verified", "engines MB", "build s")
    print_table(headers, rows, title=title)
    for name, figures in result["frames"].items():
        if "error" in figures:
            print(f"{name}: {figures['error']}")


def _times(times: dict[str, float] | None) -> tuple[str, ...]:
    return tuple("–" if times is None else f"{times[part]:.2f}" for part in ("p50", "p90", "p99"))


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "NO"
    return f"{value:.2g}" if isinstance(value, float) and value < 0.1 else f"{value}"


if __name__ == "__main__":
    raise SystemExit(main())
