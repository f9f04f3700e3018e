"""Core AI bundles: a model asset (.aimodel) a stage, iOS and macOS 27's format; Apple's own runtime has it on Linux."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgedepth.core.bundle import Bundle
from edgedepth.core.environment import versions_of
from edgedepth.core.errors import UnsupportedError
from edgedepth.core.optional import require
from edgedepth.core.progress import Progress, silent
from edgedepth.core.spec import StageSpec
from edgedepth.exporters.base import DEFAULT_OPSET, ExportOptions, Support
from edgedepth.exporters.coreml_metadata import package_metadata
from edgedepth.exporters.writing import Recipe, check_options, export_stages
from edgedepth.models.loading import LoadedModel

if TYPE_CHECKING:
    from torch import nn

__all__ = ["ASSET_FILE", "CoreAiExporter"]

ASSET_FILE = ".aimodel/metadata.json"
"""The end of an artefact's path. An asset is a folder; a bundle names the file in it that says what it holds."""

_TOOLCHAIN = ("torch", "coreai-torch", "coreai-core")


class CoreAiExporter:
    """Exports each stage with torch.export, and converts that with coreai-torch."""

    target = "coreai"
    needs = ("torch", "coreai_torch")
    extras = "export,coreai"

    def check(self, options: ExportOptions) -> Support:
        """Whether these options can be met; see Exporter.check."""
        objections = (
            (
                options.opset != DEFAULT_OPSET,
                f"opset {options.opset!r} was asked for; a Core AI model has no ONNX opset to choose",
                "leave --opset out, or use --target onnx",
            ),
            (
                options.layout == "single",
                "Core AI models are exported stage by stage; one graph of all stages was not tried",
                "use --layout staged",
            ),
            (
                options.dynamic_batch,
                "Core AI models are exported with fixed shapes",
                "leave --dynamic-batch out and choose --tile-batch",
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
        require("torch", extra=self.extras, purpose="to export to Core AI")
        from edgedepth.exporters.to_coreai_stage import check_toolchain, export_stage

        check_toolchain()
        metadata = package_metadata(source.spec, options)

        def write_stage(module: nn.Module, stage: StageSpec, path: Path) -> None:
            export_stage(module, stage, path.parent, metadata)

        recipe = Recipe(
            target=self.target, suffix=ASSET_FILE, write_stage=write_stage, toolchain=versions_of(_TOOLCHAIN)
        )
        return export_stages(source, options, out, recipe, progress=progress)
