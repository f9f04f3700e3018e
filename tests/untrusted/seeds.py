"""Small whole files of every kind that edgedepth reads from strangers: what the tests damage."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from PIL import Image
from safetensors.torch import save

from edgedepth.core.bundle import MANIFEST, MANIFEST_DIGEST, open_bundle, write_bundle
from edgedepth.core.manifest import Artefact, Golden, Manifest
from edgedepth.core.packing import write_pack
from edgedepth.core.spec import ModelSpec, PreprocessSpec, PyramidLevel, StageSpec, TensorSpec, TilingSpec

PACKAGE = Path(__file__).with_name("tiny.mlpackage")
HUGE = 10 << 30  # bytes that a liar declares


def bundle(folder: Path) -> Path:
    """A bundle of three files whose artefacts are no graphs: what open_bundle looks at is whole."""
    tiles = TensorSpec(name="tiles", dtype="float32", shape=("tiles", 3, 32, 32))
    depth = TensorSpec(name="canonical_inverse_depth", dtype="float32", shape=(1, 1, 64, 64), unit="1/m")
    encoder = StageSpec(name="patch_encoder", inputs=(tiles,), outputs=(depth,))
    model = ModelSpec(
        name="small",
        family="depth-pro",
        kind="metric",
        stages=(encoder,),
        preprocess=PreprocessSpec(size=64),
        tiling=TilingSpec(tile=32, grid=2, levels=(PyramidLevel(scale=1, steps=3, stride=16, padding=1),)),
        parameters=1,
        licence="Apache-2.0",
        source="a test",
        weights_sha256="0" * 64,
        trained=False,
    )
    with write_bundle(folder) as writer:
        (writer.stage_folder("patch_encoder") / "model.onnx").write_bytes(bytes(range(256)))
        (writer.folder / "golden.npz").write_bytes(golden())
        manifest = Manifest(
            schema_version=1,
            model=model,
            target="onnx",
            precision="fp32",
            layout="staged",
            tile_batch=None,
            artefacts={"patch_encoder": Artefact(stage=encoder, path="patch_encoder/model.onnx")},
            golden=Golden(path="golden.npz", max_abs_rel=0.001, reason="a test"),
            files=writer.file_entries(),
            toolchain={},
            created_utc="2026-01-02T03:04:05Z",
        )
        writer.finish(manifest)
    return folder


def seal(folder: Path, manifest: bytes) -> None:
    """Give a folder a manifest and the digest that fits it, as anybody can."""
    (folder / MANIFEST).write_bytes(manifest)
    (folder / MANIFEST_DIGEST).write_text(f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST}\n")


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A bundle with another manifest, sealed."""
    document = json.loads((bundle(folder) / MANIFEST).read_text())
    change(document)
    seal(folder, json.dumps(document).encode())
    return folder


def golden(side: int = 8) -> bytes:
    """A golden frame."""
    content = io.BytesIO()
    np.savez(
        content,
        frame_rgb=np.zeros((side, side, 3), np.uint8),
        depth=np.ones((side, side), np.float32),
        fov_deg=np.float32(60),
    )
    return content.getvalue()


def graph(change: Callable[[Any], object] = lambda model: None) -> bytes:
    """An ONNX file of one product, of weights in the file, and of a branch whose constant is in the node."""
    make = onnx.helper
    value = make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    result = make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
    weights = onnx.numpy_helper.from_array(np.ones(2, np.float32), "weights")
    typed = make.make_tensor("typed", onnx.TensorProto.INT64, [3], [1, 2, 3])
    constant = make.make_node("Constant", [], ["z"], value=make.make_tensor("c", onnx.TensorProto.FLOAT, [1], [1.0]))
    branch = make.make_graph([constant], "branch", [], [make.make_tensor_value_info("z", 1, [1])])
    chosen = make.make_node("If", ["flag"], ["z"], then_branch=branch, else_branch=branch)
    body = make.make_graph([make.make_node("Mul", ["x", "weights"], ["y"]), chosen], "g", [value], [result])
    body.initializer.extend([weights, typed])
    model = make.make_model(body)
    change(model)
    return model.SerializeToString()


IR = (
    b'<?xml version="1.0"?>\n<net name="g" version="11"><layers>'
    b'<layer id="0" name="w" type="Const" version="opset1"><data element_type="f32" shape="2, 1" offset="4" size="8"/>'
    b'<output><port id="0" precision="FP32"><dim>2</dim><dim>1</dim></port></output></layer>'
    b'<layer id="1" name="y" type="Result" version="opset1"><input><port id="0"><dim>2</dim><dim>1</dim></port></input>'
    b'</layer></layers><edges><edge from-layer="0" from-port="0" to-layer="1" to-port="0"/></edges></net>'
)
"""An OpenVINO IR of one constant, in a .bin of 12 bytes."""


def ir(path: Path, xml: bytes = IR) -> Path:
    """An IR at a path; its .bin beside it."""
    path.with_suffix(".bin").write_bytes(bytes(12))
    path.write_bytes(xml)
    return path


def tar(*pictures: bytes) -> bytes:
    """A shard of pictures."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for number, data in enumerate(pictures):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def pack(folder: Path) -> Path:
    """A pack of one bundle."""
    return write_pack([open_bundle(bundle(folder.with_name("packed")))], folder).path


def npz_of(header: bytes, data: bytes = b"") -> bytes:
    """An NPZ whose arrays have a header of one's own."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in ("frame_rgb.npy", "depth.npy"):
            archive.writestr(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data)
    return content.getvalue()


def safetensors(header: dict[str, Any] | bytes | None = None, *, length: int | None = None, data: bytes = b"") -> bytes:
    """A checkpoint of two tensors; or one with a header of one's own."""
    if header is None:
        return save({"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)})
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def torch_file(content: object = None, *, zipped: bool = True) -> bytes:
    """A torch checkpoint, of tensors unless told otherwise."""
    file = io.BytesIO()
    tensors = {"a.weight": torch.ones(2, 3)} if content is None else content
    torch.save(tensors, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def badly_named_zip() -> bytes:
    """A zip file with a name that says it is UTF-8, and isn't: zipfile raises UnicodeDecodeError over it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("é", b"")
    return content.getvalue().replace("é".encode(), b"\xff\xff")


def head(text: int = 8) -> bytes:
    """An RSA head for text features of that width."""
    widths = {"scene_feat_net": (text, 4), "scale_net": (4, 1), "shift_net": (4, 1)}
    tensors = {}
    for net, (inputs, outputs) in widths.items():
        tensors[f"{net}.0.weight"] = torch.zeros(outputs, inputs)
        tensors[f"{net}.0.bias"] = torch.zeros(outputs)
    return save(tensors)


def picture(kind: str = "PNG", size: tuple[int, int] = (8, 6), **options: Any) -> bytes:
    """A picture file; with EXIF data where the format has it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 28
    content = io.BytesIO()
    Image.new("RGB", size, (9, 99, 200)).save(
        content, kind, **({} if kind in ("BMP", "GIF") else {"exif": exif}), **options
    )
    return content.getvalue()


def package(folder: Path) -> Path:
    """A Core ML package of one small network."""
    shutil.copytree(PACKAGE, folder)
    return folder


class Bomb:
    """What a pickle of an attacker holds: unpickling it calls a function."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def pickled(content: object) -> bytes:
    """A plain pickle, as torch wrote checkpoints once."""
    return pickle.dumps(content, protocol=2)
