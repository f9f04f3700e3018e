"""Core ML bundles: a package (.mlpackage) a stage, for Apple's CPUs, GPUs and Neural Engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgedepth.core.bundle import Bundle
from edgedepth.core.environment import versions_of
from edgedepth.core.errors import UnsupportedError
from edgedepth.core.manifest import Artefact
from edgedepth.core.mlpackage import PACKAGE_FILE, package_of
from edgedepth.core.optional import require
from edgedepth.core.progress import Progress, silent
from edgedepth.core.spec import StageSpec
from edgedepth.exporters.base import DEFAULT_OPSET, ExportOptions, Support
from edgedepth.exporters.coreml_metadata import package_metadata
from edgedepth.exporters.coreml_options import (
    DEPLOYMENT_TARGETS,
    MAX_TILE_BATCH,
    MULTIFUNCTION_SINCE,
    deployment_target_named,
)
from edgedepth.exporters.writing import Recipe, check_options, export_stages
from edgedepth.models.loading import LoadedModel

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CoreMlExporter"]

_TOOLCHAIN = ("torch", "coremltools")


class CoreMlExporter:
    """Exports each stage with torch.export, and converts that to an mlprogram.

    What torch.export gives has static shapes throughout. Tracing leaves sizes in the graph as arithmetic, which
    coremltools' converter fails on with numpy 2.4 (apple/coremltools#2633).
    """

    target = "coreml"
    needs = ("torch", "coremltools")
    extras = "export,coreml"

    def check(self, options: ExportOptions) -> Support:
        """Whether these options can be met; see Exporter.check."""
        asked = options.coreml
        system = deployment_target_named(asked.deployment_target)
        systems = list(DEPLOYMENT_TARGETS)
        objections = (
            (
                options.opset != DEFAULT_OPSET,
                f"opset {options.opset!r} was asked for; a Core ML package has no ONNX opset to choose",
                "leave --opset out, or use --target onnx",
            ),
            (
                options.layout == "single",
                "Core ML packages are exported stage by stage: one graph would run all tiles in one batch, and more "
                f"than {MAX_TILE_BATCH} are reported to go wrong on Apple's GPUs",
                "use --layout staged; --multifunction puts the stages into one package",
            ),
            (
                options.dynamic_batch,
                "Core ML packages have a fixed tile batch: the Neural Engine takes no other",
                f"use --tile-batch 1 to {MAX_TILE_BATCH}; 5 and 7 divide the 35 tiles evenly",
            ),
            (
                isinstance(options.tile_batch, int) and MAX_TILE_BATCH < options.tile_batch,
                f"tile batch {options.tile_batch}: fused attention on Apple's GPUs is reported wrong beyond "
                f"{MAX_TILE_BATCH} (apple/coremltools#2650)",
                "use --tile-batch 5 or 7, which divide the 35 tiles evenly",
            ),
            (
                asked.multifunction and systems.index(system) < systems.index(MULTIFUNCTION_SINCE),
                f"packages of several functions came with {MULTIFUNCTION_SINCE}; the deployment target is {system}",
                f"add --deployment-target {MULTIFUNCTION_SINCE}, or leave --multifunction out",
            ),
            (
                asked.multifunction and asked.image_input,
                "a package of several functions takes tensors: Core ML describes no picture inputs for them",
                "leave --multifunction or --image-input out",
            ),
        )
        for objects, reason, remedy in objections:
            if objects:
                return Support(ok=False, reason=reason, remedy=remedy)
        return check_options(options, self.target)

    def export(self, source: LoadedModel, options: ExportOptions, out: Path, *, progress: Progress = silent) -> Bundle:
        """Export a model; see Exporter.export."""
        support = self.check(options)
        if not support.ok:
            raise UnsupportedError(support.reason, remedy=support.remedy)
        require("torch", extra=self.extras, purpose="to export to Core ML")
        from edgedepth.exporters.to_coreml_functions import join_stages
        from edgedepth.exporters.to_coreml_stage import check_toolchain, export_stage

        check_toolchain()
        metadata = package_metadata(source.spec, options)

        def write_stage(module: nn.Module, stage: StageSpec, path: Path) -> None:
            export_stage(
                module, stage, package_of(path), precision=options.precision, options=options.coreml, metadata=metadata
            )

        def join(artefacts: Mapping[str, Artefact], folder: Path) -> dict[str, Artefact]:
            name = f"{source.spec.name.replace('-', '_')}{PACKAGE_FILE}"
            packages = {package_of(folder / artefact.path): artefact.stage for artefact in artefacts.values()}
            join_stages(packages, package_of(folder / name), metadata, options.coreml)
            return {stage: replace(artefact, path=name) for stage, artefact in artefacts.items()}

        recipe = Recipe(
            target=self.target,
            suffix=PACKAGE_FILE,
            write_stage=write_stage,
            join=join if options.coreml.multifunction else None,
            toolchain=versions_of(_TOOLCHAIN)
            | {
                "deployment-target": deployment_target_named(options.coreml.deployment_target),
                "compute-layout": options.coreml.compute_layout,
            },
        )
        return export_stages(source, options, out, recipe, progress=progress)
