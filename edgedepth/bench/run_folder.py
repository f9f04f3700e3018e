"""A run's folder while it is being made: what is done stays done, and the same command goes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgedepth.core.errors import OutputError, RunError
from edgedepth.core.journal import Journal
from edgedepth.core.runs import RUN_FILE

__all__ = ["open_journal"]


def open_journal(folder: Path, name: str, work: Mapping[str, Any]) -> Journal:
    """Begin a run in a folder, or go on with it.

    Args:
        folder: made where it is missing.
        name: of the journal's file in it.
        work: what is being done, as JSON's plain values: only the same work goes on.

    Raises:
        RunError: the folder holds a finished run, or the beginning of another one.
        OutputError: it can't be written.
    """
    again = "choose another folder with --out, or delete this one"
    if (folder / RUN_FILE).exists():
        raise RunError(f"{folder} holds a finished run, which is not written over", remedy=again)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        first = _first_line(folder / name)
    except OSError as error:
        raise OutputError(f"{folder} can't be used: {error.strerror}", remedy="choose another with --out") from error
    before = first.get("header") if first else None
    if isinstance(before, dict) and before != json.loads(json.dumps(work)):
        changed = sorted(key for key in {*before, *work} if before.get(key) != json.loads(json.dumps(work.get(key))))
        raise RunError(f"{folder} holds the beginning of another run: {', '.join(changed)} differ", remedy=again)
    return Journal(folder / name, work)


def _first_line(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        try:
            line = json.loads(file.readline())
        except ValueError:
            return None
    return line if isinstance(line, dict) else None
