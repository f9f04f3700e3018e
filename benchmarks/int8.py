"""What INT8 costs and gains.

    python benchmarks/int8.py mini --calib SET --out FOLDER          figures of depth-pro-mini on rendered scenes
    python benchmarks/int8.py make BUNDLE --out FOLDER               depth-pro's patch encoder in INT8, twice
    python benchmarks/int8.py time BUNDLE --out FOLDER               and its speed, side by side
    python benchmarks/int8.py profile BUNDLE --out FOLDER            where ONNX Runtime's time goes, by operator

BUNDLE is an fp32 ONNX bundle of depth-pro; random weights do, since neither size nor speed depends on them. The
figures of `mini` are against true depth, on scenes that neither trained nor calibrated.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from edgedepth import EdgeDepth
from edgedepth.calibration.blocks import find_layers
from edgedepth.calibration.budget import parse_budget
from edgedepth.calibration.int8 import quantize_stage
from edgedepth.calibration.ranges import collect_ranges
from edgedepth.calibration.recording import Recording
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.errors import QuantizationError
from edgedepth.core.spec import StageSpec
from edgedepth.datasets import open_dataset
from edgedepth.exporting import export_bundle
from edgedepth.quantizing.exporting import export_int8_bundle
from edgedepth.quantizing.options import Int8Options
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.ort_session import OrtSession
from edgedepth.verify.boundaries import boundary_f1
from edgedepth.verify.metrics import depth_metrics

STAGE = "patch_encoder"
TILES = 5
CPU = SessionOptions(device="cpu")


def mini(args: argparse.Namespace) -> dict[str, Any]:
    """fp32, plain quantisation, and what a budget leaves, against true depth."""
    wanted: dict[str, Int8Options] = {
        f"int8, {args.budget}": Int8Options(calib=args.calib, budget=parse_budget(args.budget)),
        "int8, plain": Int8Options(calib=args.calib),
        "int8, smooth 0.5": Int8Options(calib=args.calib, smooth=0.5),
    }
    if args.decoder:
        wanted["int8, plain, decoder too"] = Int8Options(calib=args.calib, decoder=True)
    bundles = {"fp32": export_bundle("depth-pro-mini", args.target, out=args.out / "fp32")}
    refused: dict[str, dict[str, Any]] = {}
    for number, (name, int8) in enumerate(wanted.items()):
        try:
            bundles[name] = export_int8_bundle(
                "depth-pro-mini", args.target, int8=int8, out=args.out / f"int8-{number}", announce=print
            )
        except QuantizationError as error:
            refused[name] = {"refused": str(error)}
    return {name: _figures(bundle, args.scenes) for name, bundle in bundles.items()} | refused


def _figures(bundle: Bundle, scenes: int) -> dict[str, Any]:
    data = open_dataset(f"synthetic:{scenes}")
    rows = []
    with EdgeDepth(bundle.path, color="rgb") as model:
        for name in data.sample_names:
            sample = data.load(name)
            depth = model.infer(sample.image).depth
            metrics = depth_metrics(depth, sample.depth_m, sample.valid)
            rows.append((metrics.delta1, metrics.abs_rel, boundary_f1(depth, sample.depth_m, sample.valid)))
    delta1, abs_rel, f1 = np.mean(rows, axis=0)
    parity = bundle.manifest.parity or {}
    return {
        "delta1": float(delta1),
        "abs_rel": float(abs_rel),
        "boundary_f1": float(f1),
        "megabytes": bundle.size / 1e6,
        "int8_share": float(parity.get("int8_share", 0)),
    }


def make(args: argparse.Namespace) -> dict[str, Any]:
    """The patch encoder by onnxruntime's quantizer and by NNCF, on drawn tiles: only size and speed are looked at."""
    from edgedepth.exporters.to_openvino_int8 import int8_ir
    from edgedepth.exporters.to_openvino_stage import onnx_to_ir

    source, spec = _source(open_bundle(args.bundle, check_hashes=False))
    work: Path = args.out
    for number in range(args.frames):
        frame = work / "recording" / f"frame-{number:05d}"
        frame.mkdir(parents=True, exist_ok=True)
        np.savez(frame / f"{STAGE}-0000.npz", **_feeds(number))
    recording = Recording(work / "recording", range(args.frames))
    layers = find_layers(source, STAGE)
    taken: dict[str, dict[str, float]] = {}

    def step(name: str, act: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result, peak = _alone(act)
        taken[name] = {"seconds": round(time.perf_counter() - start, 1), "peak_gb": round(peak / 1e9, 2)}
        print(name, taken[name], flush=True)
        return result

    copy = _copied(source, work / "source")  # calibration writes beside the file, and a bundle is nobody's to write to
    tensors = [name for layer in layers for name in layer.inputs]
    ranges = step(
        "onnx ranges",
        lambda: collect_ranges(copy, tensors, recording, STAGE, method="minmax", state=work / "ranges.npz"),
    )
    for name in ("onnx", "openvino-int8", "openvino-bf16"):
        (work / name).mkdir(exist_ok=True)
    step("onnx int8", lambda: quantize_stage(copy, work / "onnx" / f"{STAGE}.onnx", layers, ranges))
    common: dict[str, Any] = {"fp32_weights": frozenset({"vit.patch_embed.proj.weight"}), "about": {}}
    step(
        "openvino int8",
        lambda: int8_ir(
            copy,
            work / "openvino-int8" / f"{STAGE}.xml",
            spec,
            nodes=[node for layer in layers for node in layer.nodes],
            calls=recording.calls(STAGE),
            weights_only=False,
            **common,
        ),
    )
    step(
        "openvino bf16",
        lambda: onnx_to_ir(copy, work / "openvino-bf16" / f"{STAGE}.xml", spec, precision="bf16", **common),
    )
    sizes = {name: _megabytes(work / name) for name in ("onnx", "openvino-int8", "openvino-bf16")}
    return {"steps": taken, "megabytes": sizes | {"onnx fp32": _megabytes(source.parent)}}


def timed(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a batch of tiles: onnxruntime fp32 and INT8, OpenVINO bf16 and INT8, in turn."""
    from edgedepth.runtimes.openvino_session import OpenVinoSession

    source, spec = _source(open_bundle(args.bundle, check_hashes=False))
    sessions = {
        "onnx fp32": OrtSession(source, spec, CPU),
        "onnx int8": OrtSession(args.out / "onnx" / f"{STAGE}.onnx", spec, CPU),
        "openvino bf16": OpenVinoSession(args.out / "openvino-bf16" / f"{STAGE}.xml", spec, CPU, precision="bf16"),
        "openvino int8": OpenVinoSession(args.out / "openvino-int8" / f"{STAGE}.xml", spec, CPU, precision="int8"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    feeds = _feeds()
    for number in range(args.rounds + 1):
        for name, session in sessions.items():
            start = time.perf_counter()
            session.run(feeds)
            if number:
                seconds[name].append(time.perf_counter() - start)
    found = {name: median(values) for name, values in seconds.items()}
    return {
        "seconds_of_5_tiles": {name: round(value, 3) for name, value in found.items()},
        "onnx int8 is times as fast as onnx fp32": round(found["onnx fp32"] / found["onnx int8"], 2),
        "openvino int8 is times as fast as openvino bf16": round(found["openvino bf16"] / found["openvino int8"], 2),
    }


def _alone(act: Callable[[], Any]) -> tuple[Any, int]:
    """Run in a process of its own: the result, and the bytes that it took at most."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def child() -> None:
        result = act()
        sender.send((result, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))

    process = context.Process(target=child)
    process.start()
    sender.close()
    try:
        found: tuple[Any, int] = receiver.recv()
    finally:
        process.join()
    return found


def profile(args: argparse.Namespace) -> dict[str, Any]:
    """Seconds of a batch of tiles in ONNX Runtime by kind of operator, fp32 and INT8, the longest first."""
    import onnxruntime as ort

    source, _ = _source(open_bundle(args.bundle, check_hashes=False))
    found = {}
    for name, path in (("fp32", source), ("int8", args.out / "onnx" / f"{STAGE}.onnx")):
        options = ort.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(args.out / f"profile-{name}")
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for _ in range(2):
            session.run(None, _feeds())
        events = json.loads(Path(session.end_profiling()).read_text())
        kernels = [event for event in events if event["cat"] == "Node" and event["name"].endswith("_kernel_time")]
        taken: dict[str, float] = {}
        for event in kernels[len(kernels) // 2 :]:  # the second run: the first one warms up
            taken[event["args"]["op_name"]] = taken.get(event["args"]["op_name"], 0) + event["dur"] / 1e6
        found[name] = {kind: round(taken[kind], 3) for kind in sorted(taken, key=lambda kind: -taken[kind])[:8]}
        found[name]["all"] = round(sum(taken.values()), 3)
    return found


def _source(bundle: Bundle) -> tuple[Path, StageSpec]:
    artefact = bundle.manifest.artefacts[STAGE]
    return bundle.file(artefact.path), replace(artefact.stage)


def _feeds(seed: int = 0) -> dict[str, Any]:
    tiles = np.random.default_rng(seed).uniform(-1, 1, (TILES, 3, 384, 384)).astype(np.float32)
    return {"tiles": tiles}


def _copied(source: Path, folder: Path) -> Path:
    from edgedepth.calibration.onnx_files import copy_model

    folder.mkdir(exist_ok=True)
    copy_model(source, folder / source.name)
    return folder / source.name


def _megabytes(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("mini", mini), ("make", make), ("time", timed), ("profile", profile)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--out", type=Path, required=True)
        if name == "mini":
            command.add_argument("--calib", type=Path, required=True)
            command.add_argument("--target", default="onnx")
            command.add_argument("--decoder", action="store_true")
            command.add_argument("--scenes", type=int, default=24)
            command.add_argument("--budget", default="absrel=0.005")
        else:
            command.add_argument("bundle", type=Path)
        if name == "make":
            command.add_argument("--frames", type=int, default=16, help="calls of 5 drawn tiles (default: %(default)s)")
        if name == "time":
            command.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    measured = args.run(args)
    versions = versions_of(("onnxruntime", "openvino", "nncf", "torch"))
    print(json.dumps({"machine": describe_machine(), "versions": versions, "measured": measured}, indent=2))


if __name__ == "__main__":
    main()
