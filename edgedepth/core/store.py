"""The artefact store: where bundles and weights live when nobody says otherwise."""

from __future__ import annotations

import contextlib
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedepth.core.bundle import Bundle, check_bundle_target, is_bundle, peek_manifest, remove_bundle
from edgedepth.core.errors import BundleError, OptionError, OutputError
from edgedepth.core.manifest import Manifest
from edgedepth.core.pack import is_pack, open_pack, remove_pack

__all__ = [
    "LIMIT_VARIABLE",
    "Stored",
    "bundle_folder",
    "bundles_folder",
    "cache_folder",
    "check_room",
    "folder_bytes",
    "home",
    "stored",
    "stored_bundles",
    "surplus",
    "weights_folder",
]


LIMIT_VARIABLE = "EDGEDEPTH_STORE_MAX_GB"
"""The environment variable that says how much the store's bundles may take, in units of 10^9 bytes."""


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


@dataclass(frozen=True, slots=True)
class Stored:
    """A bundle or a pack in the store, as its manifests tell it.

    Args:
        path: the folder.
        bundles: the bundle; of a pack all of them, the preferred ones first.
    """

    path: Path
    bundles: tuple[Bundle, ...]

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """Of its bundles."""
        return tuple(bundle.manifest for bundle in self.bundles)

    @property
    def model(self) -> str:
        """Its name; a pack holds one."""
        return self.manifests[0].model.name

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(bundle.size for bundle in self.bundles)

    @property
    def created_utc(self) -> str:
        """ISO 8601; of a pack the newest bundle's."""
        return max(manifest.created_utc for manifest in self.manifests)

    def remove(self) -> None:
        """Delete it; errors as remove_bundle."""
        if is_pack(self.path):
            remove_pack(self.path)
        else:
            remove_bundle(self.path)


def stored() -> list[Stored]:
    """The store's bundles and packs, newest first, by what their manifests say. Files are not looked at.

    Folders whose manifest can't be read or isn't understood are left out: the store may be shared with a newer version.
    """
    folder = bundles_folder()
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith("."):
            continue
        with contextlib.suppress(BundleError):
            if is_pack(path):
                found.append(Stored(path, tuple(open_pack(path).bundles.values())))
            elif is_bundle(path):
                found.append(Stored(path, (Bundle(path, peek_manifest(path)),)))
    return sorted(found, key=lambda one: one.created_utc, reverse=True)


def stored_bundles() -> list[Bundle]:
    """The bundles among stored(); those inside of packs are left out."""
    return [one.bundles[0] for one in stored() if not is_pack(one.path)]


def check_room(folder: Path) -> None:
    """Raise what writing a bundle there would raise now, or a store that is full by its owner's word.

    Nothing is deleted for a new bundle: `edgedepth store prune` does it when it is told to.

    Args:
        folder: of the new bundle; what stands there is replaced and doesn't count. Outside of the store nothing does.

    Raises:
        OutputError: the store's bundles take what EDGEDEPTH_STORE_MAX_GB allows; or as check_bundle_target.
        BundleBusyError: as check_bundle_target.
        OptionError: EDGEDEPTH_STORE_MAX_GB is no size.
    """
    check_bundle_target(folder)
    limit = _limit_gb()
    if limit is None or folder.parent != bundles_folder():
        return
    held = sum(one.size for one in stored() if one.path != folder) / 1e9
    if held >= limit:
        raise OutputError(
            f"the store's bundles take {held:.3g} GB, and {LIMIT_VARIABLE} allows {limit:g}",
            remedy=f"edgedepth store prune --max-gb {limit / 2:g}, or name a folder elsewhere with --out",
        )


def _limit_gb() -> float | None:
    text = os.environ.get(LIMIT_VARIABLE)
    if not text:
        return None
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not (math.isfinite(limit) and limit >= 0):
        raise OptionError(f"{LIMIT_VARIABLE} is {text!r}; allowed are sizes in GB", remedy=f"{LIMIT_VARIABLE}=20")
    return limit


def surplus(bundles: Sequence[Stored], *, max_bytes: int) -> list[Stored]:
    """What has to go for the rest to fit: the oldest.

    Args:
        bundles: newest first, as stored() gives them.
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
