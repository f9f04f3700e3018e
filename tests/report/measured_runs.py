"""Runs for the report's tests: measured for real on the mini, or drawn, where only the page's form is looked at.

python -m tests.report.measured_runs OUT    # every target that this machine can measure; a few minutes
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.runs import PICTURE_PX, RUN_FILE, Entry, Picture, Quantiles, Run, Timing, read_run, write_run
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
from edgedepth.verify.parity import ON_DEVICE
from edgedepth.verifying import verify_bundle

__all__ = [
    "COMMAND",
    "MODEL",
    "NO_GPU",
    "Depth",
    "Reference",
    "keep",
    "measured_entry",
    "measured_run",
    "quantiles",
    "save_depth",
    "save_rgb",
    "timings",
]

MODEL = "depth-pro-mini"
COMMAND = "python -m tests.report.measured_runs"
_STAGES = ("patch_encoder", "image_encoder", "decoder", "fov")
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
    return keep(folder, entries)


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
            loads_ms = [(loaded - started) * 1000]
            (timing,) = timings([model], loads_ms, next(iter(reference.photos.values())), frames)
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


def timings(models: Sequence[EdgeDepth], loads_ms: Sequence[float | None], pixels: Pixels, rounds: int) -> list[Timing]:
    """Time models in turns, so that what the machine does beside hits all of them."""
    wholes: list[list[float]] = [[] for _ in models]
    stages: list[list[Mapping[str, float]]] = [[] for _ in models]
    for _ in range(rounds + 1):
        for number, model in enumerate(models):
            started = time.perf_counter()
            result = model.infer(pixels)
            wholes[number].append((time.perf_counter() - started) * 1000)
            stages[number].append(result.timings_ms)
    return [
        Timing(
            frame=quantiles(whole[1:]),
            stages={name: quantiles([one[name] for one in stage[1:]]) for name in _STAGES if name in stage[1]},
            samples_ms=tuple(whole[1:]),
            load_ms=load_ms,
            first_frame_ms=whole[0],
        )
        for whole, stage, load_ms in zip(wholes, stages, loads_ms, strict=True)
    ]


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


def keep(folder: Path, entries: tuple[Entry, ...]) -> Run:
    """Write run.json of this machine."""
    run = Run(
        kind="matrix",
        command=COMMAND,
        created_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        machine=describe_machine(),
        versions=versions_of(("edgedepth", "numpy", "torch", "onnxruntime", "openvino", "coremltools")),
        entries=entries,
    )
    write_run(folder, run)
    return run


_TARGETS: tuple[tuple[str, Precision], ...] = (
    *(("onnx", precision) for precision in ("fp32", "fp16")),
    *(("openvino", precision) for precision in ("fp32", "fp16", "bf16")),
    ("coreml", "fp16"),
)


def _main(out: Path) -> None:
    """Every target that this machine can measure, on the sample photographs."""
    photos = {photo.path.name: photo.pixels_rgb for photo in sample_photos()}
    if not (out / "run" / RUN_FILE).is_file():
        _compare_all(out, photos)
    _time_again(out, next(iter(photos.values())))


def _compare_all(out: Path, photos: Mapping[str, Pixels]) -> None:
    bundles = []
    for target, precision in _TARGETS:
        folder = out / "bundles" / f"{target}-{precision}"
        if not folder.is_dir():
            export_bundle(MODEL, target, options=ExportOptions(precision=precision), out=folder)
        bundles.append((f"{target} {precision}", folder))
    run = measured_run(out / "run", bundles, Reference(photos, load_model(MODEL)), frames=1)
    about = {"model": MODEL, "device": "cpu"}
    peer = Entry(
        name="torch eager", target="torch", precision="fp32", status="unproven",
        reason="the reference itself: nothing to compare it with", **about,
    )  # fmt: skip
    skipped = Entry(name="tensorrt fp16", target="tensorrt", precision="fp16", status="skipped", reason=NO_GPU, **about)
    keep(out / "run", (peer, *run.entries, skipped))


def _time_again(out: Path, pixels: Pixels) -> None:
    run = read_run(out / "run")
    timed = [entry for entry in run.entries if entry.device == "cpu" and entry.status != "skipped"]
    models, loads_ms = [], []
    for entry in timed:
        started = time.perf_counter()
        place = MODEL if entry.bundle is None else out / "bundles" / entry.bundle
        backend = "torch" if entry.bundle is None else "auto"
        models.append(EdgeDepth(place, backend=backend, color="rgb", self_test="never"))
        loads_ms.append((time.perf_counter() - started) * 1000)
    found = dict(zip((entry.name for entry in timed), timings(models, loads_ms, pixels, 20), strict=True))
    keep(out / "run", tuple(replace(entry, timing=found.get(entry.name)) for entry in run.entries))


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
