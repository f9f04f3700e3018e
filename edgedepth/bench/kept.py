"""Timings kept in the bundles that they are of."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgedepth.core.bundle import Bundle, peek_manifest
from edgedepth.core.errors import EdgeDepthError
from edgedepth.core.plain import to_plain
from edgedepth.core.progress import Announce
from edgedepth.core.reports import save_report
from edgedepth.core.runs import Entry

__all__ = ["keep_timings"]


def keep_timings(entries: Iterable[Entry], announce: Announce) -> None:
    """Write each bundle's timing into its reports/latency.json, where inspect shows it.

    A bundle that can't be written is announced, and no error: its timing is in the run all the same.
    """
    for entry in entries:
        if entry.bundle is None or entry.timing is None:
            continue
        path = Path(entry.bundle)
        try:
            bundle = Bundle(path, peek_manifest(path))
            save_report(bundle, "latency", to_plain(entry.timing), runtime=f"{entry.target} on {entry.device}")
        except EdgeDepthError as error:
            announce(f"the timing isn't kept in {path}: {error.problem}")
