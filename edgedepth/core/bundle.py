"""Bundles: a folder with a manifest and one artefact a stage, written whole and opened with suspicion."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgedepth.core.errors import (
    BundleError,
    BundleNotFoundError,
    BundlePathError,
    BundleSchemaError,
    BundleTamperedError,
)
from edgedepth.core.folders import replace_folder
from edgedepth.core.hashing import sha256_file
from edgedepth.core.manifest import FileEntry, Manifest, read_manifest, render_manifest

__all__ = ["MANIFEST", "Bundle", "BundleWriter", "is_bundle", "open_bundle", "peek_manifest", "write_bundle"]

MANIFEST = "manifest.json"
_EXPORT_AGAIN = "export it again: edgedepth export --help"


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: a folder whose manifest was understood."""

    path: Path
    manifest: Manifest

    def file(self, relative: str) -> Path:
        """The absolute path of one of the bundle's files."""
        return self.path / relative

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(entry.size for entry in self.manifest.files.values())


def is_bundle(path: Path) -> bool:
    """Whether a folder looks like a bundle (it has a manifest)."""
    return (path / MANIFEST).is_file()


def peek_manifest(path: Path) -> Manifest:
    """Read a bundle's manifest without looking at its files.

    Raises:
        BundleNotFoundError: no folder, or no manifest in it.
        BundleSchemaError: a manifest that isn't understood.
    """
    if not path.is_dir():
        problem = f"{path} is a file; a bundle is a folder" if path.exists() else f"there is no bundle at {path}"
        raise BundleNotFoundError(
            problem, remedy="edgedepth export writes one; edgedepth inspect tells what a folder is"
        )
    if not is_bundle(path):
        raise BundleNotFoundError(f"{path} has no {MANIFEST}, so it is not a bundle", remedy=_EXPORT_AGAIN)
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleSchemaError(f"{path / MANIFEST} can't be read: {error}", remedy=_EXPORT_AGAIN) from error
    return read_manifest(text, where=str(path / MANIFEST))


def open_bundle(path: str | os.PathLike[str], *, check_hashes: bool = True) -> Bundle:
    """Open a bundle.

    Args:
        path: its folder.
        check_hashes: compare every file with its SHA-256 (about a second a gigabyte); sizes are always compared.

    Raises:
        BundleNotFoundError: no folder, or no manifest in it.
        BundleSchemaError: a manifest that isn't understood, or of a newer schema.
        BundlePathError: a file name that leads out of the folder.
        BundleTamperedError: a file missing, cut short, or of other content than the manifest says.
    """
    folder = Path(path)
    manifest = peek_manifest(folder)
    for name in manifest.files:
        _refuse_escape(folder, name)
    _refuse_undeclared(manifest, folder)
    with ThreadPoolExecutor(max_workers=4) as pool:
        # hashlib lets go of the GIL, so files are read in parallel; the first error is the one raised.
        list(pool.map(lambda item: _check_file(folder, item[0], item[1], check_hashes), manifest.files.items()))
    return Bundle(folder, manifest)


class BundleWriter:
    """What write_bundle hands out: a folder to fill and finish()."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.finished = False

    def stage_folder(self, stage: str) -> Path:
        """An empty folder for a stage's artefact."""
        path = self.folder / stage
        path.mkdir()
        return path

    def file_entries(self) -> dict[str, FileEntry]:
        """SHA-256 and size of everything written so far, by path relative to the bundle."""
        paths = sorted(path for path in self.folder.rglob("*") if path.is_file() and path.name != MANIFEST)
        return {
            path.relative_to(self.folder).as_posix(): FileEntry(sha256=sha256_file(path), size=path.stat().st_size)
            for path in paths
        }

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest. A bundle without one is thrown away."""
        (self.folder / MANIFEST).write_text(render_manifest(manifest), encoding="utf-8")
        self.finished = True


@contextlib.contextmanager
def write_bundle(path: str | os.PathLike[str]) -> Iterator[BundleWriter]:
    """Write a bundle atomically: a killed or failed export leaves the old bundle or none.

    Raises:
        BundleBusyError: another process is writing the same folder.
        OutputError: the folder can't be written, the disk is full, or it holds something else.
        BundleError: the block ended without finish().
    """
    with replace_folder(Path(path), ours=is_bundle) as folder:
        writer = BundleWriter(folder)
        yield writer
        if not writer.finished:
            raise BundleError(f"the exporter did not finish {path}", remedy="report this as a bug of the exporter")


def _refuse_escape(folder: Path, name: str) -> None:
    pure = PurePosixPath(name)
    escapes = pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or not pure.parts
    # A link inside the bundle may lead out of it too; resolve() follows it.
    if escapes or not (folder / name).resolve().is_relative_to(folder.resolve()):
        raise BundlePathError(
            f"{folder / MANIFEST} names a file outside of the bundle: {name!r}",
            remedy="don't use this bundle; export it again: edgedepth export --help",
        )


def _refuse_undeclared(manifest: Manifest, folder: Path) -> None:
    used = [artefact.path for artefact in manifest.artefacts.values()] + [manifest.golden.path]
    if undeclared := [path for path in used if path not in manifest.files]:
        raise BundleSchemaError(
            f"{folder / MANIFEST} uses {undeclared[0]!r}, which is not among its files", remedy=_EXPORT_AGAIN
        )


def _check_file(folder: Path, name: str, entry: FileEntry, check_hash: bool) -> None:
    path = folder / name
    if not path.is_file():
        raise BundleTamperedError(f"{path} is missing", remedy=_EXPORT_AGAIN)
    if (size := path.stat().st_size) != entry.size:
        raise BundleTamperedError(f"{path} has {size} bytes; the manifest says {entry.size}", remedy=_EXPORT_AGAIN)
    if check_hash and (digest := sha256_file(path)) != entry.sha256:
        raise BundleTamperedError(
            f"{path} has SHA-256 {digest[:12]}…; the manifest says {entry.sha256[:12]}…", remedy=_EXPORT_AGAIN
        )
