"""Compiled stages, kept in the artefact store so that the next start is quick.

One folder a bundle, in it one folder for everything that a compiled stage depends on: the bundle's content, OpenVINO's
version, the processor, stage, device and options. A folder appears whole (compiled into a private one, then renamed),
and what another content or version left for the same bundle is swept away when it does.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from edgedepth.core.bundle import MANIFEST
from edgedepth.core.environment import cpu_name
from edgedepth.core.store import cache_folder

__all__ = ["compiled_cache"]

_ABANDONED_S = 3600.0  # no stage takes an hour to compile

_log = logging.getLogger("edgedepth")


@contextlib.contextmanager
def compiled_cache(bundle: Path | None, what: str, version: str) -> Iterator[Path | None]:
    """A folder for OpenVINO's CACHE_DIR, to compile in inside of the block.

    A cache that can't be written is no reason not to run: a warning tells that every start will compile again.

    Args:
        bundle: the bundle's folder; None: no cache.
        what: everything else that the compiled stage depends on.
        version: OpenVINO's.

    Yields:
        The folder, or None where nothing can be kept.
    """
    place = None if bundle is None else _place(bundle, what, version)
    if place is None or place.is_dir():
        yield place
        return
    private = _private_folder(place)
    if private is None:
        yield None
        return
    try:
        yield private
        _publish(private, place)
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _place(bundle: Path, what: str, version: str) -> Path:
    manifest = (bundle / MANIFEST).read_bytes()
    kept_for = _digest(manifest + f"\0{version}\0{cpu_name()}".encode())
    name = f"{bundle.name}-{_digest(os.path.realpath(bundle).encode())}"
    return cache_folder() / "openvino" / name / f"{kept_for}-{_digest(what.encode())}"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _private_folder(place: Path) -> Path | None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=place.parent, prefix="."))
    except OSError as error:
        _log.warning(
            "compiled stages can't be kept, so every start compiles them again: %s; "
            "EDGEDEPTH_HOME names a folder that can be written",
            error,
        )
        return None


def _publish(private: Path, place: Path) -> None:
    """Put a filled folder in its place, unless another process was quicker."""
    if not any(private.iterdir()):  # the device keeps nothing, or the disk is full
        return
    with contextlib.suppress(OSError):
        private.rename(place)
    for other in place.parent.iterdir():
        if _is_stale(other, place):
            shutil.rmtree(other, ignore_errors=True)


def _is_stale(other: Path, place: Path) -> bool:
    """Whether nobody will want a folder again: of another content or version, or left by a process that was killed."""
    if other.name.startswith("."):
        with contextlib.suppress(OSError):
            return time.time() - other.stat().st_mtime > _ABANDONED_S
        return False
    return other.name.partition("-")[0] != place.name.partition("-")[0]
