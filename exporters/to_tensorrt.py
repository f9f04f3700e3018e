"""TensorRT bundles: typed ONNX graphs that were checked (a build kit), and engines where a builder is at hand."""

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
from edgedepth.exporters.trt_engines import add_engines, builder_here, refuse_findings, without_dla
from edgedepth.exporters.writing import Recipe, check_options, export_stages
from edgedepth.models.loading import LoadedModel
from edgedepth.trt.options import EngineOptions

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TensorRtExporter"]

_TOOLCHAIN = ("torch", "onnx", "onnxscript", "onnx-ir")


class TensorRtExporter:
    """Writes the kit first, whole, and then the same bundle with engines: a build that fails leaves the kit.

    Precision lies in the graph: TensorRT builds it strongly typed, and converts nothing.
    """

    target = "tensorrt"
    needs = ("torch", "onnx", "onnxscript")
    extras = "export,tensorrt"

    def check(self, options: ExportOptions) -> Support:
        """Whether these options can be met; see Exporter.check."""
        if options.opset != DEFAULT_OPSET:
            return Support(
                ok=False,
                reason=f"opset {options.opset!r} was asked for; TensorRT's graphs have opset {DEFAULT_OPSET}",
                remedy="leave --opset out, or use --target onnx",
            )
        return check_options(options, self.target)

    def export(self, source: LoadedModel, options: ExportOptions, out: Path, *, progress: Progress = silent) -> Bundle:
        """Export a model; see Exporter.export.

        Raises:
            DeviceError: a provider that was asked for by name can't build here.
        """
        support = self.check(options)
        if not support.ok:
            raise UnsupportedError(support.reason, remedy=support.remedy)
        for module in self.needs:
            require(module, extra=self.extras, purpose="to export to TensorRT")
        engine = options.engine or EngineOptions()
        builder = builder_here(engine)  # a provider that isn't there is told before minutes of work
        from edgedepth.exporters.to_onnx_stage import export_stage

        def write_stage(module: nn.Module, stage: StageSpec, path: Path) -> None:
            export_stage(module, stage, path, precision=options.precision, opset=options.opset)
            refuse_findings(path)

        recipe = Recipe(
            target=self.target,
            suffix=".onnx",
            write_stage=write_stage,
            toolchain=versions_of(_TOOLCHAIN) | {"onnx-opset": str(options.opset)},
            spelled_softmax=True,
            build=without_dla(engine.build),
        )
        kit = export_stages(source, options, out, recipe, progress=progress)
        if builder.provider is None:
            return kit
        return add_engines(kit, out, builder, engine, progress=progress)
