"""Files of depth, named by content: whoever labels a frame again writes the same file, byte by byte."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from edgedepth.core.errors import OutputError
from edgedepth.core.files import flush_folder, write_file
from edgedepth.result import DepthResult

__all__ = [
    "FOLDER",
    "Form",
    "depth_files_in",
    "encode_depth",
    "flush_depth",
    "stored_depth",
    "write_depth",
    "write_shard",
]

Form = Literal["png16", "npz"]

FOLDER = "depth"
_SUFFIXES = {"png16": ".png", "npz": ".npz"}
_SHARD_SUFFIXES = {"png16": ".tar", "npz": ".npz"}


def encode_depth(result: DepthResult, form: Form) -> bytes:
    """A PNG of 16 bits in millimetres, or an .npy of float32 metres.

    Raises:
        OptionError: millimetres of relative depth.
    """
    if form == "png16":
        return cv2.imencode(".png", result.millimetres())[1].tobytes()
    content = io.BytesIO()
    np.save(content, result.depth, allow_pickle=False)
    return content.getvalue()


def write_depth(out: Path, sha256: str, depth: bytes, form: Form) -> str:
    """One frame's file; an .npz holds it as `depth`.

    Returns:
        Its place relative to `out`.

    Raises:
        OutputError: it can't be written.
    """
    content = depth if form == "png16" else _zipped([("depth.npy", depth)])
    return _write(out, sha256, _SUFFIXES[form], content)


def write_shard(out: Path, depths: Sequence[tuple[str, bytes]], form: Form) -> dict[str, tuple[str, str]]:
    """One file of several frames: a .tar of PNGs, or an .npz, each entry called by its frame's content.

    Args:
        out: the folder of labels.
        depths: content hashes and what encode_depth gave; a content that comes twice is written once.
        form: of the depths.

    Returns:
        By content hash: the shard's place relative to `out`, and the name in it.

    Raises:
        OutputError: it can't be written.
    """
    unique = dict(depths)
    name = hashlib.sha256("".join(unique).encode()).hexdigest()
    entries = {sha256: f"{sha256}.png" if form == "png16" else sha256 for sha256 in unique}
    if form == "png16":
        content = _tarred([(entries[sha256], depth) for sha256, depth in unique.items()])
    else:
        content = _zipped([(f"{entries[sha256]}.npy", depth) for sha256, depth in unique.items()])
    place = _write(out, name, _SHARD_SUFFIXES[form], content)
    return {sha256: (place, entry) for sha256, entry in entries.items()}


def stored_depth(out: Path, sha256: str, form: Form) -> str | None:
    """Where a frame's depth lies in a file of its own, relative to `out`; None where it doesn't."""
    relative = _place(sha256, _SUFFIXES[form])
    return relative if (out / relative).is_file() else None


def flush_depth(out: Path) -> None:
    """Have the names of all files on the disk; their contents are there.

    Raises:
        OutputError: the disk fails.
    """
    folders = [Path(folder.path) for folder in _entries(out / FOLDER) if folder.is_dir()]
    for folder in (*folders, *((out / FOLDER,) if folders else ()), out):
        flush_folder(folder)


def depth_files_in(out: Path) -> set[str]:
    """The files that are there, relative to `out`: listed by folder, since asking for each takes too long."""
    found = set()
    for folder in _entries(out / FOLDER):
        if folder.is_dir():
            found |= {f"{FOLDER}/{folder.name}/{entry.name}" for entry in _entries(Path(folder.path))}
    return found


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise OutputError(f"{folder} can't be read: {error.strerror}", remedy="check it and its permissions") from error


def _write(out: Path, name: str, suffix: str, content: bytes) -> str:
    relative = _place(name, suffix)
    path = out / relative
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path.parent} can't be made: {error.strerror}", remedy="free space, or --out") from error
    write_file(path, content, durable=True)  # its row must not outlive it in a power cut
    return relative


def _place(name: str, suffix: str) -> str:
    return f"{FOLDER}/{name[:2]}/{name}{suffix}"


def _zipped(entries: Sequence[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in entries:  # ZipInfo's own time is 1980: the same file whoever writes it
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=zipfile.ZIP_DEFLATED)
    return content.getvalue()


def _tarred(entries: Sequence[tuple[str, bytes]]) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in entries:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()
