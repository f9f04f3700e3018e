"""Runs: what verify, bench and matrix found out, kept in a folder that `edgedepth report` makes a page of.

A run is a folder with run.json and, where pictures were compared, what they looked like:

    run.json                    Run
    pictures/PICTURE.jpg        the input, longest side at most PICTURE_PX
    pictures/PICTURE.npz        the reference's depth, (h, w) float32 in metres, sampled to the same size
    pictures/PICTURE.ENTRY.npz  a candidate's
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgedepth.core.errors import RunError
from edgedepth.core.files import write_file
from edgedepth.core.plain import from_plain, to_plain

__all__ = [
    "PICTURE_PX",
    "RUN_FILE",
    "Entry",
    "Kind",
    "Picture",
    "Quantiles",
    "Run",
    "Status",
    "Timing",
    "read_run",
    "write_run",
]

RUN_FILE = "run.json"
PICTURE_PX = 640
FORMAT = 1

Kind = Literal["verify", "bench", "matrix"]
Status = Literal["passed", "failed", "skipped", "unproven"]
"""Of an entry: its parity holds; it doesn't, or it couldn't be made; it can't run here; nobody looked (bench alone)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiles:
    """Milliseconds of repeated runs of one thing."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How fast an entry was, on the machine of its run. What wasn't measured is None, and never zero.

    Args:
        frame: from picture to metres.
        stages: each session's part, by stage.
        samples_ms: every timed frame, in the order taken.
        load_ms: until the first frame could be given.
        first_frame_ms: of the first one after loading.
        peak_rss_bytes: of the process that ran this entry alone.
        peak_device_bytes: of an accelerator's memory.
        energy_j: a frame.
        flops: a frame, of the network's own arithmetic.
        ceiling_flops_s: the best rate of matrix products in this entry's precision, measured in the same run.
        cpu_percent: of one core, so that 200 is two busy cores.
        notes: throttling, unstable clocks: what a reader has to know.
    """

    frame: Quantiles
    stages: dict[str, Quantiles]
    samples_ms: tuple[float, ...]
    load_ms: float | None = None
    first_frame_ms: float | None = None
    peak_rss_bytes: int | None = None
    peak_device_bytes: int | None = None
    energy_j: float | None = None
    flops: float | None = None
    ceiling_flops_s: float | None = None
    cpu_percent: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def frames_per_second(self) -> float:
        """One after the other, at the median."""
        return 1000 / self.frame.p50_ms

    @property
    def ceiling_fraction(self) -> float | None:
        """The part of the ceiling that the median frame reached."""
        if self.flops is None or self.ceiling_flops_s is None:
            return None
        return self.flops * self.frames_per_second / self.ceiling_flops_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One compared picture of one entry. Paths are inside the run's folder.

    Args:
        name: as people know it: the photograph's file name.
        rgb: the picture, a JPEG.
        reference: NPZ with `depth`, the reference's.
        candidate: NPZ with `depth`, the entry's.
        abs_rel: of the two at full resolution; None where it is not finite.
        focal_px: the reference's focal length for the sampled size; None where it tells none.
    """

    name: str
    rgb: str
    reference: str
    candidate: str
    abs_rel: float | None = None
    focal_px: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that was measured: a bundle, or a peer beside it.

    Args:
        name: one of its kind within a run: "onnx fp32", "torch eager".
        model: "depth-pro-mini".
        target: "onnx", "torch".
        precision: "fp16".
        status: see Status.
        reason: why it failed, was skipped or is unproven, with what cures it; empty where it passed.
        bundle: its folder; None for a peer.
        size_bytes: of the bundle on disk.
        device: that the frames ran on: "cpu", "cuda:0".
        where: "verified on the device" or "verified off-device"; empty without parity.
        provenance: what the manifest says of the bundle's making, as words.
        parity: the JSON of a ParityReport; None where nothing was compared.
        quality: figures against ground truth: {"candidate": {...}, "reference": {...}, "intervals": {...}}.
        timing: None where nothing was timed.
        pictures: what was compared, to look at.
    """

    name: str
    model: str
    target: str
    precision: str
    status: Status
    reason: str = ""
    bundle: str | None = None
    size_bytes: int | None = None
    device: str = ""
    where: str = ""
    provenance: dict[str, str] = field(default_factory=dict)
    parity: dict[str, Any] | None = None
    quality: dict[str, Any] | None = None
    timing: Timing | None = None
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything of one run on one machine.

    Args:
        kind: the command that made it.
        command: as it was typed.
        created_utc: ISO 8601.
        machine: describe_machine()'s facts and more: what a measurement has to carry.
        versions: of the libraries that took part.
        entries: in the order of the table.
    """

    kind: Kind
    command: str
    created_utc: str
    machine: dict[str, str]
    versions: dict[str, str]
    entries: tuple[Entry, ...]
    format: int = FORMAT


def write_run(folder: Path, run: Run) -> Path:
    """Write run.json, whole or not at all.

    Raises:
        OutputError: it can't be written.
    """
    text = json.dumps(to_plain(run), indent=1, ensure_ascii=False, allow_nan=False)
    return write_file(folder / RUN_FILE, text.encode())


def read_run(folder: Path) -> Run:
    """Read what write_run wrote. The pictures are not looked at.

    Raises:
        RunError: there is no run.json, or it isn't one of this version.
    """
    path = folder / RUN_FILE if folder.is_dir() else folder
    cure = "name a folder that edgedepth verify, bench or matrix wrote with --out"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path} can't be read: {error.strerror or error}", remedy=cure) from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not a run: {error}", remedy=cure) from error
    if isinstance(data, dict) and data.get("format", FORMAT) != FORMAT:
        raise RunError(
            f"{path} has format {data['format']!r}; this version reads {FORMAT}", remedy="measure again, or upgrade"
        )
    try:
        return from_plain(Run, data, where="run")
    except ValueError as error:
        raise RunError(f"{path} is not a run: {error}", remedy=cure) from error
