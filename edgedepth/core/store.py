"""The artefact store: where bundles and weights live when nobody says otherwise."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from edgedepth.core.bundle import Bundle, is_bundle, peek_manifest
from edgedepth.core.errors import BundleError, OutputError

__all__ = [
    "bundle_folder",
    "bundles_folder",
    "cache_folder",
    "folder_bytes",
    "home",
    "stored_bundles",
    "surplus",
    "weights_folder",
]


def home() -> Path:
    """EDGEDEPTH_HOME, else the user's data folder as the platform has it.

    Raises:
        OutputError: this user has no home folder, as in a container that runs under a bare number.
    """
    try:
        if configured := os.environ.get("EDGEDEPTH_HOME"):
            return Path(configured).expanduser()
        return _data_folder() / "edgedepth"
    except RuntimeError as error:
        raise OutputError(f"no home folder: {error}", remedy="set EDGEDEPTH_HOME to a folder of your choice") from error


def _data_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def bundles_folder() -> Path:
    """Where export writes and EdgeDepth looks."""
    return home() / "bundles"


def weights_folder() -> Path:
    """Where downloaded weights are kept."""
    return home() / "weights"


def cache_folder() -> Path:
    """What runtimes keep to start faster. Deleting it costs time and nothing else."""
    return home() / "cache"


def bundle_folder(model: str, target: str, precision: str, layout: str = "staged") -> Path:
    """Where `export` puts a bundle when no --out is given."""
    suffix = "" if layout == "staged" else f"-{layout}"
    return bundles_folder() / f"{model}-{target}-{precision}{suffix}"


def stored_bundles() -> list[Bundle]:
    """The store's bundles, newest first, by what their manifests say. Files are not looked at.

    Folders whose manifest can't be read or isn't understood are left out: the store may be shared with a newer version.
    """
    folder = bundles_folder()
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith(".") or not is_bundle(path):
            continue
        try:
            found.append(Bundle(path, peek_manifest(path)))
        except BundleError:
            continue
    return sorted(found, key=lambda bundle: bundle.manifest.created_utc, reverse=True)


def surplus(bundles: Sequence[Bundle], *, max_bytes: int) -> list[Bundle]:
    """What has to go for the rest to fit: the oldest.

    Args:
        bundles: newest first, as stored_bundles() gives them.
        max_bytes: of all that stay.
    """
    total = 0
    for number, bundle in enumerate(bundles):
        total += bundle.size
        if total > max_bytes:
            return list(bundles[number:])
    return []


def folder_bytes(folder: Path) -> int:
    """Bytes of the files in a folder, however deep. Links are not followed, nor files that vanish meanwhile counted."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(root, name).lstat().st_size
    return total
