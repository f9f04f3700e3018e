"""Bundles: a folder with a manifest and one artefact a stage, written whole and opened with suspicion.

The manifest holds the SHA-256 of every other file; manifest.sha256 holds the manifest's (`sha256sum -c` reads it). So
a flipped bit, a cut file or an edit by hand is found wherever it is. It is no signature: who can write the folder can
write both. manifest.json.minisig, where a bundle was signed, is one (core/signing.py).

A bundle is exactly what its manifest says: plain files, each declared, and no links. A file that nobody declared is
refused, since a runtime might pick it up and no hash covers it; only what file managers drop into every folder is let
pass, and reports (core/reports.py), which are measured after a bundle was sealed and which nothing runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgedepth.core.errors import (
    BundleError,
    BundleNotFoundError,
    BundlePathError,
    BundleSchemaError,
    BundleTamperedError,
    EngineError,
)
from edgedepth.core.file_stamps import FileStamp, stamp_of
from edgedepth.core.folders import check_replaceable, remove_folder, replace_folder, set_aside
from edgedepth.core.hashing import sha256_files
from edgedepth.core.manifest import FileEntry, Manifest, read_manifest, render_manifest
from edgedepth.core.signing import SIGNATURE, check_signature

__all__ = [
    "DROPPINGS",
    "MANIFEST",
    "MANIFEST_DIGEST",
    "REPORT_FILES",
    "TARGETS",
    "Bundle",
    "BundleWriter",
    "check_bundle_target",
    "explained",
    "is_bundle",
    "manifest_bytes",
    "open_bundle",
    "parse_manifest",
    "peek_manifest",
    "remove_bundle",
    "write_bundle",
]

MANIFEST = "manifest.json"
MANIFEST_DIGEST = "manifest.sha256"
TARGETS = "targets.json"
"""What a pack has in place of a manifest: the list of its bundles (core/pack.py)."""
REPORT_FILES = {"parity": "reports/parity.json", "latency": "reports/latency.json"}
"""What may lie in a bundle outside of its seal, by kind."""
_MANIFEST_LIMIT = 16 << 20  # bytes: a manifest has some ten thousand
# What lies in a bundle and is added to it after its manifest was written.
_OUTSIDE_THE_MANIFEST = {MANIFEST, MANIFEST_DIGEST, SIGNATURE, *REPORT_FILES.values()}
DROPPINGS = {".DS_Store", "Thumbs.db", "desktop.ini"}
"""What file managers leave in every folder."""
# One part of a declared path. ASCII, because file systems disagree about the rest; no leading dot, so no "..".
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*")
_EXPORT_AGAIN = "export it again: edgedepth export --help"


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle: a folder whose manifest was understood.

    Args:
        path: the folder.
        manifest: what it says of itself.
        stamps: of its files, from before they were hashed; empty where they weren't looked at.
    """

    path: Path
    manifest: Manifest
    stamps: Mapping[str, FileStamp] = field(default_factory=dict, compare=False, repr=False)

    def file(self, relative: str) -> Path:
        """The path of one of the bundle's files."""
        return self.path / relative

    def served_name(self, stage: str) -> str:
        """What a server calls a stage: "depth-pro-patch_encoder"."""
        return f"{self.manifest.model.name}-{stage}"

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(entry.size for entry in self.manifest.files.values())

    @contextlib.contextmanager
    def held_still(self) -> Iterator[None]:
        """Make sure that what is read within the block is what the hashes are of: runtimes open files by name, later.

        A file that was touched since (a backup's link, a chmod) is hashed again first.

        Raises:
            BundleTamperedError: a file has other content than the manifest says, or was written, replaced or removed
                within the block.
        """
        with explained(self.path):
            before = {name: stamp_of(self.path / name) for name in self.manifest.files}
            touched = [name for name, stamp in self.stamps.items() if before[name] != stamp]
            _check_hashes(self.path, self.manifest, touched)
        yield
        with explained(self.path):
            changed = [name for name, stamp in before.items() if stamp_of(self.path / name) != stamp]
        if changed:
            raise BundleTamperedError(
                f"{self.path / changed[0]} was changed while it was opened",
                remedy=f"open the bundle again once nothing writes to it; or {_EXPORT_AGAIN}",
            )


def is_bundle(path: Path) -> bool:
    """Whether a folder looks like a bundle (it has a manifest)."""
    try:
        return (path / MANIFEST).is_file()
    except OSError:
        return False


def peek_manifest(path: Path) -> Manifest:
    """Read a bundle's manifest without looking at its files.

    Raises:
        BundleNotFoundError: no folder, or no manifest in it.
        BundleSchemaError: a manifest that isn't understood, or of a newer schema.
        BundleError: a manifest that can't be read.
    """
    return parse_manifest(path, manifest_bytes(path))


def manifest_bytes(path: Path) -> bytes:
    """The content of a bundle's manifest.json; errors as peek_manifest."""
    file = path / MANIFEST
    with explained(path):
        _refuse_absent(path)
        with file.open("rb") as opened:
            content = opened.read(_MANIFEST_LIMIT + 1)
        if len(content) > _MANIFEST_LIMIT:
            raise BundleSchemaError(
                f"{file} has more than {_MANIFEST_LIMIT} bytes; no manifest has that many", remedy=_EXPORT_AGAIN
            )
    return content


def open_bundle(
    path: str | os.PathLike[str],
    *,
    check_hashes: bool = True,
    trusted_key: str | None = None,
    damaged_engines: bool = False,
    manifest_sha256: str | None = None,
) -> Bundle:
    """Open a bundle.

    Args:
        path: its folder.
        check_hashes: compare every file with its SHA-256 (about a second a gigabyte); names, sizes and the manifest's
            own SHA-256 are always compared.
        trusted_key: a minisign public key, as a file or as its line that begins with RW: only a bundle that it signed
            is opened. None: no signature is looked at.
        damaged_engines: leave TensorRT engines that are damaged or missing out of the manifest, to build them again.
        manifest_sha256: hex digest that the manifest must have, where somebody vouches for it; None: any.

    Raises:
        SignatureError: not signed with the trusted key.
        BundleNotFoundError: no folder, or no manifest in it.
        BundleSchemaError: a manifest that isn't understood, or of a newer schema.
        BundlePathError: a file name that leads out of the folder, or a link in it.
        BundleTamperedError: a file missing, not declared, cut short, or of other content than was written.
        EngineError: that file is an engine; with the command that builds it again.
        BundleError: a file that can't be read.
    """
    folder = Path(path)
    content = manifest_bytes(folder)
    if trusted_key is not None:
        check_signature(folder, content, trusted_key)  # before anything in it is believed
    if manifest_sha256 not in (None, hashlib.sha256(content).hexdigest()):
        raise BundleTamperedError(f"{folder} is not the bundle that was packed", remedy=_EXPORT_AGAIN)
    manifest = parse_manifest(folder, content)
    with explained(folder):
        ignored = _damaged_engines(folder, manifest) if damaged_engines else set()
        manifest = _without(manifest, ignored) if ignored else manifest
        _check_names(folder, manifest, ignored)
        _check_manifest(folder, content)
        _check_sizes(folder, manifest)
        stamps = {name: stamp_of(folder / name) for name in manifest.files}
        if check_hashes:
            _check_hashes(folder, manifest)
    return Bundle(folder, manifest, stamps)


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
        names = sorted(_list_files(self.folder) - _OUTSIDE_THE_MANIFEST)
        paths = [self.folder / name for name in names]
        return {
            name: FileEntry(sha256=digest, size=path.stat().st_size)
            for name, path, digest in zip(names, paths, sha256_files(paths), strict=True)
        }

    def finish(self, manifest: Manifest) -> None:
        """Write the manifest. A bundle without one is thrown away.

        Raises:
            BundleError: the manifest doesn't declare what the folder holds, so the bundle could not be opened.
        """
        _check_names(self.folder, manifest)
        data = render_manifest(manifest).encode("utf-8")
        (self.folder / MANIFEST).write_bytes(data)
        (self.folder / MANIFEST_DIGEST).write_bytes(_digest_line(data))
        self.finished = True


@contextlib.contextmanager
def write_bundle(path: str | os.PathLike[str]) -> Iterator[BundleWriter]:
    """Write a bundle atomically: a killed or failed export leaves the old bundle or none.

    Raises:
        BundleBusyError: another process is writing the same folder.
        OutputError: the folder can't be written, the disk is full, or it holds something else.
        BundleError: the block ended without finish().
    """
    with replace_folder(Path(path), ours=_is_replaceable) as folder:
        writer = BundleWriter(folder)
        yield writer
        if not writer.finished:
            raise BundleError(f"the exporter did not finish {path}", remedy="report this as a bug of the exporter")


def check_bundle_target(path: str | os.PathLike[str]) -> None:
    """Raise what write_bundle would raise now: before gigabytes are fetched and loaded for it.

    Raises:
        BundleBusyError, OutputError: as write_bundle.
    """
    check_replaceable(Path(path), ours=_is_replaceable)


def remove_bundle(path: str | os.PathLike[str]) -> None:
    """Delete a bundle. Who has its files open keeps them, where the system allows it.

    Raises:
        BundleBusyError: another process is writing it.
        OutputError: no bundle, one with somebody's own files in it, or one that can't be deleted.
    """
    remove_folder(Path(path), ours=_is_replaceable)


def _is_replaceable(folder: Path) -> bool:
    """Whether a folder is a bundle, whole or damaged, that nobody has put files of their own into."""
    try:
        return not _undeclared(peek_manifest(folder), _list_files(folder))
    except BundleError:
        return False


def parse_manifest(folder: Path, content: bytes) -> Manifest:
    """The manifest that these bytes of a bundle's manifest.json hold; errors as peek_manifest."""
    file = folder / MANIFEST
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleSchemaError(f"{file} is not UTF-8: {error}", remedy=_EXPORT_AGAIN) from error
    return read_manifest(text, where=str(file))


def _refuse_absent(path: Path) -> None:
    problem = remedy = ""
    aside = set_aside(Path(os.path.realpath(path)))
    if not path.exists() and aside.exists():
        problem = f"there is no bundle at {path}: an export was interrupted, and what stood there was set aside"
        remedy = f"mv {shlex.quote(str(aside))} {shlex.quote(str(path))}"
    elif not path.is_dir():
        problem = f"{path} is a file; a bundle is a folder" if path.exists() else f"there is no bundle at {path}"
        remedy = "edgedepth export writes one; edgedepth inspect tells what a folder is"
    elif (path / TARGETS).is_file():
        there = ", ".join(sorted(str(one) for one in (path / "targets").glob("*"))[:9])
        problem = f"{path} is a pack of several bundles, and one is meant here"
        remedy = f"name one of them: {there or 'there is none left'}"
    elif not (path / MANIFEST).is_file():
        problem = f"{path} has no {MANIFEST}, so it is not a bundle"
        remedy = _EXPORT_AGAIN
    if problem:
        raise BundleNotFoundError(problem, remedy=remedy)


def _list_files(folder: Path) -> set[str]:
    """Everything in a folder that is no folder, by relative path with forward slashes."""

    def give_up(error: OSError) -> None:
        raise error

    found = set()
    for root, folders, files in os.walk(folder, onerror=give_up):
        for path in (Path(root, name) for name in (*folders, *files)):
            if path.is_symlink():
                raise BundlePathError(
                    f"{path} is a link; a bundle holds none", remedy=f"copy it: cp -rL; or {_EXPORT_AGAIN}"
                )
        found |= {Path(root, name).relative_to(folder).as_posix() for name in files}
    return found


def _undeclared(manifest: Manifest, present: set[str]) -> list[str]:
    extra = present - set(manifest.files) - _OUTSIDE_THE_MANIFEST
    return sorted(name for name in extra if name.rpartition("/")[2] not in DROPPINGS)


def _damaged_engines(folder: Path, manifest: Manifest) -> set[str]:
    """Paths of engines that are not what was written."""

    def is_whole(name: str) -> bool:
        path, entry = folder / name, manifest.files[name]
        return path.is_file() and path.stat().st_size == entry.size and sha256_files([path]) == [entry.sha256]

    declared = {engine.path for engine in manifest.engines if engine.path in manifest.files}
    return {name for name in declared if not is_whole(name)}


def _without(manifest: Manifest, paths: set[str]) -> Manifest:
    return replace(
        manifest,
        engines=tuple(engine for engine in manifest.engines if engine.path not in paths),
        files={name: entry for name, entry in manifest.files.items() if name not in paths},
    )


def _damaged(folder: Path, manifest: Manifest, name: str, problem: str) -> BundleError:
    """A file that isn't what was written: of an engine the graph is still there, and it is built again."""
    if any(engine.path == name for engine in manifest.engines):
        return EngineError(problem, remedy=f"build it again: edgedepth build {shlex.quote(str(folder))}")
    return BundleTamperedError(problem, remedy=_EXPORT_AGAIN)


def _check_names(folder: Path, manifest: Manifest, ignored: Collection[str] = ()) -> None:
    """Compare the folder's listing with the manifest, both ways."""
    for name in manifest.files:
        if not all(_PART.fullmatch(part) for part in name.split("/")):
            raise BundlePathError(
                f"{folder / MANIFEST} names {name!r}: no plain path inside of the bundle",
                remedy=f"don't use this bundle; {_EXPORT_AGAIN}",
            )
    used = [artefact.path for artefact in manifest.artefacts.values()] + [manifest.golden.path]
    used += [engine.path for engine in manifest.engines]
    if unknown := [path for path in used if path not in manifest.files]:
        raise BundleSchemaError(
            f"{folder / MANIFEST} uses {unknown[0]!r}, which is not among its files", remedy=_EXPORT_AGAIN
        )
    present = _list_files(folder) - set(ignored)
    if missing := sorted(set(manifest.files) - present):
        raise _damaged(folder, manifest, missing[0], f"{folder / missing[0]} is missing")
    if undeclared := _undeclared(manifest, present):
        raise BundleTamperedError(
            f"{folder / undeclared[0]} is not a file of this bundle", remedy=f"move it elsewhere, or {_EXPORT_AGAIN}"
        )


def _check_manifest(folder: Path, content: bytes) -> None:
    expected = _digest_line(content)
    written = folder / MANIFEST_DIGEST
    if not written.is_file() or written.read_bytes() != expected:
        raise BundleTamperedError(
            f"{folder / MANIFEST} is not what was written: {MANIFEST_DIGEST} is missing or differs",
            remedy=_EXPORT_AGAIN,
        )


def _check_sizes(folder: Path, manifest: Manifest) -> None:
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise BundleTamperedError(f"{path} is not a plain file", remedy=_EXPORT_AGAIN)
        if (size := path.stat().st_size) != entry.size:
            raise _damaged(folder, manifest, name, f"{path} has {size} bytes; the manifest says {entry.size}")


def _check_hashes(folder: Path, manifest: Manifest, names: Collection[str] | None = None) -> None:
    """Of all files, or of these."""
    names = manifest.files if names is None else names
    digests = sha256_files(folder / name for name in names)
    for name, digest in zip(names, digests, strict=True):
        entry = manifest.files[name]
        if digest != entry.sha256:
            problem = f"{folder / name} has SHA-256 {digest[:12]}…; the manifest says {entry.sha256[:12]}…"
            raise _damaged(folder, manifest, name, problem)


def _digest_line(manifest: bytes) -> bytes:
    """The content of manifest.sha256, as sha256sum writes it."""
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n".encode()


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the file system says about a bundle's files into a BundleError."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a path that no file system takes, with a zero byte
        place = getattr(error, "filename", None) or path
        raise BundleError(
            f"{place} can't be read: {getattr(error, 'strerror', None) or error}",
            remedy=f"let this user read it, or {_EXPORT_AGAIN}",
        ) from error
