"""Runs as rows of one report: read, checked for one machine, and what verify and bench say of a bundle put together."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase

from edgedepth.core.errors import RunError
from edgedepth.core.runs import Entry, Run, read_run

__all__ = ["Row", "Source", "check_machines", "gather", "machine_differences", "rows_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A run and where it lies.

    Args:
        label: "A", "B" …; empty where there is one run.
        folder: its pictures' paths start here.
        run: what it says.
    """

    label: str
    folder: Path
    run: Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One entry, as the report has it.

    Args:
        name: the entry's, with the run's label where there are several.
        entry: what was found out of it.
        sources: the runs that said so: one, or two that were put together.
        pictures_folder: where its pictures' paths start.
    """

    name: str
    entry: Entry
    sources: tuple[Source, ...]
    pictures_folder: Path


def gather(paths: Sequence[str | os.PathLike[str]], *, cross_device: bool = False) -> tuple[list[Source], list[Row]]:
    """Read runs, in the order given.

    Args:
        paths: their folders, or their run.json.
        cross_device: take runs of different machines.

    Raises:
        RunError: a run that can't be read, one that is named twice, no entries, timings that can't be, or different
            machines without cross_device.
    """
    folders = [path if path.is_dir() else path.parent for path in map(Path, paths)]
    for folder, again in zip(folders, _repeated(folders), strict=True):
        if again:
            raise RunError(f"{folder} is named twice", remedy="name each run once")
    runs = [read_run(Path(path)) for path in paths]
    labels = [""] if len(runs) == 1 else [_label(number) for number in range(len(runs))]
    sources = [Source(label=la, folder=fo, run=run) for la, fo, run in zip(labels, folders, runs, strict=True)]
    if not any(run.entries for run in runs):
        raise RunError("there is nothing to report: the runs have no entries", remedy="measure something first")
    for source in sources:
        _check_timings(source)
    if not cross_device:
        check_machines(sources)
    return sources, rows_of(sources)


def _check_timings(source: Source) -> None:
    """Refuse durations that no clock gives: rates are taken of them."""
    for entry in source.run.entries:
        if (timing := entry.timing) is None:
            continue
        frame, ceiling = timing.frame, timing.ceiling_flops_s
        parts = [stage.p50_ms for stage in timing.stages.values()]
        if (
            min(frame.p50_ms, frame.p90_ms, frame.p99_ms) <= 0
            or min([*parts, *timing.samples_ms, 0]) < 0
            or ceiling == 0
        ):
            raise RunError(
                f"{source.folder}: {entry.name} has timings of nothing or less, p50 {frame.p50_ms} ms",
                remedy="measure again: edgedepth bench",
            )


def check_machines(sources: Sequence[Source]) -> None:
    """Refuse runs of different machines: their figures stand beside each other and can't be compared.

    Raises:
        RunError: naming the two runs and what differs.
    """
    first = sources[0]
    for other in sources[1:]:
        if different := machine_differences(first.run, other.run):
            told = "; ".join(f"{key}: {a!r} and {b!r}" for key, a, b in different[:3])
            raise RunError(
                f"{first.folder} and {other.folder} are of different machines ({told})",
                remedy="report each by itself, or add --cross-device: then every row says which run it is of",
            )


def machine_differences(one: Run, other: Run) -> list[tuple[str, str, str]]:
    """Facts that both runs tell of their machines, and tell differently: (fact, this, that).

    What one alone tells doesn't count: bench looks closer than verify.
    """
    common = [key for key in one.machine if key in other.machine]
    return [(key, one.machine[key], other.machine[key]) for key in common if one.machine[key] != other.machine[key]]


def rows_of(sources: Sequence[Source]) -> list[Row]:
    """Every entry of every run; of one bundle on one machine, a proof and a timing become one row."""
    rows: list[Row] = []
    for source in sources:
        for entry in source.run.entries:
            fitting = (number for number, row in enumerate(rows) if _complements(row, entry, source))
            number = next(fitting, None)
            if number is None:
                rows.append(_row(entry, (source,), source.folder))
            else:
                rows[number] = _joined(rows[number], entry, source)
    return rows


def _complements(row: Row, entry: Entry, source: Source) -> bool:
    """Whether a row lacks what an entry has, and both are of one artefact, made once, on one machine."""
    mine = row.entry
    return (
        len(row.sources) == 1
        and row.sources[0] is not source
        and mine.bundle is not None
        and all(getattr(mine, name) == getattr(entry, name) for name in _IDENTITY)
        and not machine_differences(row.sources[0].run, source.run)
        and (mine.parity is None) != (entry.parity is None)
        and (mine.timing is None) != (entry.timing is None)
        and (mine.parity is None) != (mine.timing is None)
    )


_IDENTITY = ("bundle", "provenance", "model", "target", "precision", "size_bytes")


def _joined(row: Row, entry: Entry, source: Source) -> Row:
    """The proof's verdict and pictures, the other's timing."""
    proof_first = row.entry.parity is not None
    proven, timed = (row.entry, entry) if proof_first else (entry, row.entry)
    whole = replace(proven, timing=timed.timing, device=timed.device or proven.device, name=row.entry.name)
    return _row(whole, (*row.sources, source), row.pictures_folder if proof_first else source.folder)


def _row(entry: Entry, sources: tuple[Source, ...], pictures_folder: Path) -> Row:
    labels = "+".join(source.label for source in sources)
    name = f"{entry.name} · {labels}" if labels else entry.name
    return Row(name=name, entry=entry, sources=sources, pictures_folder=pictures_folder)


def _label(number: int) -> str:
    """A, B … Z, A1, B1 …"""
    times, letter = divmod(number, len(ascii_uppercase))
    return ascii_uppercase[letter] + (str(times) if times else "")


def _repeated(folders: Iterable[Path]) -> list[bool]:
    seen: set[Path] = set()
    found = []
    for folder in folders:
        resolved = folder.resolve()
        found.append(resolved in seen)
        seen.add(resolved)
    return found
