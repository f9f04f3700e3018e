"""The manifest's bytes are a contract between versions: tests/golden/manifest.json was read by eye, line by line.

If this test fails, a field was added, moved or renamed. Bundles on robots have the old bytes: think of SCHEMA_VERSION,
then render FULL into the file and read the difference.
"""

from __future__ import annotations

from pathlib import Path

from edgedepth.core.engine import BuildOptions, EngineFacts
from edgedepth.core.manifest import Artefact, FileEntry, Golden, Manifest, read_manifest, render_manifest
from edgedepth.core.spec import ModelSpec, PreprocessSpec, PyramidLevel, StageSpec, TensorSpec, TilingSpec

GOLDEN = Path(__file__).with_name("manifest.json")

ENCODER = StageSpec(
    name="patch_encoder",
    inputs=(TensorSpec(name="tiles", dtype="float32", shape=("tiles", 3, 128, 128)),),
    outputs=(
        TensorSpec(name="latent0", dtype="float32", shape=("tiles", 8, 8, 192)),
        TensorSpec(name="features", dtype="float32", shape=("tiles", 8, 8, 192)),
    ),
)
FOV = StageSpec(
    name="fov",
    inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 3, 128, 128)),),
    outputs=(TensorSpec(name="fov_deg", dtype="float32", shape=(1, 1), unit="deg"),),
)
FULL = Manifest(
    schema_version=1,
    model=ModelSpec(
        name="depth-pro-mini",
        family="depth-pro",
        kind="metric",
        stages=(ENCODER, FOV),
        preprocess=PreprocessSpec(size=512, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        tiling=TilingSpec(
            tile=128,
            grid=8,
            levels=(
                PyramidLevel(scale=1, steps=5, stride=96, padding=1),
                PyramidLevel(scale=2, steps=3, stride=64, padding=2),
                PyramidLevel(scale=4, steps=1, stride=128, padding=0),
            ),
        ),
        parameters=11_000_000,
        licence="Apache-2.0",
        source='seeded random weights, "untrained" – Größe 512²',
        weights_sha256="ab" * 32,
        trained=False,
    ),
    target="onnx",
    precision="fp16",
    layout="staged",
    tile_batch=5,
    # Dicts are sorted in the file, whatever their order here.
    artefacts={
        "patch_encoder": Artefact(stage=ENCODER, path="patch_encoder/model.onnx"),
        "fov": Artefact(stage=FOV, path="fov/model.onnx"),
    },
    golden=Golden(path="golden.npz", max_abs_rel=0.0025, reason="fp16 keeps 11 bits"),
    files={
        "patch_encoder/model.onnx": FileEntry(sha256="01" * 32, size=123_456),
        "patch_encoder/model.onnx.data": FileEntry(sha256="02" * 32, size=1_904_446_787),
        "fov/model.onnx": FileEntry(sha256="03" * 32, size=0),
        "golden.npz": FileEntry(sha256="04" * 32, size=1_000),
    },
    toolchain={"torch": "2.13.0+cpu", "edgedepth": "0.1.0", "onnx": "1.20.0"},
    created_utc="2025-01-02T03:04:05Z",
    device="NVIDIA Orin (compute 8.7)",
    calibration="cd" * 32,
    parity={"passed": True, "abs_rel": 1e-05, "max_rel": 0.5},
    build=BuildOptions(workspace_mb=2048),
    engines=(
        EngineFacts(
            stage=FOV,
            path="fov/tensorrt-10.16.2-sm87-05050505.plan",
            sha256="05" * 32,
            size=4_096,
            provider="tensorrt",
            version="10.16.2",
            sms=(87,),
            device="Orin",
            precision="fp16",
            onnx_sha256="06" * 32,
            options=BuildOptions(workspace_mb=2048, dla_core=0),
            build_s=61.5,
            peak_rss_mb=2_200.5,
            on_gpu=("Softmax_1",),
        ),
    ),
    speed={"int8_ms": 10.5, "fp32_ms": 25.0, "times_fp32": 2.381},
)


def test_the_same_manifest_gives_the_same_bytes() -> None:
    assert render_manifest(FULL).encode("utf-8") == GOLDEN.read_bytes()


def test_the_same_bytes_give_the_same_manifest() -> None:
    back = read_manifest(GOLDEN.read_bytes().decode("utf-8"), where="manifest.json")
    assert back == FULL
    assert back.parity is not None
    assert back.parity["passed"] is True  # and not 1.0, which would be equal
    assert isinstance(back.model.stages, tuple)
