"""Reports that travel in a bundle: what verify and bench found out about it, after it was sealed.

A bundle's seal covers what runs. A report is measured later, on whatever machine, so it lies beside the seal, in
reports/KIND.json, and names the manifest that it is about by its SHA-256. One that names another manifest (the bundle
was made anew, engines were added) is no report of this bundle and is passed over. Like the seal it is no signature.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from edgedepth import __version__
from edgedepth.core.bundle import MANIFEST, REPORT_FILES, Bundle
from edgedepth.core.environment import describe_machine
from edgedepth.core.errors import OutputError
from edgedepth.core.files import write_file
from edgedepth.core.plain import from_plain, to_plain
from edgedepth.core.reading import read_plain

__all__ = ["ReportKind", "StoredReport", "manifest_sha256", "read_report", "save_report"]

ReportKind = Literal["parity", "latency"]

FORMAT = 1
_LIMIT = 64 << 20  # bytes

log = logging.getLogger("edgedepth")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report as it lies in a bundle.

    Args:
        manifest_sha256: of the manifest.json that it is about, hex.
        created_utc: ISO 8601, seconds.
        edgedepth: the version that measured.
        runtime: what ran the bundle: backend, version and device, in words.
        machine: describe_machine()'s facts.
        report: the JSON of the report itself.
    """

    manifest_sha256: str
    created_utc: str
    edgedepth: str
    runtime: str
    machine: dict[str, str]
    report: dict[str, Any]
    format: int = FORMAT


def save_report(bundle: Bundle, kind: ReportKind, report: dict[str, Any], *, runtime: str) -> None:
    """Put a report into a bundle, in place of the one before; the bundle's seal stays as it is.

    Args:
        bundle: that was measured.
        kind: "parity": the JSON of a ParityReport. "latency": that of a Timing (core/runs.py).
        report: JSON's plain values.
        runtime: what ran it, in words.

    Raises:
        OutputError: the bundle's folder can't be written.
    """
    path = bundle.file(REPORT_FILES[kind])
    stored = StoredReport(
        manifest_sha256=manifest_sha256(bundle),
        created_utc=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        edgedepth=__version__,
        runtime=runtime,
        machine=describe_machine(),
        report=report,
    )
    text = json.dumps(to_plain(stored), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{path.parent} can't be made: {error.strerror or error}", remedy="let this user write it, or use --no-save"
        ) from error
    write_file(path, text.encode("utf-8", "backslashreplace"))


def read_report(bundle: Bundle, kind: ReportKind) -> StoredReport | None:
    """A bundle's report, or None: there is none, it is damaged, or it is about another manifest."""
    path = bundle.file(REPORT_FILES[kind])
    try:
        stored = from_plain(StoredReport, json.loads(read_plain(path, limit=_LIMIT)), where="report")
        current = manifest_sha256(bundle)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        log.debug("%s is no report that can be read: %s", path, error)
        return None
    if stored.manifest_sha256 != current or stored.format != FORMAT:
        log.debug("%s is about another manifest than this bundle's", path)
        return None
    return stored


def manifest_sha256(bundle: Bundle) -> str:
    """Hex SHA-256 of the manifest's bytes: it holds those of all other files, so it stands for the whole bundle."""
    return hashlib.sha256((bundle.path / MANIFEST).read_bytes()).hexdigest()
