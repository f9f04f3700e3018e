"""What a bundle says of itself: manifest.json.

The file is byte-exact: the same manifest gives the same bytes on any machine (tests/golden/manifest.json).
A change that an older version would misread raises SCHEMA_VERSION.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from edgedepth.core.engine import BuildOptions, EngineFacts
from edgedepth.core.errors import BundleSchemaError
from edgedepth.core.plain import from_plain, to_plain
from edgedepth.core.spec import Layout, ModelSpec, Precision, StageSpec

__all__ = [
    "PROBE",
    "SCHEMA_VERSION",
    "Artefact",
    "FileEntry",
    "Golden",
    "Manifest",
    "read_manifest",
    "render_manifest",
]

SCHEMA_VERSION = 1

PROBE = "probe."
"""How the names of stages' values in a golden .npz begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of the bundle.

    Args:
        sha256: hex digest of its bytes.
        size: bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A stage as this bundle holds it.

    Args:
        stage: names, dtypes and shapes as the artefact declares them (a fixed tile batch is an int here).
        path: the file that a runtime opens, relative to the bundle, with forward slashes.
    """

    stage: StageSpec
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """What the reference gave for one known frame: every device must reproduce it before it serves.

    Args:
        path: an .npz with frame_rgb (H, W, 3) uint8, depth (H, W) float32 in metres, fov_deg () float32, and some
            values of each stage's outputs as "probe.STAGE.OUTPUT" (programs/probes.py).
        max_abs_rel: mean of |depth - golden| / golden that is still right at this precision.
        reason: why that much.
    """

    path: str
    max_abs_rel: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything a runtime needs, and everything a person wants to know later.

    Args:
        schema_version: SCHEMA_VERSION of the writer.
        model: the model, weights hash and licence included.
        target: "onnx", "tensorrt", "openvino", "coreml", "coreai".
        precision: of the arithmetic; inputs and outputs are float32 at every precision.
        layout: "staged" (one graph a stage) or "single".
        tile_batch: tiles a call of the patch encoder; None: any number.
        artefacts: by stage.
        golden: the frame that proves a device.
        files: every file of the bundle but the manifest itself.
        toolchain: versions of what made it.
        created_utc: ISO 8601, seconds.
        device: what the artefacts are bound to; None: portable.
        calibration: fingerprint of the INT8 calibration set, or None.
        parity: the parity report's summary, once verified at export, or None. Of INT8: its figures against fp32 on the
            frames of the calibration set that were held back.
        build: how TensorRT engines are built from the artefacts; None: the artefacts run as they are.
        engines: those that were built.
        speed: of INT8, where it was exported: milliseconds of a frame by precision, and how many times as fast as each
            of the others it is; or None.
    """

    schema_version: int
    model: ModelSpec
    target: str
    precision: Precision
    layout: Layout
    tile_batch: int | None
    artefacts: dict[str, Artefact]
    golden: Golden
    files: dict[str, FileEntry]
    toolchain: dict[str, str]
    created_utc: str
    device: str | None = None
    calibration: str | None = None
    parity: dict[str, float | bool] | None = None
    build: BuildOptions | None = None
    engines: tuple[EngineFacts, ...] = ()
    speed: dict[str, float] | None = None


def render_manifest(manifest: Manifest) -> str:
    """The manifest's JSON text, the same for equal manifests."""
    return json.dumps(to_plain(manifest), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_manifest(text: str, *, where: str) -> Manifest:
    """Parse a manifest's text.

    Args:
        text: what manifest.json holds.
        where: its path, for messages.

    Raises:
        BundleSchemaError: not JSON, another schema, or a field that is missing, unknown or of the wrong type.
    """
    again = "export the bundle again with this version: edgedepth export --help"
    try:
        data = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BundleSchemaError(f"{where} is not JSON: {error}", remedy=again) from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise BundleSchemaError(f"{where} has no schema_version that is a whole number", remedy=again)
    if version < 1:
        raise BundleSchemaError(f"{where} has schema {version}; the first is 1", remedy=again)
    if version > SCHEMA_VERSION:
        raise BundleSchemaError(
            f"{where} has schema {version}; this edgedepth reads up to {SCHEMA_VERSION}",
            remedy="pip install --upgrade edgedepth",
        )
    try:
        manifest = from_plain(Manifest, data, where="manifest")
        render_manifest(manifest).encode("utf-8")  # JSON can escape half a character, which nothing can print or open
    except ValueError as error:
        raise BundleSchemaError(f"{where} is not a manifest of schema {version}: {error}", remedy=again) from None
    return manifest


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse an object that names a field twice: json would take the last one and say nothing."""
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise ValueError(f"field {name!r} stands there twice")
        fields[name] = value
    return fields


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that JSON has")
