"""Damage for whole files: what a fuzzer does to their bytes, and where each kind's bytes lie."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from edgedepth.core.bundle import MANIFEST
from edgedepth.core.bundle import TARGETS as PACKED
from edgedepth.core.signing import SIGNATURE

from . import seeds

__all__ = ["TARGETS", "Target", "damaged"]

INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
NUMBERS = (b"0", b"-1", b"1e999", b"99999999999999999999", b"null", b"true", b'"', b"[", b"{", b"\\ud800", b"NaN")


@dataclass(frozen=True)
class Target:
    """A parser, and what it is fed.

    Args:
        kind: a key of OPENERS.
        whole: files to damage.
        place: writes the bytes where the parser looks, in an empty folder, and returns what to open.
    """

    kind: str
    whole: tuple[bytes, ...]
    place: Callable[[Path, bytes], Path]


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """Bytes that differ from a whole file's in up to four places."""
    return st.lists(_edits(len(whole)), min_size=1, max_size=4).map(lambda edits: _apply(whole, edits))


Edit = tuple[int, int, bytes]
"""Where, how many bytes go, and what comes in their place."""


def _edits(length: int) -> st.SearchStrategy[Edit]:
    at = st.integers(0, max(length - 1, 0))
    flipped = st.tuples(
        at, st.just(1), st.one_of(st.binary(min_size=1, max_size=1), st.sampled_from(INTERESTING).map(_byte))
    )
    number = st.tuples(at, st.integers(0, 8), st.sampled_from(NUMBERS))
    field = st.tuples(at, st.just(8), st.integers(0, 2**64 - 1).map(lambda value: value.to_bytes(8, "little")))
    cut = st.tuples(at, st.just(length), st.just(b""))
    inserted = st.tuples(at, st.just(0), st.binary(min_size=1, max_size=16))
    removed = st.tuples(at, st.integers(1, 16), st.just(b""))
    return st.one_of(flipped, number, field, cut, inserted, removed)


def _byte(value: int) -> bytes:
    return bytes([value])


def _apply(whole: bytes, edits: list[Edit]) -> bytes:
    for at, gone, new in edits:
        whole = whole[:at] + new + whole[at + gone :]
    return whole


def _as_file(name: str) -> Callable[[Path, bytes], Path]:
    def place(folder: Path, content: bytes) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return place


@functools.cache
def _whole_bundle() -> Path:
    """Made once: writing a bundle waits for the disk."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return seeds.bundle(Path(folder) / "bundle")


def _as_manifest(folder: Path, content: bytes) -> Path:
    path = folder / "bundle"
    shutil.copytree(_whole_bundle(), path)
    seeds.seal(path, content)
    return path


@functools.cache
def _whole_pack() -> Path:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return seeds.pack(Path(folder) / "pack")


def _as_list(folder: Path, content: bytes) -> Path:
    path = folder / "pack"
    shutil.copytree(_whole_pack(), path)
    (path / PACKED).write_bytes(content)
    return path


def _in_package(inside: str) -> Callable[[Path, bytes], Path]:
    def place(folder: Path, content: bytes) -> Path:
        path = seeds.package(folder / "it.mlpackage")
        (path / inside).write_bytes(content)
        return path

    return place


_DATA = "Data/com.apple.CoreML/"
_RUN = (
    b'{"kind": "bench", "command": "edgedepth bench", "created_utc": "", "machine": {}, "versions": {}, "entries": []}'
)

TARGETS = {
    "manifest": Target("bundle", ((_whole_bundle() / MANIFEST).read_bytes(),), _as_manifest),
    "pack": Target("pack", ((_whole_pack() / PACKED).read_bytes(),), _as_list),
    "onnx": Target("graph", (seeds.graph(),), _as_file("model.onnx")),
    "ir": Target("ir", (seeds.IR,), lambda folder, content: seeds.ir(folder / "model.xml", content)),
    "tar": Target("tar", (seeds.tar(seeds.picture(), seeds.picture("JPEG")),), _as_file("shard")),
    "signature": Target(
        "signature", (b"untrusted comment: a\nRWQf6LRCGA9i\ntrusted comment: b\nQtKM\n",), _as_file(SIGNATURE)
    ),
    "golden": Target("golden", (seeds.golden(),), _as_file("golden.npz")),
    "safetensors": Target("checkpoint", (seeds.safetensors(),), _as_file("it.safetensors")),
    "torch": Target("checkpoint", (seeds.torch_file(), seeds.torch_file(zipped=False)), _as_file("it.pt")),
    "head": Target("head", (seeds.head(),), _as_file("head")),
    "picture": Target(
        "picture",
        (
            seeds.picture("PNG"),
            seeds.picture("JPEG"),
            seeds.picture("TIFF"),
            seeds.picture("WEBP"),
            seeds.picture("BMP"),
            seeds.picture("GIF"),
        ),
        _as_file("picture"),
    ),
    "spec": Target(
        "package", ((seeds.PACKAGE / _DATA / "model.mlmodel").read_bytes(),), _in_package(_DATA + "model.mlmodel")
    ),
    "weights": Target(
        "package",
        ((seeds.PACKAGE / _DATA / "weights/weight.bin").read_bytes(),),
        _in_package(_DATA + "weights/weight.bin"),
    ),
    "package": Target("package", ((seeds.PACKAGE / "Manifest.json").read_bytes(),), _in_package("Manifest.json")),
    "run": Target("run", (_RUN,), _as_file("run.json")),
}
"""By name, what can be fuzzed."""
