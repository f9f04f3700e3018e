"""Files that must be refused, and the error that each must give.

A row is what was done to a whole file (seeds.py); `says` is a part of the message that tells a person what was found.
SECURITY.md refers to this table.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from edgedepth.core import errors
from edgedepth.core.bundle import MANIFEST, MANIFEST_DIGEST, TARGETS

from . import seeds

__all__ = ["CASES", "Case"]

Make = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """One row.

    Args:
        name: what is wrong with it.
        kind: what reads it: a key of OPENERS.
        make: writes it at a path; may return another path to open.
        error: that it must give.
        says: a part of the message.
    """

    name: str
    kind: str
    make: Make
    error: type[errors.EdgeDepthError]
    says: str


def content(data: bytes) -> Make:
    return lambda path: path.write_bytes(data)


def edited(change: Callable[[dict[str, Any]], object]) -> Make:
    return lambda path: seeds.edited(path, change)


def bundle_then(change: Callable[[Path], object]) -> Make:
    return lambda path: change(seeds.bundle(path))


def package_then(change: Callable[[Path], object]) -> Make:
    return lambda path: change(seeds.package(path))


def pack_then(change: Callable[[Path], object]) -> Make:
    return lambda path: change(seeds.pack(path))


def listed(content: bytes) -> Make:
    """A pack with another list."""
    return pack_then(lambda path: (path / TARGETS).write_bytes(content))


def million_entries(path: Path) -> None:
    names = {str(number): "" for number in range(1_000_000)}
    listed(json.dumps({"schema_version": 1, "targets": names}).encode())(path)


def graph(change: Callable[[Any], object]) -> Make:
    """An ONNX file; `change` is given its ModelProto."""
    return lambda path: path.write_bytes(seeds.graph(change))


def initializer(change: Callable[[Any], object]) -> Make:
    """Its first one is two floats."""
    return graph(lambda model: change(model.graph.initializer[0]))


def external(location: str = "w.bin", *, offset: int = 0, length: int = 8, elements: int = 2) -> Make:
    """An initializer in a file of 8 bytes beside the graph."""

    def change(tensor: Any) -> None:
        tensor.ClearField("raw_data")
        tensor.dims[0] = elements
        tensor.data_location = tensor.EXTERNAL
        for key, value in (("location", location), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))

    def make(path: Path) -> None:
        path.with_name("w.bin").write_bytes(bytes(8))
        initializer(change)(path)

    return make


def nest(outer: Any, depth: int) -> None:
    """Graphs in a node's attribute, in each other."""
    for _ in range(depth):
        node = outer.node.add(op_type="If")
        attribute = node.attribute.add(name="then_branch", type=5)
        outer = attribute.g


def renamed(name: str) -> Make:
    """A bundle whose manifest calls its golden frame by another name."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["files"][name] = manifest["files"].pop("golden.npz")
        manifest["golden"]["path"] = name

    return edited(change)


def linked(name: str, target: str) -> Make:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(target)

    return bundle_then(change)


def set_at(*keys: str, value: object) -> Make:
    def change(manifest: dict[str, Any]) -> None:
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return edited(change)


def flipped(name: str, at: int) -> Make:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[at] ^= 0x10
        (folder / name).write_bytes(data)

    return bundle_then(change)


def png(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds a few zeros."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


def npy_header(shape: str, dtype: str = "|u1") -> bytes:
    return f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()


def model_of(package: Path) -> Path:
    return package / "Data" / "com.apple.CoreML" / "model.mlmodel"


def weights_of(package: Path) -> Path:
    return package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"


def manifest_of_package(path: str) -> Make:
    def change(package: Path) -> None:
        manifest = json.loads((package / "Manifest.json").read_text())
        manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = path
        (package / "Manifest.json").write_text(json.dumps(manifest))

    return package_then(change)


def cut(file: Callable[[Path], Path], keep: int) -> Make:
    return package_then(lambda package: file(package).write_bytes(file(package).read_bytes()[:keep]))


def ir(old: bytes = b"", new: bytes = b"") -> Make:
    """An IR in which something stands for something else."""
    return lambda path: seeds.ir(path, seeds.IR.replace(old, new) if old else new)


def expanded(path: Path) -> None:
    """A torch file of one number that says that it is 2^33 of them, in each layer of a head."""
    tensors = {}
    for net, (inputs, outputs) in {"scene_feat_net": (8, 1 << 30), "scale_net": (1, 1), "shift_net": (1, 1)}.items():
        tensors[f"{net}.0.weight"] = torch.zeros(1).expand(outputs, inputs)
        tensors[f"{net}.0.bias"] = torch.zeros(1).expand(outputs)
    torch.save(tensors, path)


def deflated_script(path: Path) -> None:
    """What looks like TorchScript, of 1 GB of zeros in a megabyte."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("it/constants.pkl", b"")
        with archive.open("it/data.pkl", "w", force_zip64=True) as file:
            for _ in range(64):
                file.write(bytes(1 << 24))


def announcing(path: Path) -> None:
    """A video of two frames whose headers announce 2^30."""
    written = path.with_suffix(".avi")
    writer = cv2.VideoWriter(str(written), cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 32))
    for grey in (0, 99):
        writer.write(np.full((32, 48, 3), grey, np.uint8))
    writer.release()
    data = bytearray(written.read_bytes())
    for header, field in ((b"avih", 16), (b"strh", 32)):  # dwTotalFrames, dwLength
        struct.pack_into("<I", data, data.find(header) + 8 + field, 1 << 30)
    path.write_bytes(data)


def sparse(path: Path, size: int) -> None:
    """A file of zeros that takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(size)


def bomb(path: Path) -> None:
    path.write_bytes(seeds.pickled(seeds.Bomb(path.with_name("it-ran"))))


def zipped_bomb(path: Path) -> None:
    path.write_bytes(seeds.torch_file({"a": seeds.Bomb(path.with_name("it-ran"))}))


def bomb_npz(path: Path) -> None:
    """Some megabytes that unpack to 2 x 604 MB."""
    header = npy_header(f"({36 << 24},)")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in ("frame_rgb.npy", "depth.npy"):
            with archive.open(name, "w") as file:
                file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
                for _ in range(36):
                    file.write(bytes(1 << 24))


HUGE_TENSOR = {"a": {"dtype": "F32", "shape": [seeds.HUGE // 4], "data_offsets": [0, seeds.HUGE]}}
OVERLAPPING = {
    "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
    "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
}


def million_files(path: Path) -> None:
    entry = b'{"sha256": "", "size": 1}'
    files = b",".join(b'"file%d": %s' % (number, entry) for number in range(1_000_000))
    seeds.seal(seeds.bundle(path), b'{"schema_version": 1, "files": {' + files + b"}}")


BUNDLES = (
    Case("no manifest", "bundle", lambda path: path.mkdir(), errors.BundleNotFoundError, "no manifest.json"),
    Case("nothing there", "bundle", lambda path: None, errors.BundleNotFoundError, "no bundle at"),
    Case("a file for a folder", "bundle", content(b"{}"), errors.BundleNotFoundError, "is a file"),
    Case("empty manifest", "bundle", bundle_then(lambda p: seeds.seal(p, b"")), errors.BundleSchemaError, "not JSON"),
    Case(
        "manifest of zeros", "bundle", bundle_then(lambda p: seeds.seal(p, bytes(99))), errors.BundleSchemaError, "JSON"
    ),
    Case("not UTF-8", "bundle", bundle_then(lambda p: seeds.seal(p, b"\xff{}")), errors.BundleSchemaError, "not UTF-8"),
    Case("a list", "bundle", bundle_then(lambda p: seeds.seal(p, b"[]")), errors.BundleSchemaError, "schema_version"),
    Case(
        "nested a million deep",
        "bundle",
        bundle_then(lambda p: seeds.seal(p, b"[" * 1_000_000)),
        errors.BundleSchemaError,
        "not JSON",
    ),
    Case(
        "a manifest of 10 GB",
        "bundle",
        bundle_then(lambda p: sparse(p / MANIFEST, seeds.HUGE)),
        errors.BundleSchemaError,
        "more than",
    ),
    Case("a million entries", "bundle", million_files, errors.BundleSchemaError, "more than"),
    Case("a newer schema", "bundle", set_at("schema_version", value=2), errors.BundleSchemaError, "reads up to 1"),
    Case("schema true", "bundle", set_at("schema_version", value=True), errors.BundleSchemaError, "whole number"),
    Case("an unknown field", "bundle", set_at("run_me", value="rm"), errors.BundleSchemaError, "'run_me'"),
    Case("a field of another type", "bundle", set_at("files", value=[]), errors.BundleSchemaError, "manifest.files"),
    Case("an unknown precision", "bundle", set_at("precision", value="fp4"), errors.BundleSchemaError, "fp4"),
    Case(
        "a field twice",
        "bundle",
        bundle_then(lambda p: seeds.seal(p, b'{"schema_version": 1, "schema_version": 1}')),
        errors.BundleSchemaError,
        "stands there twice",
    ),
    Case(
        "a number too large",
        "bundle",
        bundle_then(lambda p: seeds.seal(p, (p / MANIFEST).read_bytes().replace(b"0.001", b"1e999"))),
        errors.BundleSchemaError,
        "too large",
    ),
    Case(
        "NaN for a tolerance",
        "bundle",
        bundle_then(lambda p: seeds.seal(p, (p / MANIFEST).read_bytes().replace(b"0.001", b"NaN"))),
        errors.BundleSchemaError,
        "NaN",
    ),
    Case("half a character", "bundle", set_at("created_utc", value="\ud800"), errors.BundleSchemaError, "surrogates"),
    Case("a parent's file", "bundle", renamed("../golden.npz"), errors.BundlePathError, "no plain path"),
    Case("up and down again", "bundle", renamed("a/../golden.npz"), errors.BundlePathError, "no plain path"),
    Case("an absolute path", "bundle", renamed("/etc/passwd"), errors.BundlePathError, "no plain path"),
    Case("a drive", "bundle", renamed("C:golden.npz"), errors.BundlePathError, "no plain path"),
    Case("backslashes", "bundle", renamed("..\\golden.npz"), errors.BundlePathError, "no plain path"),
    Case("a hidden file", "bundle", renamed(".golden.npz"), errors.BundlePathError, "no plain path"),
    Case("a zero byte in a name", "bundle", renamed("golden\0.npz"), errors.BundlePathError, "no plain path"),
    Case("an empty part", "bundle", renamed("a//golden.npz"), errors.BundlePathError, "no plain path"),
    Case("letters of another alphabet", "bundle", renamed("gоlden.npz"), errors.BundlePathError, "no plain path"),
    Case("another case", "bundle", renamed("Golden.npz"), errors.BundleTamperedError, "is missing"),
    Case("a link out", "bundle", linked("golden.npz", "/etc/passwd"), errors.BundlePathError, "is a link"),
    Case("a link inside", "bundle", linked("golden.npz", "manifest.json"), errors.BundlePathError, "is a link"),
    Case("a link to nowhere", "bundle", linked("golden.npz", "golden.npz"), errors.BundlePathError, "is a link"),
    Case(
        "a linked manifest's digest",
        "bundle",
        linked(MANIFEST_DIGEST, "/dev/zero"),
        errors.BundlePathError,
        "is a link",
    ),
    Case("a flipped bit", "bundle", flipped("golden.npz", 40), errors.BundleTamperedError, "SHA-256"),
    Case(
        "a flipped bit of a graph",
        "bundle",
        flipped("patch_encoder/model.onnx", 0),
        errors.BundleTamperedError,
        "SHA-256",
    ),
    Case("a flipped bit of the digest", "bundle", flipped(MANIFEST_DIGEST, 3), errors.BundleTamperedError, "differs"),
    Case(
        "a file that nobody declared",
        "bundle",
        bundle_then(lambda p: (p / "libonnxruntime.so").write_bytes(b"\x7fELF")),
        errors.BundleTamperedError,
        "not a file of this bundle",
    ),
    Case(
        "an artefact that is no file of it",
        "bundle",
        edited(lambda m: m["artefacts"]["patch_encoder"].update(path="elsewhere.onnx")),
        errors.BundleSchemaError,
        "not among its files",
    ),
    Case(
        "a size that isn't",
        "bundle",
        edited(lambda m: m["files"]["golden.npz"].update(size=seeds.HUGE)),
        errors.BundleTamperedError,
        "the manifest says",
    ),
    Case(
        "a hash that isn't",
        "bundle",
        edited(lambda m: m["files"]["golden.npz"].update(sha256="")),
        errors.BundleTamperedError,
        "SHA-256",
    ),
)

SIGNATURES = (
    Case("no signature", "signature", lambda path: path, errors.SignatureError, "not signed"),
    Case("an empty signature", "signature", content(b""), errors.SignatureError, "not a minisign signature"),
    Case("a signature of 10 GB", "signature", lambda p: sparse(p, seeds.HUGE), errors.SignatureError, "not a minisign"),
    Case(
        "somebody's signature of something",
        "signature",
        content(
            b"untrusted comment: signature from minisign secret key\n"
            b"RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=\n"
            b"trusted comment: timestamp:1555779966\tfile:test\n"
            b"QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==\n"
        ),
        errors.SignatureError,
        "another key, or changed",
    ),
)

GOLDEN = (
    Case("no zip", "golden", content(b"golden"), errors.BundleTamperedError, "not a golden frame"),
    Case(
        "a zip of unreadable names",
        "golden",
        content(seeds.badly_named_zip()),
        errors.BundleTamperedError,
        "not a golden frame",
    ),
    Case("no arrays", "golden", content(b"PK\x05\x06" + bytes(18)), errors.BundleTamperedError, "not a golden frame"),
    Case(
        "an array of 10 GB that isn't there",
        "golden",
        content(seeds.npz_of(npy_header(f"({seeds.HUGE},)"))),
        errors.BundleTamperedError,
        "not a golden frame",
    ),
    Case(
        "an array of 2^70 bytes",
        "golden",
        content(seeds.npz_of(npy_header(f"({1 << 35}, {1 << 35})"))),
        errors.BundleTamperedError,
        "not a golden frame",
    ),
    Case(
        "a negative size",
        "golden",
        content(seeds.npz_of(npy_header("(-1,)"))),
        errors.BundleTamperedError,
        "not a golden frame",
    ),
    Case(
        "pickled objects",
        "golden",
        content(seeds.npz_of(npy_header("(1,)", "|O"), seeds.pickled([0]))),
        errors.BundleTamperedError,
        "not a golden frame",
    ),
    Case("a compressed bomb", "golden", bomb_npz, errors.BundleTamperedError, "not a golden frame"),
)

CHECKPOINTS = (
    Case("nothing", "checkpoint", lambda path: None, errors.WeightsError, "no checkpoint at"),
    Case("empty", "checkpoint", content(b""), errors.WeightsError, "is empty"),
    Case("text", "checkpoint", content(b"hello there, this is no checkpoint"), errors.WeightsError, "not a checkpoint"),
    Case("a web page", "checkpoint", content(b"<!doctype html><html>"), errors.WeightsError, "not a checkpoint"),
    Case(
        "a Git LFS pointer",
        "checkpoint",
        content(b"version https://git-lfs.github.com/spec/v1\n"),
        errors.WeightsError,
        "LFS",
    ),
    Case("an empty folder", "checkpoint", lambda path: path.mkdir(), errors.WeightsError, "holds no checkpoint"),
    Case("safetensors cut short", "checkpoint", content(seeds.safetensors()[:-5]), errors.WeightsError, "safetensors"),
    Case(
        "a tensor of 10 GB", "checkpoint", content(seeds.safetensors(HUGE_TENSOR)), errors.WeightsError, "safetensors"
    ),
    Case(
        "overlapping tensors",
        "checkpoint",
        content(seeds.safetensors(OVERLAPPING, data=bytes(12))),
        errors.WeightsError,
        "safetensors",
    ),
    Case(
        "a header longer than its file",
        "checkpoint",
        content(seeds.safetensors({}, length=90_000_000)),
        errors.WeightsError,
        "safetensors",
    ),
    Case(
        "a header that is no JSON",
        "checkpoint",
        content(seeds.safetensors(b'{"a": ')),
        errors.WeightsError,
        "safetensors",
    ),
    Case("a torch file cut short", "checkpoint", content(seeds.torch_file()[:-40]), errors.WeightsError, "torch file"),
    Case("a torch file of a list", "checkpoint", content(seeds.torch_file([1, 2])), errors.WeightsError, "state_dict"),
    Case(
        "a torch file of a whole module",
        "checkpoint",
        content(seeds.torch_file(torch.nn.Linear(1, 1))),
        errors.WeightsError,
        "more than tensors",
    ),
    Case("a pickle that runs code", "checkpoint", bomb, errors.WeightsError, "nothing in it was run"),
    Case(
        "a zipped one that runs code",
        "checkpoint",
        zipped_bomb,
        errors.WeightsError,
        "nothing in it was run",
    ),
    Case(
        "a zip of unreadable names", "checkpoint", content(seeds.badly_named_zip()), errors.WeightsError, "torch file"
    ),
    Case("a number for 10 GB", "head", expanded, errors.WeightsError, "declares tensors of"),
    Case(
        "a number for 10 GB",
        "checkpoint",
        content(seeds.torch_file({"a": torch.zeros(1).expand(seeds.HUGE // 4)})),
        errors.WeightsError,
        "declares tensors of",
    ),
    Case(
        "a sparse tensor of 10 GB",
        "checkpoint",
        content(seeds.torch_file({"a": torch.zeros(1).to_sparse()})),
        errors.WeightsError,
        "plain tensors are meant",
    ),
    Case(
        "a tensor without data",
        "checkpoint",
        content(seeds.torch_file({"a": torch.zeros(seeds.HUGE, device="meta")})),
        errors.WeightsError,
        "plain tensors are meant",
    ),
    Case("a compressed bomb", "checkpoint", deflated_script, errors.WeightsError, "unpacks to more than it is"),
    Case("a zip of nothing", "checkpoint", content(b"PK\x03\x04" + bytes(60)), errors.WeightsError, "torch file"),
    Case(
        "an index that leads out",
        "checkpoint",
        content(b'{"weight_map": {"a": "../other.safetensors"}}'),
        errors.WeightsError,
        "outside the index's folder",
    ),
    Case(
        "an index of itself",
        "checkpoint",
        lambda path: path.write_text(json.dumps({"weight_map": {"a": path.name}})),
        errors.WeightsError,
        "not a checkpoint",
    ),
    Case(
        "an index of nothing",
        "checkpoint",
        content(b'{"weight_map": {"a": "absent.safetensors"}}'),
        errors.WeightsError,
        "no checkpoint at",
    ),
    Case("an index of a list", "checkpoint", content(b'{"weight_map": []}'), errors.WeightsError, "not an index"),
    Case("a head without layers", "head", content(seeds.safetensors()), errors.WeightsMismatchError, "not an RSA head"),
    Case("a head cut short", "head", content(seeds.head()[:-3]), errors.WeightsError, "safetensors"),
    Case(
        "a head whose layers don't fit",
        "head",
        content(seeds.head().replace(b'"shape":[4,8]', b'"shape":[8,4]')),
        errors.WeightsMismatchError,
        "shape",
    ),
)

PICTURES = (
    Case("nothing", "picture", lambda path: None, errors.PhotoError, "no file"),
    Case("empty", "picture", content(b""), errors.PhotoError, "is empty"),
    Case("a folder", "picture", lambda path: path.mkdir(), errors.PhotoError, "is a folder"),
    Case("text", "picture", content(b"hello"), errors.PhotoError, "not a picture"),
    Case(
        "PostScript",
        "picture",
        content(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        errors.PhotoError,
        "not a picture",
    ),
    Case("a PNG of 100,000 x 100,000", "picture", content(png(100_000, 100_000)), errors.PhotoError, "too large"),
    Case("a PNG of 8,000,000 x 1", "picture", content(png(8_000_000, 1)), errors.PhotoError, "allowed are up to"),
    Case("a PNG that ends early", "picture", content(png(64, 64)), errors.PhotoError, "damaged or cut short"),
    Case("a JPEG cut short", "picture", content(seeds.picture("JPEG", (99, 99))[:-80]), errors.PhotoError, "cut short"),
    Case("a TIFF of nowhere", "picture", content(b"II*\x00\xff\xff\xff\x7f"), errors.PhotoError, "picture|damaged"),
)

PACKAGES = (
    Case("no package", "package", lambda path: path.mkdir(), errors.PackageError, "not an .mlpackage"),
    Case("a parent's spec", "package", manifest_of_package("../../model.mlmodel"), errors.PackageError, "leads out"),
    Case("an absolute spec", "package", manifest_of_package("/etc/passwd"), errors.PackageError, "leads out"),
    Case("no spec", "package", package_then(lambda p: model_of(p).unlink()), errors.PackageError, "not a Core ML spec"),
    Case("an empty spec", "package", cut(model_of, 0), errors.PackageError, "only ML programs"),
    Case("half a spec", "package", cut(model_of, 1300), errors.PackageError, "not a Core ML spec"),
    Case("no weights", "package", package_then(lambda p: weights_of(p).unlink()), errors.PackageError, "is missing"),
    Case("half the weights", "package", cut(weights_of, 400), errors.PackageError, "truncated"),
    Case("no weights but a header", "package", cut(weights_of, 8), errors.PackageError, "less than its header"),
    Case(
        "a manifest of 10 GB",
        "package",
        package_then(lambda p: sparse(p / "Manifest.json", seeds.HUGE)),
        errors.PackageError,
        "has 10737418240 bytes",
    ),
    Case(
        "a spec of 10 GB",
        "package",
        package_then(lambda p: sparse(model_of(p), seeds.HUGE)),
        errors.PackageError,
        "has 10737418240 bytes",
    ),
)

GRAPHS = (
    Case("nothing", "graph", lambda path: None, errors.BundleTamperedError, "No such file"),
    Case("empty", "graph", content(b""), errors.BundleTamperedError, "allowed are 1 to"),
    Case("10 GB", "graph", lambda path: sparse(path, seeds.HUGE), errors.BundleTamperedError, "allowed are 1 to"),
    Case("text", "graph", content(b"hello, this is no graph"), errors.BundleTamperedError, "not an ONNX file"),
    Case("half", "graph", content(seeds.graph()[:-9]), errors.BundleTamperedError, "not an ONNX file"),
    Case("no graph", "graph", graph(lambda m: m.ClearField("graph")), errors.BundleTamperedError, "not an ONNX file"),
    Case(
        "an initializer of 10 GB",
        "graph",
        initializer(lambda t: t.dims.__setitem__(0, seeds.HUGE // 4)),
        errors.BundleTamperedError,
        "declares 10737418240 bytes and holds 8",
    ),
    Case(
        "an initializer of 2^70 bytes",
        "graph",
        initializer(lambda t: t.dims.extend([1 << 34, 1 << 34])),
        errors.BundleTamperedError,
        "and holds 8",
    ),
    Case(
        "an initializer of 10 GB without data",
        "graph",
        initializer(lambda t: (t.ClearField("raw_data"), t.dims.__setitem__(0, seeds.HUGE // 4))),
        errors.BundleTamperedError,
        "2684354560 elements in 0 bytes",
    ),
    Case(
        "a constant of 10 GB in a branch",
        "graph",
        graph(lambda m: m.graph.node[1].attribute[0].g.node[0].attribute[0].t.dims.__setitem__(0, seeds.HUGE // 4)),
        errors.BundleTamperedError,
        "2684354560 elements in 4 bytes",
    ),
    Case(
        "a negative size",
        "graph",
        initializer(lambda t: t.dims.__setitem__(0, -2)),
        errors.BundleTamperedError,
        "sizes",
    ),
    Case(
        "an unknown type",
        "graph",
        initializer(lambda t: setattr(t, "data_type", 99)),
        errors.BundleTamperedError,
        "type 99",
    ),
    Case(
        "weights of 10 GB beside it that aren't there",
        "graph",
        external(length=seeds.HUGE, elements=seeds.HUGE // 4),
        errors.BundleTamperedError,
        "which has 8",
    ),
    Case("weights in a parent", "graph", external("../w.bin"), errors.BundleTamperedError, "no file beside it"),
    Case("weights in /etc", "graph", external("/etc/passwd"), errors.BundleTamperedError, "no file beside it"),
    Case("weights that aren't there", "graph", external("v.bin"), errors.BundleTamperedError, "No such file"),
    Case("weights from before the file", "graph", external(offset=-8), errors.BundleTamperedError, "from byte -8"),
    Case("weights cut short", "graph", external(offset=4), errors.BundleTamperedError, "which has 8"),
    Case(
        "sparse weights",
        "graph",
        graph(lambda m: m.graph.sparse_initializer.add()),
        errors.BundleTamperedError,
        "sparse",
    ),
    Case(
        "graphs a hundred deep",
        "graph",
        graph(lambda m: nest(m.graph, 100)),
        errors.BundleTamperedError,
        "deep in each other",
    ),
)

IRS = (
    Case("nothing", "ir", lambda path: None, errors.BundleTamperedError, "No such file"),
    Case("empty", "ir", ir(new=b""), errors.BundleTamperedError, "no element found"),
    Case("text", "ir", ir(new=b"hello, this is no graph"), errors.BundleTamperedError, "not well-formed|syntax"),
    Case("another document", "ir", ir(new=b"<html></html>"), errors.BundleTamperedError, "<html>, not <net>"),
    Case("half", "ir", ir(new=seeds.IR[:300]), errors.BundleTamperedError, "not an OpenVINO IR"),
    Case(
        "a graph of 10 GB",
        "ir",
        lambda path: sparse(seeds.ir(path), seeds.HUGE),
        errors.BundleTamperedError,
        "has 10737418240 bytes",
    ),
    Case(
        "a few lines that unfold to 10 GB",
        "ir",
        ir(b"<net", b'<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><net'),
        errors.BundleTamperedError,
        "document type",
    ),
    Case(
        "another file in it",
        "ir",
        ir(b"<net", b'<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]><net'),
        errors.BundleTamperedError,
        "document type",
    ),
    Case(
        "a constant of 10 GB",
        "ir",
        ir(b'shape="2, 1" offset="4" size="8"', b'shape="2684354560, 1" offset="4" size="10737418240"'),
        errors.BundleTamperedError,
        "of a .bin that has 12",
    ),
    Case(
        "a shape of 10 GB in 8 bytes",
        "ir",
        ir(b'shape="2, 1"', b'shape="2684354560, 1"'),
        errors.BundleTamperedError,
        "declares 10737418240 bytes, 8 from",
    ),
    Case("a constant past the end", "ir", ir(b'offset="4"', b'offset="8"'), errors.BundleTamperedError, "byte 8 of"),
    Case("a negative offset", "ir", ir(b'offset="4"', b'offset="-4"'), errors.BundleTamperedError, "size '-4'"),
    Case("a size of 2^70", "ir", ir(b'"8"', b'"1180591620717411303424"'), errors.BundleTamperedError, "has the size"),
    Case("an unknown type", "ir", ir(b'"f32"', b'"string"'), errors.BundleTamperedError, "type 'string'"),
    Case(
        "a constant by another name",
        "ir",
        ir(b'"Const" version="opset1"><data element_type="f32" shape="2', b'"Konst"><data element_type="f32" shape="9'),
        errors.BundleTamperedError,
        "declares 36 bytes",
    ),
    Case("elements deep", "ir", ir(b"<layers>", b"<a>" * 100_000), errors.BundleTamperedError, "deep in each other"),
    Case(
        "no weights",
        "ir",
        lambda path: seeds.ir(path).with_suffix(".bin").unlink(),
        errors.BundleTamperedError,
        "No such file",
    ),
)

SOURCES = (
    Case("no tar", "tar", content(b"no tar" * 200), errors.PhotoError, "not a tar shard"),
    Case("half a tar", "tar", content(seeds.tar(seeds.picture())[:700]), errors.PhotoError, "cut short|not a tar"),
    Case(
        "a picture of 10 GB that isn't there",
        "tar",
        content(seeds.tar(seeds.picture()).replace(b"%011o" % len(seeds.picture()), b"%011o" % ((8 << 30) - 1))),
        errors.PhotoError,
        "not a tar shard",
    ),
    Case("no parquet", "parquet", content(b"PAR1 but not really PAR1"), errors.PhotoError, "not a parquet file"),
    Case("a billion frames", "video", announcing, errors.PhotoError, "announces 1073741824 frames"),
    Case("no video", "video", content(b"no video" * 200), errors.PhotoError, "no video"),
    Case(
        "a list of other files for a video",
        "video",
        content(b"ffconcat version 1.0\nfile /etc/passwd\n"),
        errors.PhotoError,
        "no video",
    ),
    Case(
        "a list of addresses for a video",
        "video",
        content(b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"),
        errors.PhotoError,
        "no video",
    ),
)

PACKS = (
    Case("nothing", "pack", lambda path: None, errors.BundleNotFoundError, "no pack"),
    Case("a bundle", "pack", seeds.bundle, errors.BundleNotFoundError, "no pack"),
    Case("no JSON", "pack", listed(b"targets"), errors.BundleTamperedError, "not what was written"),
    Case("no bundles", "pack", listed(b'{"schema_version": 1, "targets": {}}'), errors.BundleTamperedError, "not what"),
    Case(
        "a list of 10 GB", "pack", pack_then(lambda p: sparse(p / TARGETS, seeds.HUGE)), errors.BundleError, "no such"
    ),
    Case("a million entries", "pack", million_entries, errors.BundleError, "no such file has more"),
    Case(
        "another bundle's hash",
        "pack",
        pack_then(lambda p: seeds.seal(p / "targets" / "onnx-fp32", b"{}")),
        errors.BundleTamperedError,
        "not the bundle that was packed",
    ),
)

RUNS = (
    Case("no JSON", "run", content(b"run"), errors.RunError, "not a run"),
    Case("nested deep", "run", content(b"[" * 100_000), errors.RunError, "not a run"),
    Case("not UTF-8", "run", content(b"\xff\xfe"), errors.RunError, "not a run"),
    Case("10 GB", "run", lambda path: sparse(path, seeds.HUGE), errors.RunError, "has 10737418240 bytes"),
)


def pipe(kind: str, make: Callable[[Path], Path], error: type[errors.EdgeDepthError], says: str) -> Case:
    """A named pipe in a file's place: opening it would wait for ever."""

    def change(path: Path) -> None:
        place = make(path)
        place.unlink(missing_ok=True)
        os.mkfifo(place)

    return Case(f"a pipe for a {kind}", kind, change, error, says)


PIPES = (
    pipe("bundle", lambda p: seeds.bundle(p) / MANIFEST, errors.BundleNotFoundError, "no manifest.json"),
    pipe("bundle", lambda p: seeds.bundle(p) / "golden.npz", errors.BundleTamperedError, "not a plain file"),
    pipe("signature", lambda p: p, errors.SignatureError, "not a plain file"),
    pipe("checkpoint", lambda p: p, errors.WeightsError, "not a plain file"),
    pipe("picture", lambda p: p, errors.PhotoError, "a pipe"),
    pipe("package", lambda p: seeds.package(p) / "Manifest.json", errors.PackageError, "not a plain file"),
    pipe("package", lambda p: model_of(seeds.package(p)), errors.PackageError, "not a plain file"),
    pipe("package", lambda p: weights_of(seeds.package(p)), errors.PackageError, "not a plain file"),
    pipe("run", lambda p: p, errors.RunError, "not a plain file"),
)


CASES = (
    *(*BUNDLES, *PACKS, *GRAPHS, *IRS, *SIGNATURES, *GOLDEN, *CHECKPOINTS, *PICTURES, *SOURCES, *PACKAGES, *RUNS),
    *(PIPES if hasattr(os, "mkfifo") else ()),
)
