"""One typed fp16 ONNX stage to one whose linear layers multiply in FP8 (E4M3), as TensorRT takes it from SM 89 on.

Weights are stored as FP8 and activations are quantised in front of each layer, with one scale a tensor. Biases,
attention's own products and all else stay as they are.
Source: Micikevicius et al., FP8 Formats for Deep Learning (arXiv 2209.05433).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth.calibration.blocks import Layer
from edgedepth.calibration.onnx_files import save_model
from edgedepth.core.errors import ExportFailedError
from edgedepth.core.optional import require

__all__ = ["E4M3_MAX", "HEADROOM", "fp8_scale", "peaks_of", "quantize_fp8"]

E4M3_MAX = 448.0

_LEAST_SCALE = 2.0**-14
"""The smallest fp16 that keeps all its bits. Tensors that never exceed 0.027 get it, and use less of FP8's range."""

HEADROOM = 2.0
"""Activations may grow to twice what calibration saw before they saturate. FP8 has an exponent, so that costs no bits
but of the smallest values: on the trained mini AbsRel falls from 1.3e-2 to 7.8e-3 on the worst of three photographs."""

_ZERO = "fp8_zero"


def fp8_scale(peak: float) -> np.float16:
    """The scale of a tensor whose largest magnitude is `peak`: that becomes 448, E4M3's largest."""
    return np.float16(max(peak / E4M3_MAX, _LEAST_SCALE))


def peaks_of(layers: Sequence[Layer], ranges: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """The largest magnitude that each layer is fed, by its name: graphs of other types name activations anew."""
    return {layer.name: max(abs(end) for name in layer.inputs for end in ranges[name]) for layer in layers}


def quantize_fp8(path: Path, layers: Sequence[Layer], peaks: Mapping[str, float]) -> None:
    """Rewrite a stage.

    Args:
        path: of the .onnx, typed fp16, its weights beside it; opset 19 or newer. It is replaced.
        layers: of this very file, what becomes FP8.
        peaks: the largest magnitude of each layer's inputs, by the layer's name.

    Raises:
        ExportFailedError: a layer that was calibrated isn't in the graph, or one of the graph wasn't calibrated.
    """
    if names := {layer.name for layer in layers} ^ set(peaks):
        raise ExportFailedError(
            f"{path.name}: {sorted(names)[0]} is a layer of one of the fp32 and the fp16 graph, and not of the other",
            remedy="report it with this line and the versions that 'edgedepth doctor' lists",
        )
    if not layers:
        return
    onnx = require("onnx", extra="int8", purpose="to quantise")
    model = onnx.load(str(path))
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    layer_of = {node: layer for layer in layers for node in layer.nodes}
    graph.initializer.append(onnx.helper.make_tensor(_ZERO, onnx.TensorProto.FLOAT8E4M3FN, [], b"\0", raw=True))
    rewritten: list[Any] = []
    made: set[str] = set()
    for node in graph.node:
        if (layer := layer_of.get(node.name)) is not None:
            for before in (
                *_activation(onnx, graph, node.input[0], peaks[layer.name]),
                *_weight(onnx, graph, weights[layer.weight]),
            ):
                if before.name not in made:
                    made.add(before.name)
                    rewritten.append(before)
            node.input[:] = [f"{node.input[0]}_fp8_dequantised", f"{layer.weight}_fp8_dequantised"]
        rewritten.append(node)
    del graph.node[:]
    graph.node.extend(rewritten)
    for layer in layers:
        if layer.weight in weights:
            graph.initializer.remove(weights.pop(layer.weight))
    save_model(model, path)


def _activation(onnx: Any, graph: Any, name: str, peak: float) -> Iterator[Any]:
    scale, quantised = f"{name}_fp8_scale", f"{name}_fp8"
    if scale not in {tensor.name for tensor in graph.initializer}:
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(fp8_scale(HEADROOM * peak)), scale))
    yield onnx.helper.make_node("QuantizeLinear", [name, scale, _ZERO], [quantised], name=f"{quantised}_quantise")
    yield _dequantise(onnx, quantised, scale)


def _weight(onnx: Any, graph: Any, tensor: Any) -> Iterator[Any]:
    scale, stored = f"{tensor.name}_fp8_scale", f"{tensor.name}_fp8"
    if scale not in {other.name for other in graph.initializer}:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        factor = fp8_scale(float(np.abs(values).max()))
        dtype = require("ml_dtypes", extra="int8", purpose="to quantise").float8_e4m3fn
        data = np.clip(values / np.float32(factor), -E4M3_MAX, E4M3_MAX).astype(dtype).tobytes()
        fp8 = onnx.TensorProto.FLOAT8E4M3FN
        graph.initializer.append(onnx.helper.make_tensor(stored, fp8, tensor.dims, data, raw=True))
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(factor), scale))
    yield _dequantise(onnx, stored, scale)


def _dequantise(onnx: Any, quantised: str, scale: str) -> Any:
    output = f"{quantised}_dequantised"
    return onnx.helper.make_node("DequantizeLinear", [quantised, scale], [output], name=f"{quantised}_dequantise")
