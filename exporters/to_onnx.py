"""ONNX bundles: for ONNX Runtime, and for the toolchains that start from ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgedepth.core.bundle import Bundle
from edgedepth.core.environment import versions_of
from edgedepth.core.errors import UnsupportedError
from edgedepth.core.optional import require
from edgedepth.core.progress import Progress, silent
from edgedepth.core.spec import StageSpec
from edgedepth.exporters.base import ExportOptions, Support
from edgedepth.exporters.writing import Recipe, check_options, export_stages
from edgedepth.models.loading import LoadedModel

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OPSETS", "OnnxExporter"]

OPSETS = range(17, 21)
"""LayerNormalization came with 17; from 23 torch writes an Attention operator that TensorRT doesn't build."""

_TOOLCHAIN = ("torch", "onnx", "onnxscript", "onnx-ir")


class OnnxExporter:
    """Exports with torch.onnx.export(dynamo=True), one graph a stage, each checked after it was written."""

    target = "onnx"
    needs = ("torch", "onnx", "onnxscript")
    extras = "export"

    def check(self, options: ExportOptions) -> Support:
        """Whether these options can be met; see Exporter.check."""
        opset = options.opset
        if isinstance(opset, bool) or not isinstance(opset, int) or opset not in OPSETS:
            return Support(
                ok=False,
                reason=f"opset {opset!r} is not one of {OPSETS[0]} to {OPSETS[-1]}: older ones have no "
                "LayerNormalization, newer ones are not tested with the runtimes",
                remedy="use --opset 20",
            )
        return check_options(options, self.target)

    def export(self, source: LoadedModel, options: ExportOptions, out: Path, *, progress: Progress = silent) -> Bundle:
        """Export a model; see Exporter.export."""
        support = self.check(options)
        if not support.ok:
            raise UnsupportedError(support.reason, remedy=support.remedy)
        for module in self.needs:
            require(module, extra=self.extras, purpose="to export to ONNX")
        from edgedepth.exporters.to_onnx_stage import export_stage

        def write_stage(module: nn.Module, stage: StageSpec, path: Path) -> None:
            export_stage(module, stage, path, precision=options.precision, opset=options.opset)

        recipe = Recipe(
            target=self.target,
            suffix=".onnx",
            write_stage=write_stage,
            toolchain=versions_of(_TOOLCHAIN) | {"onnx-opset": str(options.opset)},
        )
        return export_stages(source, options, out, recipe, progress=progress)
