"""bench: contenders timed in turn, round after round, each in a process of its own.

Interleaved, what disturbs one disturbs all. In processes of their own, load time and peak memory are each one's, and a
runtime that crashes is a row that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from statistics import median
from typing import Any

from edgedepth.bench.children import Child, RefusedError
from edgedepth.bench.contenders import Contender, bundle_entry
from edgedepth.bench.run_folder import open_journal
from edgedepth.bench.samples import STEADY, drift, is_steady, quantiles, unsteadiness
from edgedepth.bench.worker import FRAME, MEMORY
from edgedepth.core.bundle import Bundle, peek_manifest
from edgedepth.core.environment import versions_of
from edgedepth.core.errors import OptionError
from edgedepth.core.journal import Journal
from edgedepth.core.optional import is_installed
from edgedepth.core.plain import to_plain
from edgedepth.core.progress import Progress, silent
from edgedepth.core.runs import Entry, Run, Timing, write_run
from edgedepth.core.spec import DEFAULT_TILE_BATCH
from edgedepth.machine.facts import IDENTITY, changes, machine_facts, machine_state
from edgedepth.machine.meters import Meters, open_meters
from edgedepth.machine.nvidia_smi import process_memory_bytes

__all__ = ["FRAMES", "PACKAGES", "SAMPLES", "WARM_UP", "Bench", "bench", "check_frames", "time_contenders", "utc_now"]

FRAMES = 30
SAMPLES = "samples.jsonl"
"""The journal: every timed frame as it was taken."""

PACKAGES = (
    "edgedepth",
    "numpy",
    "opencv-python",
    "torch",
    "onnxruntime",
    "openvino",
    "tensorrt",
    "tensorrt-rtx-cu13-bindings",
    "coremltools",
)
WARM_UP = 20
"""Frames of each contender that its warm-up takes at most."""

_WARM_UP_MS = 20e3  # a contender that took this long has had its warm-up
# What a CPU computes a precision in: fp16 is stored, and computed in fp32.
_COMPUTED = {"fp32": "fp32", "fp16": "fp32", "bf16": "bf16", "int8": "int8"}


@dataclass
class _Lane:
    """One contender while it is timed."""

    contender: Contender
    opened: dict[str, Any] = field(default_factory=dict)
    frames: list[dict[str, Any]] = field(default_factory=list)
    sittings: int = 0
    warm_up_ms: list[float] = field(default_factory=list)
    memory: dict[str, Any] = field(default_factory=dict)
    refused: RefusedError | None = None
    child: Child | None = None

    @property
    def runs(self) -> bool:
        return self.refused is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What time_contenders() found: entries in the contenders' order, and what the run did to the machine."""

    entries: tuple[Entry, ...]
    machine: dict[str, str]


def bench(
    contenders: Sequence[Contender],
    out: Path,
    *,
    frames: int = FRAMES,
    warm_up: int = WARM_UP,
    command: str = "edgedepth bench",
    progress: Progress = silent,
) -> Run:
    """Time contenders in turn and write the run.

    Args:
        contenders: one or more.
        out: the run's folder; a run of the same that was cut off goes on.
        frames: timed ones of each, after a warm-up until they are steady.
        warm_up: frames that the warm-up takes at most; the first one after loading is beside them.
        command: as it was typed.
        progress: told of each round.

    Returns:
        The run. A contender that can't run here is an entry that is skipped, one that breaks an entry that failed.

    Raises:
        OptionError: no contenders, or no frames.
        RunError: the folder holds another run.
        OutputError: it can't be written.
    """
    check_frames(frames, warm_up)
    if not contenders:
        raise OptionError("there is nothing to time", remedy="name bundles; edgedepth export makes them")
    machine = machine_facts()
    work = {
        "bench": [to_plain(contender) for contender in contenders],
        "frames": frames,
        "machine": {name: machine.get(name) for name in IDENTITY},
        "versions": versions_of(PACKAGES),
    }
    journal = open_journal(out, SAMPLES, work)
    try:
        measured = time_contenders(contenders, journal, frames=frames, warm_up=warm_up, progress=progress)
    finally:
        journal.close()
    run = Run(
        kind="bench",
        command=command,
        created_utc=utc_now(),
        machine=machine | measured.machine,
        versions=versions_of(PACKAGES),
        entries=measured.entries,
    )
    write_run(out, run)
    return run


def check_frames(frames: int, warm_up: int = WARM_UP) -> None:
    """Refuse numbers of frames that are none.

    Raises:
        OptionError: less than one to time, or less than none to warm up.
    """
    if frames < 1:
        raise OptionError(f"frames is {frames}; allowed are 1 and more", remedy="--frames 30")
    if warm_up < 0:
        raise OptionError(f"warm-up is {warm_up}; allowed are 0 and more", remedy=f"--warm-up {WARM_UP}")


def utc_now() -> str:
    """ISO 8601, seconds."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def time_contenders(
    contenders: Sequence[Contender],
    journal: Journal,
    *,
    frames: int,
    warm_up: int = WARM_UP,
    progress: Progress = silent,
) -> Bench:
    """Time contenders, keeping each frame in a journal; frames that it holds already are not taken again."""
    lanes = [_Lane(contender) for contender in contenders]
    for entry in journal.entries:
        _recall(lanes, entry)
    before = machine_state()
    with ExitStack() as stack:
        meters = stack.enter_context(open_meters())
        for number, lane in enumerate(lanes):
            progress(f"loading {lane.contender.name}", number, len(lanes))
            with _refusals(lane):
                _load(lane, stack, journal, frames)
        progress("measuring the ceiling", 0, 1)
        ceiling = _ceiling([lane for lane in lanes if lane.runs])
        _warm_up(lanes, warm_up, progress)
        _rounds(lanes, journal, meters, frames, progress)
        for lane in lanes:
            with _refusals(lane):
                _look_at_memory(lane)
    told = changes(before, machine_state()) | ({"energy_from": meters.names} if meters.names else {})
    progress("timed", frames, frames)
    return Bench(entries=tuple(_entry(lane, ceiling, told) for lane in lanes), machine=told)


@contextmanager
def _refusals(lane: _Lane) -> Iterator[None]:
    """Keep what a child refuses: the others go on without it."""
    try:
        yield
    except RefusedError as refused:
        lane.refused = refused
        if lane.child is not None:
            lane.child.close()


def _recall(lanes: Sequence[_Lane], entry: dict[str, Any]) -> None:
    for lane in lanes:
        if lane.contender.name == entry.get("entry"):
            if "opened" in entry:
                lane.opened, lane.sittings = entry["opened"], lane.sittings + 1
            elif "ms" in entry:
                lane.frames.append(entry)


def _load(lane: _Lane, stack: ExitStack, journal: Journal, frames: int) -> None:
    """Start the contender's process; all of them stay open until the end."""
    lane.child = stack.enter_context(Child("edgedepth.bench.worker", to_plain(lane.contender)))
    lane.opened = lane.child.answer()
    if len(lane.frames) < frames:
        lane.sittings += 1
    journal.add({"entry": lane.contender.name, "opened": lane.opened})


def _ceiling(lanes: Sequence[_Lane]) -> dict[str, Any]:
    """What this machine's matrix products reach, and what a frame of each model is worth; empty without torch."""
    if not lanes or not is_installed("torch"):
        return {}
    on_cpu = [lane for lane in lanes if _on_cpu(lane)]
    job = {
        "precisions": sorted({_COMPUTED[lane.contender.precision] for lane in on_cpu}),
        "shapes": sorted({shape for lane in on_cpu for shape in _shapes(lane.contender)}),
        "models": sorted({lane.contender.model for lane in lanes}),
    }
    try:
        with Child("edgedepth.bench.worker", {"ceiling": job}) as child:
            return child.answer()
    except RefusedError:
        return {}


def _on_cpu(lane: _Lane) -> bool:
    return str(lane.opened.get("device", "")).lower().startswith("cpu")


def _shapes(contender: Contender) -> set[tuple[int, int, int]]:
    """The products of the model's transformer on a micro-batch of tiles; none for models without tiles."""
    if contender.bundle is None:
        return set()
    manifest = peek_manifest(Path(contender.bundle))
    tiling = manifest.model.tiling
    if tiling is None:
        return set()
    rows = (manifest.tile_batch or DEFAULT_TILE_BATCH) * (tiling.grid**2 + 1)
    outputs = (stage.outputs for stage in manifest.model.stages if stage.name == "patch_encoder")
    width = next((int(tensors[0].shape[-1]) for tensors in outputs), 0)
    return {(rows, width, 3 * width), (rows, width, 4 * width), (rows, 4 * width, width)} if width else set()


def _warm_up(lanes: Sequence[_Lane], most: int, progress: Progress) -> None:
    """Frames in turn that don't count, until each contender's are steady or it has had enough."""
    for number in range(most):
        waiting = [lane for lane in lanes if lane.runs and not _is_warm(lane)]
        if not waiting:
            return
        progress(f"warming up: {', '.join(lane.contender.name for lane in waiting)}", number, most)
        for lane in lanes:  # all of them: the load of the machine shall be what it will be
            if lane.runs:
                with _refusals(lane):
                    lane.warm_up_ms.append(_frame(lane)["ms"])


def _is_warm(lane: _Lane) -> bool:
    return is_steady(lane.warm_up_ms) or sum(lane.warm_up_ms) > _WARM_UP_MS


def _rounds(lanes: Sequence[_Lane], journal: Journal, meters: Meters, frames: int, progress: Progress) -> None:
    for number in range(frames):
        progress("timing", number, frames)
        for lane in lanes:
            if lane.runs and len(lane.frames) <= number:
                with _refusals(lane):
                    start = meters.joules()
                    taken = _frame(lane) | {"entry": lane.contender.name}
                    if start is not None and (end := meters.joules()) is not None:
                        taken["joules"] = end - start
                    lane.frames.append(taken)
                    journal.add(taken)


def _frame(lane: _Lane) -> dict[str, Any]:
    assert lane.child is not None
    lane.child.ask(FRAME)
    return lane.child.answer()


def _look_at_memory(lane: _Lane) -> None:
    if lane.runs and lane.child is not None:
        lane.child.ask(MEMORY)
        lane.memory = lane.child.answer()
        if not _on_cpu(lane):
            lane.memory["peak_device_bytes"] = process_memory_bytes(lane.child.pid)


def _entry(lane: _Lane, ceiling: dict[str, Any], told: dict[str, str]) -> Entry:
    """What the run says of a contender."""
    contender = lane.contender
    if contender.bundle is None:
        entry = Entry(
            name=contender.name,
            model=contender.model,
            target=contender.target,
            precision=contender.precision,
            status="unproven",
            reason="the reference itself: parity is measured against it",
        )
    else:
        path = Path(contender.bundle)
        entry = replace(
            bundle_entry(contender.name, Bundle(path, peek_manifest(path))),
            reason=f"parity was not looked at: edgedepth verify {path}",
        )
    if lane.refused is not None:
        return replace(entry, status="skipped" if lane.refused.cannot else "failed", reason=str(lane.refused))
    return replace(entry, device=str(lane.opened["device"]), timing=_timing(lane, ceiling, told))


def _timing(lane: _Lane, ceiling: dict[str, Any], told: dict[str, str]) -> Timing:
    samples = [frame["ms"] for frame in lane.frames]
    steps = list(lane.frames[0]["stages"])
    rate: Callable[[str], float | None] = ceiling.get("flops_s", {}).get
    joules = [frame["joules"] for frame in lane.frames if "joules" in frame]
    return Timing(
        frame=quantiles(samples),
        stages={step: quantiles([frame["stages"].get(step, 0.0) for frame in lane.frames]) for step in steps},
        samples_ms=tuple(samples),
        load_ms=lane.opened["load_ms"],
        first_frame_ms=lane.opened["first_frame_ms"],
        peak_rss_bytes=lane.memory.get("peak_rss_bytes"),
        peak_device_bytes=lane.memory.get("peak_device_bytes"),
        energy_j=sum(joules) / len(joules) if joules and sum(joules) > 0 else None,
        flops=ceiling.get("flops", {}).get(lane.contender.model),
        ceiling_flops_s=rate(_COMPUTED[lane.contender.precision]) if _on_cpu(lane) else None,
        cpu_percent=100 * median(frame["cpu_ms"] / frame["ms"] for frame in lane.frames),
        notes=tuple(_notes(lane, samples, told)),
    )


def _notes(lane: _Lane, samples: Sequence[float], told: dict[str, str]) -> list[str]:
    """What a reader of the figures has to know."""
    notes = []
    moved = unsteadiness(lane.warm_up_ms)
    if moved is None or moved > STEADY:
        how = "too few to tell" if moved is None else f"the median still moved by {moved:.0%}"
        notes.append(f"not seen steady: {len(lane.warm_up_ms)} warm-up frames, {how}")
    if abs(drifted := drift(samples)) > STEADY:
        how = "slower" if drifted > 0 else "faster"
        notes.append(f"drifted: the second half of the frames was {abs(drifted):.0%} {how} than the first")
    if lane.sittings > 1:
        notes.append(f"measured in {lane.sittings} sittings: the run was cut off and went on")
    if placed := lane.opened.get("placement"):
        notes.append(f"operations placed: {placed}")
    if "throttled" in told:
        notes.append(f"throttled: {told['throttled']}")
    return notes
