"""Packs: one model's bundles for several devices, in one folder and under one seal.

    PACK/targets.json            the SHA-256 of each bundle's manifest, in the order in which they are preferred
    PACK/targets.json.minisig    where the pack was signed
    PACK/targets/NAME/…          the bundles, each whole and with a seal of its own

A pack says nothing about its bundles that they don't say themselves. targets.json has one spelling only, which is
compared byte by byte, so that no bit of it can flip unseen; what it names is opened as any bundle is.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedepth.core.bundle import (
    DROPPINGS,
    TARGETS,
    Bundle,
    explained,
    manifest_bytes,
    open_bundle,
    parse_manifest,
)
from edgedepth.core.errors import (
    BundleError,
    BundleNotFoundError,
    BundlePathError,
    BundleSchemaError,
    BundleTamperedError,
)
from edgedepth.core.files import write_file
from edgedepth.core.folders import locked, remove_folder
from edgedepth.core.manifest import Manifest
from edgedepth.core.reading import read_plain
from edgedepth.core.signing import check_signature, signature_of

__all__ = [
    "FOLDER",
    "Pack",
    "digest_of",
    "index_bytes",
    "is_pack",
    "is_replaceable",
    "open_pack",
    "remove_pack",
    "render_index",
    "seal_again",
]

FOLDER = "targets"
"""Where a pack's bundles lie."""
SCHEMA_VERSION = 1

# Lower case alone: two names must not be one where the file system doesn't tell cases apart.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_LIMIT = 64 << 10  # bytes: an entry has about a hundred

log = logging.getLogger("edgedepth")


@dataclass(frozen=True, slots=True)
class Pack:
    """An opened pack: its list and its bundles' manifests are as they were written.

    Args:
        path: the folder.
        manifests: of the bundles by name, the preferred ones first.
        digests: hex SHA-256 of each manifest's bytes.
    """

    path: Path
    manifests: Mapping[str, Manifest]
    digests: Mapping[str, str]

    def folder(self, name: str) -> Path:
        """Where a bundle lies, which may be opened by itself."""
        return self.path / FOLDER / name

    def bundle(self, name: str, *, check_hashes: bool = True) -> Bundle:
        """Open one of the bundles.

        Raises:
            BundleError: as open_bundle; also if its manifest was replaced since the pack was opened.
        """
        return open_bundle(self.folder(name), check_hashes=check_hashes, manifest_sha256=self.digests[name])

    @property
    def bundles(self) -> dict[str, Bundle]:
        """By name, their files not looked at."""
        return {name: Bundle(self.folder(name), manifest) for name, manifest in self.manifests.items()}

    @property
    def size(self) -> int:
        """Bytes of all bundles' files."""
        return sum(bundle.size for bundle in self.bundles.values())


def is_pack(path: Path) -> bool:
    """Whether a folder looks like a pack (it has a list of targets)."""
    try:
        return (path / TARGETS).is_file()
    except OSError:
        return False


def open_pack(path: str | os.PathLike[str], *, trusted_key: str | None = None) -> Pack:
    """Open a pack. Its bundles' files are looked at when they are opened.

    Args:
        path: its folder.
        trusted_key: a minisign public key that must have signed the pack; None: no signature is looked at.

    Raises:
        SignatureError: not signed with the trusted key.
        BundleNotFoundError: no pack there.
        BundleSchemaError: a list or a manifest that isn't understood, or is newer; or bundles of several models.
        BundlePathError: a name that leads out of the folder, or a link.
        BundleTamperedError: a bundle missing, not listed, or with another manifest than was packed.
        BundleError: something that can't be read.
    """
    folder = Path(path)
    content = index_bytes(folder)
    if trusted_key is not None:
        check_signature(folder, content, trusted_key, signed=TARGETS)
    digests = _parsed_index(folder, content)
    with explained(folder):
        _check_listing(folder, digests)
        manifests = {name: _manifest(folder, name, digest) for name, digest in digests.items()}
    _check_model(folder, manifests)
    return Pack(folder, manifests, digests)


def index_bytes(folder: Path) -> bytes:
    """The bytes of a pack's list, which are what is signed.

    Raises:
        BundleNotFoundError: there is none.
        BundleError: it can't be read.
    """
    with explained(folder):
        if not is_pack(folder):
            raise BundleNotFoundError(f"there is no pack at {folder}", remedy="edgedepth pack --help")
        return read_plain(folder / TARGETS, limit=_LIMIT)


def seal_again(member: Path) -> None:
    """List a bundle anew that was rebuilt inside of a pack, engines added; a bundle that lies in none is left alone.

    A signature of the pack is deleted: it is of another list.

    Raises:
        BundleBusyError, OutputError: the list can't be written.
    """
    folder = member.resolve().parent.parent
    if member.resolve().parent.name != FOLDER or not is_pack(folder):
        return
    with locked(folder):
        digests = _parsed_index(folder, index_bytes(folder))
        if member.name in digests:
            digests[member.name] = digest_of(manifest_bytes(member))
            signature = signature_of(folder, TARGETS)
            if signature.exists():
                log.warning("%s is gone, since %s was built anew: sign the pack again", signature, member.name)
                signature.unlink()
            write_file(folder / TARGETS, render_index(digests))


def remove_pack(path: Path) -> None:
    """Delete a pack; errors as remove_bundle."""
    remove_folder(path, ours=is_replaceable)


def render_index(digests: Mapping[str, str]) -> bytes:
    """The one spelling of a list."""
    return (json.dumps({"schema_version": SCHEMA_VERSION, FOLDER: digests}, indent=2) + "\n").encode()


def _parsed_index(folder: Path, content: bytes) -> dict[str, str]:
    """Names and digests of a list that is spelled as render_index() spells it."""
    file = folder / TARGETS
    try:
        document: Any = json.loads(content)
        version, digests = document["schema_version"], document[FOLDER]
        known = isinstance(version, int) and isinstance(digests, dict)
        known = known and all(isinstance(digest, str) for digest in digests.values())
    except (ValueError, TypeError, KeyError, RecursionError):
        known, version, digests = False, None, {}
    if known and version > SCHEMA_VERSION:
        raise BundleSchemaError(
            f"{file} has schema {version}; this edgedepth reads up to {SCHEMA_VERSION}",
            remedy="pip install --upgrade edgedepth",
        )
    if not known or not digests or render_index(digests) != content:
        raise BundleTamperedError(f"{file} is not what was written", remedy=_pack_again(folder))
    if wrong := [name for name in digests if not _NAME.fullmatch(name)]:
        raise BundlePathError(
            f"{file} names {wrong[0]!r}: no plain name of a bundle", remedy="don't use this pack; make one of your own"
        )
    return dict(digests)


def _check_listing(folder: Path, digests: Mapping[str, str]) -> None:
    """Compare what lies in the two folders with the list; what lies in the bundles is theirs to compare."""
    outer = {TARGETS, signature_of(folder, TARGETS).name, FOLDER}
    for place, known in ((folder, outer), (folder / FOLDER, set(digests))):
        with os.scandir(place) as entries:
            found = {entry.name: entry.is_symlink() for entry in entries}
        if links := [name for name, is_link in found.items() if is_link]:
            raise BundlePathError(f"{place / links[0]} is a link; a pack holds none", remedy="copy it: cp -rL")
        locks = {f".{name}.lock" for name in known}  # what core/folders.py leaves where a bundle was rebuilt
        if extra := sorted(set(found) - known - locks - DROPPINGS):
            raise BundleTamperedError(f"{place / extra[0]} is not of this pack", remedy="move it elsewhere")
    if missing := [name for name in digests if name not in found]:
        raise BundleTamperedError(f"{folder / FOLDER / missing[0]} is missing", remedy=_pack_again(folder))


def _manifest(folder: Path, name: str, digest: str) -> Manifest:
    place = folder / FOLDER / name
    content = manifest_bytes(place)
    if digest_of(content) != digest:
        raise BundleTamperedError(f"{place} is not the bundle that was packed", remedy=_pack_again(folder))
    return parse_manifest(place, content)


def _check_model(folder: Path, manifests: Mapping[str, Manifest]) -> None:
    models = {(manifest.model.name, manifest.model.weights_sha256) for manifest in manifests.values()}
    if len(models) > 1:
        raise BundleSchemaError(
            f"{folder} holds bundles of several models or weights", remedy="pack the bundles of one model"
        )


def _pack_again(folder: Path) -> str:
    bundles = shlex.quote(str(folder / FOLDER))
    return f"if its bundles are yours, pack them again: edgedepth pack {bundles}/* --out DIR"


def digest_of(content: bytes) -> str:
    """Hex SHA-256, as a list has it."""
    return hashlib.sha256(content).hexdigest()


def is_replaceable(folder: Path) -> bool:
    """Whether a folder is a pack that nobody has put files of their own into."""
    try:
        digests = _parsed_index(folder, index_bytes(folder))
        with explained(folder):
            _check_listing(folder, digests)
    except BundleError:
        return False
    return True
