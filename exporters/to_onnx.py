"""ONNX bundles: for ONNX Runtime, and for the toolchains that start from ONNX."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from platform import python_version
from typing import get_args

from edgedepth.core.bundle import Bundle, BundleWriter, open_bundle, write_bundle
from edgedepth.core.environment import versions_of
from edgedepth.core.errors import UnsupportedError
from edgedepth.core.manifest import SCHEMA_VERSION, Artefact, Manifest
from edgedepth.core.optional import require
from edgedepth.core.progress import Progress, silent
from edgedepth.core.spec import DEFAULT_TILE_BATCH, Layout, ModelSpec, StageSpec, TensorSpec
from edgedepth.exporters.base import ExportOptions, Support
from edgedepth.models.depth_pro_config import DEPTH_PRO, depth_pro_tiling, whole_stage
from edgedepth.models.loading import LoadedModel

__all__ = ["OPSETS", "OnnxExporter"]

OPSETS = range(17, 21)
"""LayerNormalization came with 17; from 23 torch writes an Attention operator that TensorRT doesn't build."""

_PRECISIONS = ("fp32", "fp16")
_TOOLCHAIN = ("edgedepth", "torch", "onnx", "onnxscript", "onnx-ir", "numpy")


class OnnxExporter:
    """Exports with torch.onnx.export(dynamo=True), one graph a stage, each checked after it was written."""

    target = "onnx"
    needs = ("torch", "onnx", "onnxscript")

    def check(self, options: ExportOptions) -> Support:
        """Whether these options can be met; see Exporter.check."""
        tiles = depth_pro_tiling(DEPTH_PRO).count
        chosen_batch = options.dynamic_batch or options.tile_batch != DEFAULT_TILE_BATCH
        objections = (
            (
                options.precision not in _PRECISIONS,
                f"ONNX at {options.precision} is not built yet; this version exports {' and '.join(_PRECISIONS)}",
                "use --fp32 or --fp16",
            ),
            (
                options.layout not in get_args(Layout),
                f"there is no layout {options.layout!r}",
                f"use --layout {' or '.join(get_args(Layout))}",
            ),
            (
                not _is_count(options.tile_batch) or not 1 <= options.tile_batch <= tiles,
                f"tile batch {options.tile_batch!r} is not a whole number from 1 to {tiles}, the tiles of a frame",
                "use --tile-batch 5, which divides them evenly",
            ),
            (
                not _is_count(options.opset) or options.opset not in OPSETS,
                f"opset {options.opset!r} is not one of {OPSETS[0]} to {OPSETS[-1]}: older ones have no "
                "LayerNormalization, newer ones are not tested with the runtimes",
                "use --opset 20",
            ),
            (
                options.layout == "single" and chosen_batch,
                "a single graph cuts its own tiles, all in one batch: there is no tile batch to choose or leave open",
                "use --layout staged with --tile-batch and --dynamic-batch, or leave them out",
            ),
            (
                options.dynamic_batch and options.tile_batch != DEFAULT_TILE_BATCH,
                f"tile batch {options.tile_batch} and a dynamic batch exclude each other",
                "leave --tile-batch out and choose it when running, or leave --dynamic-batch out",
            ),
        )
        for objects, reason, remedy in objections:
            if objects:
                return Support(ok=False, reason=reason, remedy=remedy)
        return Support(ok=True)

    def export(self, source: LoadedModel, options: ExportOptions, out: Path, *, progress: Progress = silent) -> Bundle:
        """Export a model; see Exporter.export."""
        support = self.check(options)
        if not support.ok:
            raise UnsupportedError(support.reason, remedy=support.remedy)
        for module in self.needs:
            require(module, extra="export", purpose="to export to ONNX")
        model = _exported_model(source, options)
        with write_bundle(out) as writer:
            manifest = _write(writer, source, model, options, progress)
            writer.finish(manifest)
        progress("exported", len(model.stages) + 2, len(model.stages) + 2)
        return open_bundle(out, check_hashes=False)


def _write(
    writer: BundleWriter, source: LoadedModel, model: ModelSpec, options: ExportOptions, progress: Progress
) -> Manifest:
    """Everything but the manifest itself."""
    from edgedepth.exporters.golden import write_golden
    from edgedepth.exporters.to_onnx_stage import export_stage
    from edgedepth.models.depth_pro_stages import stage_modules

    steps = len(model.stages) + 2
    modules = stage_modules(source.module)
    artefacts = {}
    for number, declared in enumerate(model.stages):
        progress(f"stage {declared.name}", number, steps)
        stage = declared if options.dynamic_batch else _with_fixed_batch(declared, options.tile_batch)
        path = writer.stage_folder(stage.name) / f"{stage.name}.onnx"
        export_stage(modules[stage.name], stage, path, precision=options.precision, opset=options.opset)
        artefacts[stage.name] = Artefact(stage=stage, path=path.relative_to(writer.folder).as_posix())
    progress("golden frame", steps - 2, steps)
    golden = write_golden(source, writer.folder, tile_batch=options.tile_batch, precision=options.precision)
    progress("hashing", steps - 1, steps)
    fixed = options.layout == "staged" and not options.dynamic_batch
    return Manifest(
        schema_version=SCHEMA_VERSION,
        model=model,
        target=OnnxExporter.target,
        precision=options.precision,
        layout=options.layout,
        tile_batch=options.tile_batch if fixed else None,
        artefacts=artefacts,
        golden=golden,
        files=writer.file_entries(),
        toolchain=versions_of(_TOOLCHAIN) | {"python": python_version(), "onnx-opset": str(options.opset)},
        created_utc=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _exported_model(source: LoadedModel, options: ExportOptions) -> ModelSpec:
    """The model as the bundle holds it: in its stages, or as one."""
    if options.layout == "single":
        return replace(source.spec, stages=(whole_stage(source.entry.config),))
    return source.spec


def _with_fixed_batch(stage: StageSpec, tile_batch: int) -> StageSpec:
    def fixed(tensor: TensorSpec) -> TensorSpec:
        shape = tuple(tile_batch if isinstance(size, str) else size for size in tensor.shape)
        return replace(tensor, shape=shape)

    return replace(stage, inputs=tuple(map(fixed, stage.inputs)), outputs=tuple(map(fixed, stage.outputs)))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
