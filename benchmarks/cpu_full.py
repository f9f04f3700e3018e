"""Full-size Depth Pro on this machine's CPU: latency, load, peak memory and the ceiling, side by side.

    python benchmarks/cpu_full.py --work bench-work --out cpu_full.json

Each contender runs in a process of its own: it loads, runs one frame to warm up, and then times the next ones; peak
memory is that process's. Rounds are interleaved, so that a busy neighbour hits everybody alike; the figures are medians
and the ratio to the eager reference of the same round. Weights are random: they cost what trained ones cost. --work
keeps the exported bundles and the plain IR, which take longer to make than to measure.
"""

from __future__ import annotations

import argparse
import json
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
from edgedepth.models.depth_pro_config import DEPTH_PRO
from edgedepth.models.work import flops_a_frame
from edgedepth.verify.latency import matmul_rate, peak_rss_bytes, timed

__all__ = ["CONTENDERS", "main"]

WEIGHTS = "random:0"
FOCAL_PX = 1500.0
PACKAGES = ("edgedepth", "numpy", "opencv-python", "torch", "onnxruntime", "openvino", "transformers")
# Five tiles of 577 tokens through ViT-L's four linear layers.
MATMULS = ((2885, 1024, 3072), (2885, 1024, 1024), (2885, 1024, 4096), (2885, 4096, 1024))
Run = Callable[[], object]


def frame() -> np.ndarray:
    """One (1536, 1536, 3) uint8 picture: Depth Pro's own size, so that nobody resizes."""
    return np.random.default_rng(0).integers(0, 255, (1536, 1536, 3), np.uint8)


def planes() -> np.ndarray:
    """The same as the network's input, (1, 3, 1536, 1536) float32."""
    return np.ascontiguousarray(frame().transpose(2, 0, 1)[None].astype(np.float32) / 127.5 - 1)


def open_eager(_: Path) -> Run:
    """The eager fp32 reference, all tiles in one batch, as published."""
    from edgedepth.models.loading import load_model
    from edgedepth.programs.frames import as_rgb
    from edgedepth.runtimes.torch_reference import EagerReference

    reference, rgb = EagerReference(load_model("depth-pro", WEIGHTS)), as_rgb(frame())
    return lambda: reference.predict(rgb)


def open_torch_bf16(*, compiled: bool) -> Callable[[Path], Run]:
    """The reference network in bf16, LayerNorm, softmax and the last convolution in fp32; eager or compiled."""

    def open_it(_: Path) -> Run:
        import torch

        from edgedepth.models.loading import load_model
        from edgedepth.models.precision import half_precision_

        network: Any = half_precision_(load_model("depth-pro", WEIGHTS).module, torch.bfloat16)
        network = torch.compile(network) if compiled else network
        image = torch.from_numpy(planes())

        def run() -> None:
            with torch.inference_mode():
                network(image)

        return run

    return open_it


def open_transformers(_: Path) -> Run:
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
    pixels = torch.from_numpy(planes())

    def run() -> None:
        with torch.inference_mode():
            model(pixel_values=pixels)

    return run


def open_plain_openvino(work: Path) -> Run:
    """What a skilled user gets: the whole network converted, weights fp16 on disk, bf16 and latency hints, a cache."""
    import openvino as ov

    hints = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "PERFORMANCE_HINT": "LATENCY",
        "CACHE_DIR": str(work / "plain-cache"),
    }
    request = ov.Core().compile_model(str(work / "plain.xml"), "CPU", hints).create_infer_request()
    image = planes()
    return lambda: request.infer({0: image}, share_inputs=True, share_outputs=True)


def open_bundle(name: str, *, resident: str = "all", focal_px: float | None = None) -> Callable[[Path], Run]:
    """One of edgedepth's bundles, as it is served."""

    def open_it(work: Path) -> Run:
        from edgedepth import EdgeDepth

        model = EdgeDepth(work / name, self_test="never", resident=resident)  # type: ignore[arg-type]
        if resident == "all":
            for stage in model.spec.stages:  # loaded now and not in the first frame: this is what load_s tells
                if focal_px is None or stage.name != "fov":
                    model._pool.session(stage.name)
        picture = frame()

        def run() -> None:
            result = model.infer(picture, focal_px=focal_px)
            host = ("preprocess", "tiling", "postprocess")
            SHARES.append(sum(result.timings_ms[step] for step in host) / sum(result.timings_ms.values()))

        return run

    return open_it


SHARES: list[float] = []
"""Of each frame, what the host's own work took: pyramid, tiles, fusion, metric scaling, resizing."""

CONTENDERS: dict[str, Callable[[Path], Run]] = {
    "eager reference fp32": open_eager,
    "eager bf16": open_torch_bf16(compiled=False),
    "torch.compile bf16": open_torch_bf16(compiled=True),
    "transformers fp32": open_transformers,
    "plain OpenVINO bf16": open_plain_openvino,
    "edgedepth onnx fp32": open_bundle("onnx-fp32"),
    "edgedepth onnx fp32, resident=one": open_bundle("onnx-fp32", resident="one"),
    "edgedepth openvino bf16": open_bundle("openvino-bf16"),
    "edgedepth openvino bf16, focal known": open_bundle("openvino-bf16", focal_px=FOCAL_PX),
}

NEEDS = {"plain OpenVINO bf16": "plain.xml", "edgedepth onnx": "onnx-fp32", "edgedepth openvino": "openvino-bf16"}


def prepare(work: Path, contenders: list[str]) -> None:
    """Make the artefacts that the contenders need and --work does not hold yet."""
    wanted = {artefact for start, artefact in NEEDS.items() if any(name.startswith(start) for name in contenders)}
    for artefact in sorted(artefact for artefact in wanted if not (work / artefact).exists()):
        print(f"making {artefact}", file=sys.stderr)
        if artefact == "plain.xml":
            convert_plainly(work / artefact)
            continue
        target, precision = artefact.split("-")
        export = ["export", "--model", "depth-pro", "--weights", WEIGHTS, "--target", target, f"--{precision}"]
        subprocess.run([sys.executable, "-m", "edgedepth", *export, "--out", str(work / artefact)], check=True)


def convert_plainly(path: Path) -> None:
    """openvino.convert_model of the whole reference network."""
    import openvino as ov
    import torch

    from edgedepth.models.loading import load_model

    network = load_model("depth-pro", WEIGHTS).module
    image = torch.from_numpy(planes())
    with torch.no_grad():
        converted = ov.convert_model(network, example_input=image, input=list(image.shape))
    ov.save_model(converted, str(path), compress_to_fp16=True)


def measure_here(name: str, work: Path, repeats: int) -> dict[str, Any]:
    """Measure one contender, or the ceiling, in this process."""
    if name == "ceiling":
        return {kind: matmul_rate(kind, MATMULS) for kind in ("fp32", "bf16", "int8")}  # type: ignore[arg-type]
    start = time.perf_counter()
    run = CONTENDERS[name](work)
    load_s = time.perf_counter() - start
    latency = timed(run, runs=repeats)
    measured = {"load_s": load_s, "latency_s": latency.samples_s, "peak_rss_gb": peak_rss_bytes() / 1e9}
    return measured | ({"host_share": statistics.median(SHARES[1:])} if SHARES else {})


def measure_apart(name: str, args: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--only", name, "--repeats", str(args.repeats), "--work", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{name} failed:\n{done.stderr}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def summarise(rounds: list[dict[str, dict[str, Any]]], flops: int) -> dict[str, dict[str, float]]:
    """Medians over the rounds, ratios to the eager reference, and the share of the best bf16 products of the round."""

    def latency(measured: dict[str, Any]) -> float:
        return statistics.median(measured["latency_s"])

    summary: dict[str, dict[str, float]] = {}
    for name in (name for name in rounds[0] if name != "ceiling"):
        runs = [round_[name] for round_ in rounds]
        samples = [sample for run in runs for sample in run["latency_s"]]
        summary[name] = {
            "latency_s": statistics.median(latency(run) for run in runs),
            "fastest_s": min(samples),
            "slowest_s": max(samples),
            "of_bf16_ceiling": statistics.median(
                flops / latency(round_[name]) / round_["ceiling"]["bf16"] for round_ in rounds
            ),
            "peak_rss_gb": max(run["peak_rss_gb"] for run in runs),
            "load_s": statistics.median(run["load_s"] for run in runs),
        }
        if "host_share" in runs[0]:
            summary[name]["host_share"] = statistics.median(run["host_share"] for run in runs)
        for key, baseline in (("to_eager", "eager reference fp32"), ("to_plain_openvino", "plain OpenVINO bf16")):
            if baseline in rounds[0]:
                ratios = [latency(round_[name]) / latency(round_[baseline]) for round_ in rounds]
                summary[name][key] = statistics.median(ratios)
    return summary


def main() -> int:
    """Make what is missing, measure all contenders round by round, write JSON and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=1, help="timed frames a process")
    parser.add_argument("--work", type=Path, help="folder of bundles and IR (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=Path("cpu_full.json"))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    parser.add_argument("--plot", type=Path, help="draw what --out holds already, and measure nothing")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.only:
        print(json.dumps(measure_here(args.only, args.work, args.repeats)))
        return 0
    if args.plot:
        draw(json.loads(args.out.read_text(encoding="utf-8")), args.plot)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        prepare(work, args.contenders)
        flops = flops_a_frame(DEPTH_PRO)
        rounds: list[dict[str, dict[str, Any]]] = []
        for number in range(args.rounds):
            rounds.append({name: measure_apart(name, args, work) for name in ("ceiling", *args.contenders)})
            write_report(args.out, rounds, flops)  # after each: a round takes a quarter of an hour
            print(f"round {number + 1} of {args.rounds} done", file=sys.stderr)
    for name, row in summarise(rounds, flops).items():
        print(f"{name:38}", "  ".join(f"{key} {value:.3g}" for key, value in row.items()))
    return 0


def write_report(path: Path, rounds: list[dict[str, dict[str, Any]]], flops: int) -> None:
    """The measurements with what they were taken on."""
    report = {
        "machine": describe_machine(),
        "versions": versions_of(PACKAGES),
        "command": " ".join(["python", "benchmarks/cpu_full.py", *sys.argv[1:]]),
        "flops_a_frame": flops,
        "summary": summarise(rounds, flops),
        "rounds": rounds,
    }
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def draw(report: dict[str, Any], path: Path) -> None:
    """Seconds a frame and peak memory, side by side, as SVG; the line is what the bf16 products alone would take."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "edgedepth"  # the same bytes for the same report
    import matplotlib.pyplot as plt

    names = list(report["summary"])[::-1]
    colors = ["#1f77b4" if name.startswith("edgedepth") else "#b0b0b0" for name in names]
    figure, panels = plt.subplots(1, 2, figsize=(10, 0.5 * len(names) + 1.4), sharey=True, layout="constrained")
    for panel, key, unit in zip(panels, ("latency_s", "peak_rss_gb"), ("s a frame", "GB at the peak"), strict=True):
        values = [report["summary"][name][key] for name in names]
        panel.bar_label(panel.barh(names, values, color=colors), fmt="%.1f", padding=3)
        panel.set_xlabel(unit)
        panel.margins(x=0.15)
    floor_s = report["flops_a_frame"] / statistics.median(round_["ceiling"]["bf16"] for round_ in report["rounds"])
    panels[0].axvline(floor_s, color="black", linestyle=":", label=f"bf16 products alone: {floor_s:.1f} s")
    panels[0].legend(loc="lower right")
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    sys.exit(main())
