"""Runs for the report's tests: measured for real on the mini, or drawn, where only the page's form is looked at.

python -m tests.report.measured_runs OUT    # every target that this machine can measure; a few minutes
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.errors import EdgeDepthError
from edgedepth.core.runs import PICTURE_PX, Entry, Picture, Quantiles, Run, Status, Timing, write_run
from edgedepth.core.spec import DEFAULT_TILE_BATCH, Precision
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporting import export_bundle
from edgedepth.facade import EdgeDepth
from edgedepth.models.loading import LoadedModel, load_model
from edgedepth.off_device import proving_backend
from edgedepth.programs.frames import as_rgb
from edgedepth.programs.opening import open_program, proof_of
from edgedepth.programs.stages import StagePool
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.torch_reference import EagerReference
from edgedepth.sample_photos import sample_photos
from edgedepth.verify.parity import OFF_DEVICE, ON_DEVICE
from edgedepth.verifying import verify_bundle

__all__ = ["Reference", "drawn_run", "measured_entry", "measured_run", "quantiles", "save_depth", "save_rgb"]

MODEL = "depth-pro-mini"
NO_GPU = "TensorRT needs an NVIDIA GPU, and this machine has none: run it on the device with edgedepth bench"

Depth = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8]


class Reference:
    """The eager reference's depth of the pictures, computed once for every entry."""

    def __init__(self, photos: Mapping[str, Pixels], model: LoadedModel) -> None:
        self.photos = photos
        seen = {name: EagerReference(model).predict(as_rgb(pixels, "rgb")) for name, pixels in photos.items()}
        self.depth = {name: result.depth for name, result in seen.items()}
        self.fov_deg = {name: result.fov_deg for name, result in seen.items()}


def measured_run(folder: Path, bundles: Sequence[tuple[str, Path]], reference: Reference, *, frames: int = 5) -> Run:
    """Verify, time and picture bundles, and keep the run in a folder.

    Args:
        folder: where run.json and the pictures go.
        bundles: names and folders of bundles; a bundle of Core ML is computed by the evaluator, and not timed.
        reference: of the pictures to compare on.
        frames: timed of each bundle.
    """
    (folder / "pictures").mkdir(parents=True)
    for name, pixels in reference.photos.items():
        save_rgb(folder, name, pixels)
        save_depth(folder, f"{name}.npz", reference.depth[name])
    entries = tuple(measured_entry(folder, name, open_bundle(path), reference, frames) for name, path in bundles)
    return _kept(folder, entries)


def measured_entry(folder: Path, name: str, bundle: Bundle, reference: Reference, frames: int) -> Entry:
    """One bundle against the reference, with its pictures."""
    report = verify_bundle(bundle, list(reference.photos.values()), color="rgb")
    parity = report.to_dict()
    backend, where = proving_backend(bundle.manifest.target)
    manifest = bundle.manifest
    depths: dict[str, Depth] = {}
    timing = None
    if where == ON_DEVICE:
        started = time.perf_counter()
        with EdgeDepth(bundle.path, color="rgb", self_test="never") as model:
            loaded = time.perf_counter()
            depths = {picture: model.infer(pixels).depth for picture, pixels in reference.photos.items()}
            timing = _timed(model, next(iter(reference.photos.values())), frames, (loaded - started) * 1000)
    else:
        batch = manifest.tile_batch or DEFAULT_TILE_BATCH
        with StagePool(lambda stage: backend.open(bundle, stage, SessionOptions())) as pool:
            program = proof_of(open_program(manifest.model, pool, layout=manifest.layout, tile_batch=batch))
            for picture, pixels in reference.photos.items():
                depths[picture] = program.predict(as_rgb(pixels, "rgb")).depth
    return Entry(
        name=name,
        model=manifest.model.name,
        target=manifest.target,
        precision=manifest.precision,
        status="passed" if report.passed else "failed",
        reason="; ".join(report.failures),
        bundle=str(bundle.path.name),
        size_bytes=bundle.size,
        device="cpu" if where == ON_DEVICE else "evaluator on the cpu",
        where=report.where,
        provenance={
            "made": manifest.created_utc,
            "weights": f"{manifest.model.source}, sha256 {manifest.model.weights_sha256}",
            "licence": manifest.model.licence,
            **{f"made with {tool}": version for tool, version in manifest.toolchain.items()},
        },
        parity=parity,
        timing=timing,
        pictures=tuple(
            _compared(folder, name, picture, depth, reference, number)
            for number, (picture, depth) in enumerate(depths.items())
        ),
    )


def _timed(model: EdgeDepth, pixels: Pixels, frames: int, load_ms: float | None) -> Timing:
    wholes, stages, first_ms = [], [], 0.0
    for number in range(frames + 1):
        started = time.perf_counter()
        result = model.infer(pixels)
        elapsed = (time.perf_counter() - started) * 1000
        if number == 0:
            first_ms = elapsed
            continue
        wholes.append(elapsed)
        stages.append(dict(result.timings_ms))
    names = ("patch_encoder", "image_encoder", "decoder", "fov")
    return Timing(
        frame=quantiles(wholes),
        stages={name: quantiles([stage[name] for stage in stages]) for name in names if name in stages[0]},
        samples_ms=tuple(wholes),
        load_ms=load_ms,
        first_frame_ms=first_ms,
    )


def quantiles(samples_ms: Sequence[float]) -> Quantiles:
    """Of a few samples."""
    p50, p90, p99 = np.percentile(samples_ms, (50, 90, 99)).tolist()
    return Quantiles(p50_ms=p50, p90_ms=p90, p99_ms=p99, mean_ms=float(np.mean(samples_ms)))


def save_rgb(folder: Path, name: str, pixels: Pixels) -> Path:
    """pictures/NAME.jpg, its longest side at most PICTURE_PX."""
    path = folder / "pictures" / f"{name}.jpg"
    cv2.imwrite(str(path), _sampled(pixels)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    return path


def save_depth(folder: Path, file: str, depth: Depth) -> Path:
    """pictures/FILE, sampled as the picture is."""
    path = folder / "pictures" / file
    np.savez_compressed(path, depth=_sampled(depth))
    return path


def _sampled(picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
    height, width = picture.shape[:2]
    scale = min(1.0, PICTURE_PX / max(height, width))
    size = (round(width * scale), round(height * scale))
    return cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST if picture.ndim == 2 else cv2.INTER_AREA)


def _compared(folder: Path, entry: str, name: str, depth: Depth, reference: Reference, number: int) -> Picture:
    file = f"{name}.{entry.replace(' ', '-')}.npz"
    save_depth(folder, file, depth)
    expected = reference.depth[name]
    width = min(PICTURE_PX, expected.shape[1] * PICTURE_PX // max(expected.shape))
    fov = np.radians(reference.fov_deg[name])
    return Picture(
        name=name,
        rgb=f"pictures/{name}.jpg",
        reference=f"pictures/{name}.npz",
        candidate=f"pictures/{file}",
        abs_rel=float(np.mean(np.abs(depth - expected) / expected)),
        focal_px=float(width / 2 / np.tan(fov / 2)),
    )


def _kept(folder: Path, entries: tuple[Entry, ...]) -> Run:
    run = Run(
        kind="matrix",
        command="edgedepth matrix --model depth-pro-mini",
        created_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        machine=describe_machine(),
        versions=versions_of(("edgedepth", "numpy", "torch", "onnxruntime", "openvino", "coremltools")),
        entries=entries,
    )
    write_run(folder, run)
    return run


def drawn_run(folder: Path, *, entries: int = 12, pictures: int = 3, side: int = PICTURE_PX, seed: int = 0) -> Run:
    """A run of the mini matrix's size, of numbers and depths that are drawn: nothing was measured.

    Every status and every kind of gap is in it. Depths have as much detail as a network's.
    """
    rng = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True)
    names = [f"picture {number}" for number in range(pictures)]
    depths = {name: _drawn_depth(rng, side) for name in names}
    for name, depth in depths.items():
        noise = cv2.GaussianBlur(rng.uniform(0, 255, (*depth.shape, 3)), (0, 0), 1.2)
        shade = (2 / depth * 255).clip(0, 255)[..., None]
        save_rgb(folder, name, (shade * 0.7 + (noise - 128) * 1.5 + 60).clip(0, 255).astype(np.uint8))
        save_depth(folder, f"{name}.npz", depth)
    statuses = get_args(Status)
    drawn = []
    for number in range(entries):
        status: Status = statuses[number] if number in (1, 2, 3) else "passed"
        entry = _drawn_entry(rng, number, status)
        if status != "skipped":
            error = 10 ** rng.uniform(-6, -2)
            compared = tuple(_drawn_picture(rng, folder, entry.name, name, depths[name], error) for name in names)
            entry = replace(entry, pictures=compared)
        drawn.append(entry)
    return _kept(folder, tuple(drawn))


def _drawn_depth(rng: np.random.Generator, side: int) -> Depth:
    height = side * 3 // 4
    y, x = np.mgrid[0:height, 0:side].astype(np.float32) / side
    depth = 3 + 4 * (1 - y) + np.float32(0)
    for _ in range(12):
        cx, cy, radius = rng.uniform(0, 1), rng.uniform(0, 0.75), rng.uniform(0.04, 0.2)
        depth[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = rng.uniform(0.8, 6)
    texture = cv2.GaussianBlur(rng.normal(0, 1, depth.shape).astype(np.float32), (0, 0), 3)
    return np.asarray(depth * (1 + 0.05 * texture), np.float32)


def _drawn_picture(
    rng: np.random.Generator, folder: Path, entry: str, name: str, depth: Depth, error: float
) -> Picture:
    noise = cv2.GaussianBlur(rng.normal(0, 1, depth.shape).astype(np.float32), (0, 0), 2) * 7
    file = f"{name}.{entry}.npz"
    save_depth(folder, file, np.asarray(depth * (1 + error * noise), np.float32))
    return Picture(
        name=name,
        rgb=f"pictures/{name}.jpg",
        reference=f"pictures/{name}.npz",
        candidate=f"pictures/{file}",
        abs_rel=error,
        focal_px=600.0,
    )


def _drawn_entry(rng: np.random.Generator, number: int, status: Status) -> Entry:
    target = ("onnx", "openvino", "coreml", "tensorrt")[number % 4]
    precision = ("fp32", "fp16", "int8")[number // 4 % 3]
    samples = tuple((rng.gamma(4, 4, 60) + 40 * (1 + number % 5)).tolist())
    timed = target != "coreml" and status != "skipped"
    stage = {name: quantiles([sample * part for sample in samples]) for name, part in _PARTS.items()}
    error = float(10 ** rng.uniform(-6, -2))
    limit = {"abs_rel": 5e-3, "max_rel": 2e-2, "fov_deg": 0.1, "stage_max_rel": 1e-2, "stage_mean_rel": 5e-3}
    parity: dict[str, Any] = {
        "passed": status == "passed",
        "images": 3,
        "where": OFF_DEVICE if target == "coreml" else ON_DEVICE,
        "end_to_end": {"abs_rel": error, "delta1": 1.0, "max_rel": error * 9, "fov_deg": error * 30},
        "stages": {name: {"max_rel": error * 5, "mean_rel": error} for name in _PARTS},
        "failures": [],
        "tolerance": limit | {"reason": "drawn"},
    }
    reasons = {"passed": "", "failed": "stage decoder max_rel is 0.3", "skipped": NO_GPU, "unproven": "not compared"}
    compared = status in ("passed", "failed")
    return Entry(
        name=f"{target} {precision} {number}",
        model=MODEL,
        target=target,
        precision=precision,
        status=status,
        reason=reasons[status],
        bundle=f"bundles/{target}-{precision}-{number}",
        size_bytes=int(rng.integers(10_000_000, 40_000_000)),
        device="cpu",
        where=str(parity["where"]) if compared else "",
        provenance={"made": "2026-01-01T00:00:00Z"},
        parity=parity if compared else None,
        timing=Timing(frame=quantiles(samples), stages=stage, samples_ms=samples, load_ms=900.0) if timed else None,
    )


_PARTS = {"patch_encoder": 0.5, "image_encoder": 0.1, "decoder": 0.3, "fov": 0.05}


_TARGETS: tuple[tuple[str, Precision], ...] = (
    *(("onnx", precision) for precision in ("fp32", "fp16")),
    *(("openvino", precision) for precision in ("fp32", "fp16", "bf16")),
    ("coreml", "fp16"),
)


def _main(out: Path) -> None:
    """Every target that this machine can measure, on the sample photographs."""
    photos = {photo.path.name: photo.pixels_rgb for photo in sample_photos()}
    reference = Reference(photos, load_model(MODEL))
    bundles = []
    for target, precision in _TARGETS:
        folder = out / "bundles" / f"{target}-{precision}"
        try:
            if not folder.is_dir():
                export_bundle(MODEL, target, options=ExportOptions(precision=precision), out=folder)
        except EdgeDepthError as error:
            sys.stderr.write(f"{target} {precision}: {error}\n")
            continue
        bundles.append((f"{target} {precision}", folder))
    run = measured_run(out / "run", bundles, reference, frames=20)
    skipped = Entry(
        name="tensorrt fp16", model=MODEL, target="tensorrt", precision="fp16", status="skipped", reason=NO_GPU
    )
    with EdgeDepth(MODEL, backend="torch", color="rgb") as model:
        timing = _timed(model, next(iter(photos.values())), 20, None)
    peer = Entry(
        name="torch eager",
        model=MODEL,
        target="torch",
        precision="fp32",
        status="unproven",
        reason="the reference itself: nothing to compare it with",
        device="cpu",
        timing=timing,
    )
    _kept(out / "run", (peer, *run.entries, skipped))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
