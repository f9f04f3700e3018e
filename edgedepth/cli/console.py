"""What the command line prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from edgedepth.core.errors import EdgeDepthError
from edgedepth.core.optional import is_installed
from edgedepth.core.progress import Progress

__all__ = ["error_facts", "note", "print_error", "print_json", "print_table", "progress_bar", "show_log"]


def note(line: str) -> None:
    """Tell a person something that is not a result."""
    print(line, file=sys.stderr, flush=True)


def print_json(data: Any) -> None:
    """The one JSON document of a command with --json."""
    print(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def print_error(error: EdgeDepthError, *, as_json: bool) -> None:
    """Two lines: what was wrong, and what cures it. With --json the same on stdout as well."""
    note(f"edgedepth: error: {error.problem}")
    note(f"  try: {error.remedy}")
    if as_json:
        print_json({"error": error_facts(error)})


def error_facts(error: EdgeDepthError) -> dict[str, str]:
    """An error as JSON has it."""
    return {"type": type(error).__name__, "problem": error.problem, "remedy": error.remedy}


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> None:
    """A table on stdout: drawn by rich on a terminal, aligned plain text in a pipe or without rich."""
    if sys.stdout.isatty() and is_installed("rich"):
        from rich.console import Console
        from rich.table import Table

        table = Table(*columns, title=title or None, title_justify="left")
        for row in rows:
            table.add_row(*(cell.replace("[", "\\[") for cell in row))
        Console().print(table)
        return
    if title:
        print(title)
    widths = [max(len(line[i]) for line in (columns, *rows)) for i in range(len(columns))]
    for line in (columns, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@contextmanager
def progress_bar(*, every: int = 1) -> Iterator[Progress]:
    """A Progress for a library call: a bar on a terminal, elsewhere a line for `every` so many steps and the last.

    A total of 0 is one that nobody knows.
    """
    if not (sys.stderr.isatty() and is_installed("rich")):

        def line(step: str, done: int, total: int) -> None:
            if done % every == 0 or done == total:
                note(f"[{done}/{total}] {step}" if total else f"[{done}] {step}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with RichProgress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda step, done, total: bar.update(task, description=step, completed=done, total=total or None)


class _Lines(logging.Handler):
    """Log records as plain lines on whatever sys.stderr is at the time."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        note(prefix + record.getMessage())


def show_log(*, verbose: bool) -> None:
    """Show the library's log on stderr: what was chosen, and every warning."""
    logger = logging.getLogger("edgedepth")
    logger.handlers = [_Lines()]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False
