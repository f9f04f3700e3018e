"""matrix: export, verify and time everything that works here; a row that fails doesn't stop the others."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedepth.bench.children import Child, RefusedError
from edgedepth.bench.contenders import Contender, choose_contenders
from edgedepth.bench.kept import keep_timings
from edgedepth.bench.run_folder import open_journal
from edgedepth.bench.running import PACKAGES, SAMPLES, WARM_UP, check_frames, time_contenders, utc_now
from edgedepth.calibrating import calibrate
from edgedepth.calibration.sets import open_calibration_set
from edgedepth.core.environment import versions_of
from edgedepth.core.errors import EdgeDepthError, OptionError
from edgedepth.core.files import write_file
from edgedepth.core.hashing import sha256_files
from edgedepth.core.journal import Journal
from edgedepth.core.plain import from_plain, to_plain
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.core.runs import Entry, Run, write_run
from edgedepth.machine.facts import IDENTITY, machine_facts
from edgedepth.matrix.planning import Row
from edgedepth.matrix.row import RowJob
from edgedepth.matrix.table import TABLE, as_markdown
from edgedepth.models.registry import model_entry
from edgedepth.runtimes.base import backend_named

__all__ = ["FRAMES", "ROWS", "MatrixOptions", "make_matrix"]

FRAMES = 10
ROWS = "rows.jsonl"
"""The journal: each row as it was verified."""

_BUNDLES, _CALIB = "bundles", "calib"
_SCENES, _CALIBRATING = 16, 8  # rendered, and taken of them


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixOptions:
    """What a matrix is made of.

    Args:
        model: its name.
        rows: the exports.
        images: two or more picture files, which all rows are verified on.
        frames: timed ones of each row.
        warm_up: frames that its warm-up takes at most.
        weights: the checkpoint; None: as export finds it.
        calib: the calibration set of the INT8 rows; None: rendered scenes, which are no scenes of yours.
        peers: timed beside the rows.

    Raises:
        OptionError: an unknown model, no frames.
    """

    model: str
    rows: tuple[Row, ...]
    images: tuple[Path, ...]
    frames: int = FRAMES
    warm_up: int = WARM_UP
    weights: str | None = None
    calib: Path | None = None
    peers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can't be met before anything is exported."""
        model_entry(self.model)
        check_frames(self.frames, self.warm_up)
        if len(self.images) < 2:
            raise OptionError(
                f"got {len(self.images)} pictures; parity needs two at least", remedy="--images DIR with more pictures"
            )


def make_matrix(
    options: MatrixOptions,
    out: Path,
    *,
    command: str = "edgedepth matrix",
    progress: Progress = silent,
    announce: Announce = unheard,
) -> Run:
    """Export, verify and time, and write the run and the table.

    Args:
        options: the rows, and what they are measured with.
        out: the run's folder; bundles go to bundles/ in it. A run of the same that was cut off goes on.
        command: as it was typed.
        progress: told of each step.
        announce: told what a person has to know.

    Returns:
        The run: an entry a row, in their order, then the peers.

    Raises:
        RunError: the folder holds another run.
        OutputError: it can't be written.
        CalibrationError: the calibration set can't be used.
    """
    machine = machine_facts()
    if options.calib is not None:
        open_calibration_set(options.calib)  # refused now, and not in the middle
    with _journal(out, ROWS, _work(options, machine)) as journal:
        entries = _verified_rows(options, out, journal, progress, announce)
    contenders = _contenders(options, entries)
    state: dict[str, str] = {}
    if contenders:
        work = {"matrix": [to_plain(contender) for contender in contenders], "frames": options.frames}
        with _journal(out, SAMPLES, work) as journal:
            measured = time_contenders(
                contenders, journal, frames=options.frames, warm_up=options.warm_up, progress=progress
            )
        entries, state = _with_timings(entries, measured.entries), measured.machine
        keep_timings(entries, announce)
    run = Run(
        kind="matrix",
        command=command,
        created_utc=utc_now(),
        machine=machine | state,
        versions=versions_of(PACKAGES),
        entries=tuple(entries),
    )
    write_file(out / TABLE, as_markdown(run).encode())
    write_run(out, run)  # last: a folder with it is finished
    return run


@contextmanager
def _journal(out: Path, name: str, work: dict[str, Any]) -> Iterator[Journal]:
    journal = open_journal(out, name, work)
    try:
        yield journal
    finally:
        journal.close()


def _work(options: MatrixOptions, machine: dict[str, str]) -> dict[str, Any]:
    """What has to be the same for a run to go on."""
    return {
        "model": options.model,
        "rows": [row.name for row in options.rows],
        "images": sha256_files(list(options.images)),
        "weights": options.weights,
        "calib": None if options.calib is None else str(options.calib.resolve()),
        "machine": {name: machine.get(name) for name in IDENTITY},
        "versions": versions_of(PACKAGES),
    }


def _verified_rows(
    options: MatrixOptions, out: Path, journal: Journal, progress: Progress, announce: Announce
) -> list[Entry]:
    done = {kept["row"]: from_plain(Entry, kept["entry"], where="entry") for kept in journal.entries}
    entries = []
    for number, row in enumerate(options.rows):
        # What failed is tried again: it may have been the memory, or what was installed since.
        if row.name not in done or done[row.name].status == "failed":

            def tell(step: str, done: int = number, name: str = row.name) -> None:
                progress(f"{name}: {step}", done, len(options.rows))

            done[row.name] = entry = _make_row(options, row, out, tell, announce)
            journal.add({"row": row.name, "entry": to_plain(entry)})
        entries.append(done[row.name])
    progress("exported and verified", len(options.rows), len(options.rows))
    return entries


def _make_row(options: MatrixOptions, row: Row, out: Path, tell: Any, announce: Announce) -> Entry:
    """Export and verify in a process of its own; whatever happens to it is an entry."""
    missing = Entry(name=row.name, model=options.model, target=row.target, precision=row.precision, status="failed")
    tell("starting")
    try:
        job = RowJob(
            model=options.model,
            row=row,
            bundle=str(out / _BUNDLES / f"{row.target}-{row.precision}"),
            run=str(out),
            images=tuple(map(str, options.images)),
            weights=options.weights,
            calib=str(_calibration_set(options, out, tell)) if row.calibrated else None,
        )
        with Child("edgedepth.matrix.row", to_plain(job)) as child:
            while "entry" not in (told := child.answer()):
                if "progress" in told:
                    tell(told["progress"])
                else:
                    announce(f"{row.name}: {told['announce']}")
            return from_plain(Entry, told["entry"], where="entry")
    except RefusedError as refused:
        return replace(missing, status="skipped" if refused.cannot else "failed", reason=str(refused))
    except EdgeDepthError as error:
        return replace(missing, reason=str(error))


def _calibration_set(options: MatrixOptions, out: Path, tell: Any) -> Path:
    if options.calib is not None:
        return options.calib
    folder = out / _CALIB
    if not folder.is_dir():
        tell("rendering scenes to calibrate on")
        calibrate(f"synthetic:{_SCENES}", folder, count=_CALIBRATING, model=options.model)
    return folder


def _contenders(options: MatrixOptions, entries: Sequence[Entry]) -> list[Contender]:
    """The rows that run here, whether their parity holds or not, and the peers."""
    runs = [
        entry.bundle
        for entry in entries
        if entry.bundle and entry.status != "skipped" and backend_named(entry.target).availability().devices
    ]
    folders: list[str | os.PathLike[str]] = list(runs)
    return choose_contenders(folders, peers=options.peers, weights=options.weights) if folders else []


def _with_timings(entries: Sequence[Entry], timed: Sequence[Entry]) -> list[Entry]:
    """The verified entries with what was timed of them; a row that can't be timed keeps its parity, and fails."""
    by_name = {entry.name: entry for entry in timed}
    merged = []
    for entry in entries:
        timing = by_name.pop(entry.name, None)
        if timing is None:
            merged.append(entry)
        elif timing.timing is not None:
            merged.append(replace(entry, timing=timing.timing, device=timing.device))
        else:
            reason = "; ".join(filter(None, (entry.reason, f"not timed: {timing.reason}")))
            merged.append(replace(entry, status="failed", reason=reason))
    return merged + list(by_name.values())
