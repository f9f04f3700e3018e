"""OpenVINO bundles: intermediate representation (IR), for Intel's and other CPUs, Intel GPUs and NPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgedepth.core.bundle import Bundle
from edgedepth.core.environment import versions_of
from edgedepth.core.errors import UnsupportedError
from edgedepth.core.optional import require
from edgedepth.core.progress import Progress, silent
from edgedepth.core.spec import ModelSpec, Precision, StageSpec
from edgedepth.exporters.base import DEFAULT_OPSET, ExportOptions, Support
from edgedepth.exporters.writing import Recipe, check_options, export_stages
from edgedepth.models.loading import LoadedModel

if TYPE_CHECKING:
    from torch import nn

__all__ = ["OpenVinoExporter", "about"]

_TOOLCHAIN = ("torch", "onnx", "onnxscript", "onnx-ir", "openvino")


class OpenVinoExporter:
    """Exports each stage as ONNX and converts that: OpenVINO fuses more of it than of what torch.export gives.

    Executed kernels of depth-pro-mini's patch encoder, OpenVINO 2026.4, AVX-512 CPU, at f32 and at bf16:

    ==================  =================================  ===========================  =======  =========  =======
    graph from          attention                          GELU, LayerScale, residuals  Reorder  Transpose  in all
    ==================  =================================  ===========================  =======  =========  =======
    ONNX                in one fused kernel a block        in 32 fused kernels          2, 40    6, 12      265, 315
    torch.export        MatMul, Softmax, MatMul a block    in 32 fused kernels          2, 51    13, 13     339, 388
    ==================  =================================  ===========================  =======  =========  =======

    The weights are fp16 on disk at fp16 and at bf16; which arithmetic runs is chosen by the runtime from the
    bundle's precision. Reading ONNX is also faster than tracing twice.
    """

    target = "openvino"
    needs = ("torch", "onnx", "onnxscript", "openvino")
    extras = "export,openvino"

    def check(self, options: ExportOptions) -> Support:
        """Whether these options can be met; see Exporter.check."""
        if options.opset != DEFAULT_OPSET:
            return Support(
                ok=False,
                reason=f"opset {options.opset!r} was asked for; IR has no ONNX opset to choose",
                remedy="leave --opset out, or use --target onnx",
            )
        return check_options(options, self.target)

    def export(self, source: LoadedModel, options: ExportOptions, out: Path, *, progress: Progress = silent) -> Bundle:
        """Export a model; see Exporter.export."""
        support = self.check(options)
        if not support.ok:
            raise UnsupportedError(support.reason, remedy=support.remedy)
        for module in self.needs:
            require(module, extra=self.extras, purpose="to export to OpenVINO")
        from edgedepth.exporters.to_openvino_stage import export_stage

        def write_stage(module: nn.Module, stage: StageSpec, path: Path) -> None:
            export_stage(module, stage, path, precision=options.precision, about=about(source.spec, options.precision))

        recipe = Recipe(
            target=self.target,
            suffix=".xml",
            write_stage=write_stage,
            toolchain=versions_of(_TOOLCHAIN) | {"onnx-opset": str(options.opset)},
            folded=True,
        )
        return export_stages(source, options, out, recipe, progress=progress)


def about(spec: ModelSpec, precision: Precision) -> dict[str, str]:
    """What an IR's rt_info says of its model."""
    return {
        "model": spec.name,
        "precision": precision,
        "weights_sha256": spec.weights_sha256,
        "trained": str(spec.trained).lower(),
        "licence": spec.licence,
    }
