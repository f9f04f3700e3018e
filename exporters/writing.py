"""What every export does whatever its target: options looked at, one artefact a stage, golden frame, manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, get_args

from edgedepth.core.bundle import Bundle, BundleWriter, open_bundle, write_bundle
from edgedepth.core.engine import BuildOptions
from edgedepth.core.environment import versions_of
from edgedepth.core.errors import UnsupportedError
from edgedepth.core.manifest import SCHEMA_VERSION, Artefact, Manifest
from edgedepth.core.progress import Progress
from edgedepth.core.spec import DEFAULT_TILE_BATCH, Layout, ModelSpec, StageSpec, TensorSpec
from edgedepth.core.targets import PRECISIONS
from edgedepth.exporters.base import ExportOptions, Support
from edgedepth.exporters.coreml_options import CoreMlOptions
from edgedepth.models.depth_pro_config import (
    DEPTH_PRO,
    DepthProConfig,
    decoder_window_stages,
    depth_pro_tiling,
    whole_stage,
)
from edgedepth.models.loading import LoadedModel
from edgedepth.models.registry import ModelEntry
from edgedepth.models.relative_config import RelativeConfig, RsaConfig
from edgedepth.models.zoedepth_config import ZoeDepthConfig

if TYPE_CHECKING:
    from torch import nn

__all__ = ["JoinStages", "Recipe", "WriteStage", "check_family", "check_options", "export_stages"]

JoinStages = Callable[[dict[str, Artefact], Path], dict[str, Artefact]]
"""Puts the stages that were written into a bundle's folder into one artefact, and tells where each is now."""

WriteStage = Callable[["nn.Module", StageSpec, Path], None]
"""Writes one stage's artefact to a path in an empty folder, from the module and what the artefact shall declare."""

_HALVES = (0.5, 0.5, 0.5)
_MIN_SIDE, _MAX_SIDE = 16, 8192  # of a frame, as everywhere
_TABLE = "use --target onnx or --target openvino; docs/how-to/rsa.md has a table of what goes where"

_NAMES = {"onnx": "ONNX", "openvino": "OpenVINO", "tensorrt": "TensorRT", "coreml": "Core ML", "coreai": "Core AI"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What differs from target to target.

    Args:
        target: what the bundle is for.
        suffix: of the file that a runtime opens, ".onnx".
        write_stage: writes one stage.
        toolchain: versions of what made it, for the manifest: {"onnx": "1.18"}.
        folded: whether the decoder's layers are folded: where transposed convolutions are fast.
        spelled_softmax: whether softmax over scores with position biases is written as exponentials over their sum:
            where it is fused wrongly.
        build: how engines are built from the artefacts on the device; None: they run as they are.
        join: puts all stages into one artefact; None: they stay apart.
    """

    target: str
    suffix: str
    write_stage: WriteStage
    toolchain: dict[str, str]
    folded: bool = False
    spelled_softmax: bool = False
    build: BuildOptions | None = None
    join: JoinStages | None = None


def check_options(options: ExportOptions, target: str) -> Support:
    """Whether the options that mean the same to every target can be met; Exporter.check adds the target's own."""
    tiles = depth_pro_tiling(DEPTH_PRO).count
    precisions = PRECISIONS[target]
    chosen_batch = options.dynamic_batch or options.tile_batch != DEFAULT_TILE_BATCH
    objections = (
        (
            options.precision not in precisions,
            f"{_NAMES[target]} at {options.precision} is not built yet; this version exports {_listed(precisions)}",
            f"use {' or '.join((*(f'--{precision}' for precision in precisions), *_targets_with(options.precision)))}",
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
            options.layout == "single" and chosen_batch,
            "a single graph cuts its own tiles, all in one batch: there is no tile batch to choose or leave open",
            "use --layout staged with --tile-batch and --dynamic-batch, or leave them out",
        ),
        (
            options.dynamic_batch and options.tile_batch != DEFAULT_TILE_BATCH,
            f"tile batch {options.tile_batch} and a dynamic batch exclude each other",
            "leave --tile-batch out and choose it when running, or leave --dynamic-batch out",
        ),
        (
            options.decoder_windows and options.layout == "single",
            "a single graph has no decoder of its own to cut into windows",
            "use --layout staged with --decoder-windows, or leave it out",
        ),
        (
            options.decoder_windows and target not in ("onnx", "openvino", "tensorrt"),
            f"a decoder in windows was never tried on {_NAMES[target]}",
            "leave --decoder-windows out, or use --target onnx, openvino or tensorrt",
        ),
        (
            options.engine is not None and target != "tensorrt",
            f"--provider, --sm and what a builder takes have no effect on {_NAMES[target]}",
            "leave them out, or use --target tensorrt",
        ),
        (
            target != "coreml" and options.coreml != CoreMlOptions(),
            f"{_NAMES[target]} has no deployment target, compute layout, image inputs or functions to choose",
            "leave out what is Core ML's, or use --target coreml",
        ),
    )
    for objects, reason, remedy in objections:
        if objects:
            return Support(ok=False, reason=reason, remedy=remedy)
    return Support(ok=True)


def check_family(entry: ModelEntry, target: str, options: ExportOptions) -> Support:
    """Whether this model has what the options ask for, and the target's runtime is known to compute it rightly."""
    config = entry.config
    fits = _check_frame_size(entry, options)
    if isinstance(config, DepthProConfig) or not fits.ok:
        return fits
    if options.layout == "single" or options.dynamic_batch or options.tile_batch != DEFAULT_TILE_BATCH:
        return Support(
            ok=False,
            reason=f"{entry.name} sees the picture whole: it has no tiles to batch or to put into one graph",
            remedy="leave --layout, --tile-batch and --dynamic-batch out",
        )
    if options.decoder_windows:
        return Support(
            ok=False,
            reason=f"{entry.name} has no decoder over tiles that could be cut into windows",
            remedy="leave --decoder-windows out",
        )
    network = config.relative if isinstance(config, RsaConfig) else config
    refused = network.refused_by.get(target)
    if refused is not None:
        return Support(ok=False, reason=f"{entry.name} can't be exported to {_NAMES[target]}: {refused}", remedy=_TABLE)
    if target == "coreml":
        return _check_coreml(entry, network, options)
    return Support(ok=True)


def _check_frame_size(entry: ModelEntry, options: ExportOptions) -> Support:
    if options.frame_size is None:
        return Support(ok=True)
    if not isinstance(entry.config, ZoeDepthConfig):
        return Support(
            ok=False,
            reason=f"the input of {entry.name} has one size, whatever the frames'",
            remedy="leave --frame-size out; ZoeDepth's input follows the frames",
        )
    if not all(_MIN_SIDE <= side <= _MAX_SIDE for side in options.frame_size):
        return Support(
            ok=False,
            reason=f"--frame-size {'x'.join(map(str, options.frame_size))}: frames have {_MIN_SIDE} to {_MAX_SIDE} "
            "pixels a side",
            remedy="--frame-size 640x480, width first",
        )
    return Support(ok=True)


def _check_coreml(entry: ModelEntry, network: RelativeConfig | ZoeDepthConfig, options: ExportOptions) -> Support:
    """What was made for Depth Pro's own modules, or for its pictures."""
    asked = options.coreml
    preprocess = network.preprocess if isinstance(network, RelativeConfig) else network.rule.preprocess()
    objections = (
        (options.precision == "int8", "which weights stand 8 bits is known of Depth Pro alone", "use --fp16"),
        (
            asked.compute_layout == "ane",
            "the Neural Engine's layout is written for Depth Pro's transformers",
            "leave --compute-layout out",
        ),
        (
            asked.multifunction,
            "packages of several functions were tried with Depth Pro alone",
            "leave --multifunction out",
        ),
        (
            asked.image_input and (preprocess.mean, preprocess.std) != (_HALVES, _HALVES),
            "picture inputs become -1..1, and this network's pictures are normalised otherwise",
            "leave --image-input out",
        ),
    )
    for objects, reason, remedy in objections:
        if objects:
            return Support(ok=False, reason=f"{entry.name} on Core ML: {reason}", remedy=remedy)
    return Support(ok=True)


def export_stages(
    source: LoadedModel, options: ExportOptions, out: Path, recipe: Recipe, *, progress: Progress
) -> Bundle:
    """Write a bundle, atomically: Exporter.export once options and toolchain are known to be there."""
    support = check_family(source.entry, recipe.target, options)
    if not support.ok:
        raise UnsupportedError(support.reason, remedy=support.remedy)
    with write_bundle(out) as writer:
        manifest = _write(writer, source, options, recipe, progress)
        writer.finish(manifest)
    steps = len(manifest.model.stages) + 2
    progress("exported", steps, steps)
    return open_bundle(out, check_hashes=False)


def _write(
    writer: BundleWriter,
    source: LoadedModel,
    options: ExportOptions,
    recipe: Recipe,
    progress: Progress,
) -> Manifest:
    """Everything but the manifest itself."""
    from edgedepth.exporters.golden import write_golden
    from edgedepth.models.stages import stage_modules

    model = _exported_model(source, options)
    steps = len(model.stages) + 2
    modules = stage_modules(source, folded=recipe.folded, spelled_softmax=recipe.spelled_softmax)
    artefacts = {}
    for number, declared in enumerate(model.stages):
        progress(f"stage {declared.name}", number, steps)
        stage = declared if options.dynamic_batch else _with_fixed_batch(declared, options.tile_batch)
        path = writer.stage_folder(stage.name) / f"{stage.name}{recipe.suffix}"
        recipe.write_stage(modules[stage.name], stage, path)
        artefacts[stage.name] = Artefact(stage=stage, path=path.relative_to(writer.folder).as_posix())
    if recipe.join is not None:
        artefacts = recipe.join(artefacts, writer.folder)
    progress("golden frame", steps - 2, steps)
    golden = write_golden(
        source,
        writer.folder,
        tile_batch=options.tile_batch,
        precision=options.precision,
        spec=model if options.layout == "staged" else None,  # the reference runs in stages: it takes less memory
    )
    progress("hashing", steps - 1, steps)
    fixed = options.layout == "staged" and not options.dynamic_batch
    return Manifest(
        schema_version=SCHEMA_VERSION,
        model=model,
        target=recipe.target,
        precision=options.precision,
        layout=options.layout,
        tile_batch=options.tile_batch if fixed else None,
        artefacts=artefacts,
        golden=golden,
        files=writer.file_entries(),
        toolchain=recipe.toolchain | versions_of(("edgedepth", "numpy")) | {"python": python_version()},
        created_utc=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        build=recipe.build,
    )


def _exported_model(source: LoadedModel, options: ExportOptions) -> ModelSpec:
    """The model as the bundle holds it: in its stages, with its decoder in windows too, or as one."""
    if options.layout == "single":
        assert isinstance(source.entry.config, DepthProConfig)  # check_family refuses the others
        return replace(source.spec, stages=(whole_stage(source.entry.config),))
    if options.decoder_windows:
        assert isinstance(source.entry.config, DepthProConfig)
        return replace(source.spec, stages=(*source.spec.stages, *decoder_window_stages(source.entry.config)))
    return source.spec


def _with_fixed_batch(stage: StageSpec, tile_batch: int) -> StageSpec:
    def fixed(tensor: TensorSpec) -> TensorSpec:
        shape = tuple(tile_batch if isinstance(size, str) else size for size in tensor.shape)
        return replace(tensor, shape=shape)

    return replace(stage, inputs=tuple(map(fixed, stage.inputs)), outputs=tuple(map(fixed, stage.outputs)))


def _targets_with(precision: str) -> tuple[str, ...]:
    return tuple(f"--target {target}" for target, precisions in PRECISIONS.items() if precision in precisions)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
