"""The targets that are planned and not built yet, and the short names of all: one table for exporters and runtimes."""

from __future__ import annotations

__all__ = ["ALIASES", "PLANNED"]

PLANNED = ("tensorrt", "openvino", "coreml")

ALIASES = {"trt": "tensorrt", "onnxruntime": "onnx", "ort": "onnx"}
