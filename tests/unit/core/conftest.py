"""A small bundle that is quick to write, and the same one every time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgedepth.core.bundle import Bundle, BundleWriter, open_bundle, write_bundle
from edgedepth.core.manifest import Artefact, FileEntry, Golden, Manifest
from edgedepth.core.spec import ModelSpec, PreprocessSpec, PyramidLevel, StageSpec, TensorSpec, TilingSpec

SMALL_FILES = {
    "decoder/model.onnx": b"decoder",
    "decoder/model.onnx.data": bytes(range(256)) * 16,
    "golden.npz": b"frame and depth",
    "patch_encoder/model.onnx": b"patch encoder",
}


def small_manifest(
    files: dict[str, FileEntry], *, name: str = "small", created_utc: str = "2025-01-02T03:04:05Z"
) -> Manifest:
    tiles = TensorSpec(name="tiles", dtype="float32", shape=("tiles", 3, 32, 32))
    features = TensorSpec(name="features", dtype="float32", shape=("tiles", 2, 2, 8))
    depth = TensorSpec(name="canonical_inverse_depth", dtype="float32", shape=(1, 1, 64, 64), unit="1/m")
    patch_encoder = StageSpec(name="patch_encoder", inputs=(tiles,), outputs=(features,))
    decoder = StageSpec(name="decoder", inputs=(features,), outputs=(depth,))
    return Manifest(
        schema_version=1,
        model=ModelSpec(
            name=name,
            family="depth-pro",
            kind="metric",
            stages=(patch_encoder, decoder),
            preprocess=PreprocessSpec(size=64),
            tiling=TilingSpec(tile=32, grid=2, levels=(PyramidLevel(scale=1, steps=3, stride=16, padding=1),)),
            parameters=1234,
            licence="Apache-2.0",
            source="a test",
            weights_sha256="0" * 64,
            trained=False,
        ),
        target="onnx",
        precision="fp32",
        layout="staged",
        tile_batch=None,
        artefacts={
            stage.name: Artefact(stage=stage, path=f"{stage.name}/model.onnx") for stage in (patch_encoder, decoder)
        },
        golden=Golden(path="golden.npz", max_abs_rel=0.001, reason="a test"),
        files=files,
        toolchain={"torch": "2.13.0"},
        created_utc=created_utc,
    )


def fill(writer: BundleWriter, **facts: str) -> None:
    """What an exporter does with a writer: files, their hashes, the manifest."""
    for name, content in SMALL_FILES.items():
        path = writer.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    writer.finish(small_manifest(writer.file_entries(), **facts))


def write_small(path: Path, **facts: str) -> Bundle:
    with write_bundle(path) as writer:
        fill(writer, **facts)
    return open_bundle(path)


@pytest.fixture
def fill_small() -> Callable[..., None]:
    """fill(writer, name=..., created_utc=...)."""
    return fill


@pytest.fixture
def make_bundle() -> Callable[..., Bundle]:
    """write_small(path, name=..., created_utc=...) -> the opened bundle."""
    return write_small


@pytest.fixture
def manifest() -> Manifest:
    """A manifest as the small bundle has it, hashes aside."""
    return small_manifest({name: FileEntry(sha256="1" * 64, size=len(data)) for name, data in SMALL_FILES.items()})


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle in a folder of its own."""
    return write_small(tmp_path / "bundle")
