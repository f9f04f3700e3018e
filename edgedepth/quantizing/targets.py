"""Which maker each target has, and what it needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgedepth.calibration.recording import Recording
from edgedepth.core.optional import require
from edgedepth.exporters.base import ExportOptions
from edgedepth.models.loading import LoadedModel
from edgedepth.quantizing.makers import Fp32Stage, Maker, OnnxMaker
from edgedepth.quantizing.options import Int8Options

__all__ = ["NEEDS", "maker_for", "require_toolchain"]

_ONNX = ("torch", "onnx", "onnxscript", "onnxruntime")
NEEDS = {
    "onnx": _ONNX,
    "openvino": (*_ONNX, "openvino", "nncf"),
    "tensorrt": _ONNX,
    "coreml": (*_ONNX, "coremltools"),
}
"""The modules without which there is no INT8 for a target."""


def require_toolchain(target: str) -> None:
    """Refuse to begin what can't be finished.

    Raises:
        MissingExtraError: a module isn't installed.
        UnsupportedError: one is too old.
    """
    for module in NEEDS[target]:
        if module != "coremltools":
            require(module, extra="int8", purpose="to export in INT8")
    if target == "coreml":
        from edgedepth.exporters.to_coreml_stage import check_toolchain

        check_toolchain()


def maker_for(
    target: str,
    loaded: LoadedModel,
    stages: Mapping[str, Fp32Stage],
    recording: Recording,
    *,
    options: ExportOptions,
    int8: Int8Options,
    folder: Path,
) -> Maker:
    """The maker of a target.

    Args:
        target: one of NEEDS.
        loaded: the model.
        stages: before quantisation.
        recording: what they are fed, on the frames that calibrate.
        options: of the export.
        int8: how to quantise.
        folder: for what is kept from run to run.
    """
    if target == "openvino":
        from edgedepth.exporters.to_openvino import about
        from edgedepth.quantizing.openvino_maker import OpenVinoMaker

        described = about(loaded.spec, "int8")
        return OpenVinoMaker(stages, recording, weights_only=int8.weights_only, folder=folder, about=described)
    if target == "coreml":
        from edgedepth.quantizing.coreml_maker import CoreMlMaker

        return CoreMlMaker(stages, loaded.spec, recording, activations=int8.activations, options=options, folder=folder)
    if target == "tensorrt":
        from edgedepth.quantizing.tensorrt_maker import TensorRtMaker

        return TensorRtMaker(stages, recording, method=int8.method, folder=folder)
    return OnnxMaker(stages, recording, method=int8.method, folder=folder)
