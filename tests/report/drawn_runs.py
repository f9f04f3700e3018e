"""Runs whose numbers and depths are drawn, for tests of the page's form: nothing was measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np

from edgedepth.core.runs import PICTURE_PX, Entry, Picture, Run, Status, Timing
from edgedepth.verify.parity import OFF_DEVICE, ON_DEVICE

from .measured_runs import MODEL, NO_GPU, Depth, keep, quantiles, save_depth, save_rgb

__all__ = ["drawn_run"]

_PARTS = {"patch_encoder": 0.5, "image_encoder": 0.1, "decoder": 0.3, "fov": 0.05}


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
    return keep(folder, tuple(drawn))


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
