"""The targets there are: what can be asked of each, what is planned, and short names. For exporters and runtimes."""

from __future__ import annotations

from edgedepth.core.spec import Precision

__all__ = ["ALIASES", "PLANNED", "PRECISIONS"]

PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16"),
    "openvino": ("fp32", "fp16", "bf16"),
    "tensorrt": ("fp32", "fp16"),
}
"""What each target that is built can be exported at, the default first."""

PLANNED = ("coreml",)

ALIASES = {"trt": "tensorrt", "onnxruntime": "onnx", "ort": "onnx", "ov": "openvino"}
