"""What the command line prints: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from edgedepth.core.errors import EdgeDepthError
from edgedepth.core.optional import is_installed
from edgedepth.core.progress import Progress

__all__ = ["TimeLeft", "error_facts", "note", "print_error", "print_json", "print_table", "progress_bar", "show_log"]


def note(line: str) -> None:
    """Tell a person something that is not a result."""
    print(_utf8(line), file=sys.stderr, flush=True)


def print_json(data: Any) -> None:
    """The one JSON document of a command with --json."""
    print(_utf8(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)))


def _utf8(text: str) -> str:
    """File names need not be UTF-8. What isn't becomes \\udcff, which is JSON's own word for it."""
    return text.encode("utf-8", "backslashreplace").decode()


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
def progress_bar(*, every: int = 1, eta: bool = False) -> Iterator[Progress]:
    """A Progress for a library call: a bar on a terminal, elsewhere a line for `every` so many steps and the last.

    A total of 0 is one that nobody knows. With `eta`, how long the rest will take is told as well.
    """
    left = TimeLeft()
    if not (sys.stderr.isatty() and is_installed("rich")):

        def line(step: str, done: int, total: int) -> None:
            if done % every == 0 or done == total:
                place = f"[{done}/{total}]" if total else f"[{done}]"
                note(f"{place} {step}" + (left.words(done, total) if eta else ""))
            elif eta:
                left.words(done, total)

        yield line
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    columns: list[ProgressColumn] = [
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        *([TimeRemainingColumn()] if eta else []),
    ]
    with RichProgress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        yield lambda step, done, total: bar.update(task, description=step, completed=done, total=total or None)


class TimeLeft:
    """How long the rest of some work will take, by the pace since the first step that was told.

    Args:
        clock: in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, int] | None = None

    def words(self, done: int, total: int) -> str:
        """ ", 2 min left"; "" where there is nothing to tell."""
        if self._first is None:
            self._first = (self._clock(), done)
        start, begun = self._first
        if not begun < done < total:
            return ""
        seconds = (self._clock() - start) * (total - done) / (done - begun)
        if seconds < 99:
            return f", {seconds:.0f} s left"
        return f", {seconds / 60:.0f} min left" if seconds < 99 * 60 else f", {seconds / 3600:.1f} h left"


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
