"""What was found out about a bundle on this device, kept in the store: deleting it costs time and nothing else."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

from edgedepth.core.bundle import MANIFEST, Bundle
from edgedepth.core.environment import cpu_name
from edgedepth.core.store import home

__all__ = ["recall", "remember"]

log = logging.getLogger("edgedepth")


def recall(kind: str, bundle: Bundle, runtime: str) -> dict[str, Any] | None:
    """What was remembered, or None.

    Args:
        kind: of finding, a folder of the store: "proven".
        bundle: that it is about.
        runtime: backend, version and device, in words. Another one, or another processor, knows nothing of it.
    """
    try:
        found = json.loads(_file(kind, bundle, runtime).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def remember(kind: str, bundle: Bundle, runtime: str, found: dict[str, Any]) -> None:
    """Keep a finding, see recall(). A store that can't be written is a warning: it is found out again next time."""
    file = _file(kind, bundle, runtime)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"runtime": runtime, **found}) + "\n", encoding="utf-8")
    except OSError as error:
        log.warning("what was found out can't be remembered (%s), and is found out again next time: %s", kind, error)


def _file(kind: str, bundle: Bundle, runtime: str) -> Path:
    digest = hashlib.sha256((bundle.path / MANIFEST).read_bytes())
    digest.update(f"\0{runtime}\0{cpu_name()}".encode())
    return home() / kind / f"{digest.hexdigest()[:32]}.json"
