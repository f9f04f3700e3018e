"""The targets there are: what can be asked of each, and short names. For exporters and runtimes."""

from __future__ import annotations

import sys

from edgedepth.core.spec import Precision

__all__ = ["ALIASES", "PRECISIONS", "exists_on"]

PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16"),
    "openvino": ("fp32", "fp16", "bf16"),
    "tensorrt": ("fp32", "fp16"),
    "coreml": ("fp16", "fp32", "int8"),
    "coreai": ("fp32",),
}
"""What each target can be exported at, the default first."""

ALIASES = {"trt": "tensorrt", "onnxruntime": "onnx", "ort": "onnx", "ov": "openvino"}

_SYSTEMS = {"coreml": "darwin"}  # targets whose runtime exists on one system only, as sys.platform calls it


def exists_on(target: str, platform: str = sys.platform) -> bool:
    """Whether there is a runtime for a target on this system at all, installed or not."""
    return _SYSTEMS.get(target, platform) == platform
