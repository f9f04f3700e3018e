"""The matrix's one table, for a terminal and as Markdown. Pure."""

from __future__ import annotations

from typing import Any

from edgedepth.core.runs import Entry, Run
from edgedepth.verify.parity_report import OFF_DEVICE

__all__ = ["COLUMNS", "TABLE", "as_markdown", "table_rows"]

TABLE = "matrix.md"
COLUMNS = ("format", "status", "size MB", "AbsRel", "boundary F1", "p50 ms", "FPS", "peak MB", "why not, or where")


def table_rows(run: Run) -> list[tuple[str, ...]]:
    """A row an entry. What wasn't measured is a dash, and never zero."""
    return [_row(entry) for entry in run.entries]


def as_markdown(run: Run) -> str:
    """The table with the machine, the versions and the command that made it."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table_rows(run)]
    facts = [f"- {name}: {value}" for name, value in run.machine.items()]
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    return "\n".join(
        [f"# {run.command}", "", *lines, "", *facts, f"- versions: {versions}", f"- {run.created_utc}", ""]
    )


def _row(entry: Entry) -> tuple[str, ...]:
    figures: dict[str, Any] = (entry.parity or {}).get("end_to_end") or {}
    timing = entry.timing
    return (
        entry.name,
        entry.status,
        _number(entry.size_bytes, "{:.1f}", 1e-6),
        _number(figures.get("abs_rel"), "{:.1e}"),
        _number(figures.get("boundary_f1"), "{:.4f}"),
        _number(timing.frame.p50_ms if timing else None, "{:.1f}"),
        _number(timing.frames_per_second if timing else None, "{:.2f}"),
        _number(timing.peak_rss_bytes if timing else None, "{:.0f}", 1e-6),
        _why(entry),
    )


def _why(entry: Entry) -> str:
    if entry.status != "passed" or entry.reason:
        return entry.reason
    if entry.where == OFF_DEVICE:
        return f"{OFF_DEVICE}; not timed, for its runtime isn't on this machine"
    return entry.device


def _number(value: float | None, form: str, scale: float = 1.0) -> str:
    return "–" if value is None else form.format(value * scale)
