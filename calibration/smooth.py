"""SmoothQuant: outliers of activations moved into the weights that follow, in a graph that computes the same.

Source: SmoothQuant (arXiv 2211.10438), equation 4. A LayerNorm's outputs have a few channels that are far larger than
the rest, and one scale for all of them leaves the rest few of the 255 steps. Each channel is divided by s in the
LayerNorm's own factors, and multiplied by s in the weights of the linear layers behind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth.calibration.blocks import load_graph
from edgedepth.calibration.onnx_files import save_model
from edgedepth.core.errors import OptionError
from edgedepth.core.optional import require
from edgedepth.core.session import Array

__all__ = ["DEFAULT_ALPHA", "Pair", "check_alpha", "find_pairs", "smooth", "smoothing_scale"]

DEFAULT_ALPHA = 0.5
"""The paper's: half of the difficulty goes into the weights."""

_SMALLEST = 1e-5  # a channel that is never used, or never weighed, keeps its scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A LayerNorm and the linear layers that alone read it.

    Args:
        activation: the LayerNorm's output.
        factors: names of its scale and, if it has one, its bias.
        weights: names of the linear layers' weights, (channels, outputs) each.
    """

    activation: str
    factors: tuple[str, ...]
    weights: tuple[str, ...]


def check_alpha(alpha: float) -> float:
    """Refuse what is no share.

    Raises:
        OptionError: not within 0 to 1.
    """
    if not 0 <= alpha <= 1:
        raise OptionError(
            f"smoothing {alpha!r} is not within 0 to 1", remedy=f"--smooth {DEFAULT_ALPHA}, as SmoothQuant has it"
        )
    return alpha


def find_pairs(path: Path) -> tuple[Pair, ...]:
    """The pairs of a stage's graph: a LayerNorm whose output goes into products with constants and nowhere else."""
    graph = load_graph(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    pairs = []
    for node in graph.node:
        if node.op_type != "LayerNormalization" or node.output[0] in outputs:
            continue
        behind = readers.get(node.output[0], [])
        if behind and all(
            reader.op_type == "MatMul" and reader.input[0] == node.output[0] and reader.input[1] in weights
            for reader in behind
        ):
            pairs.append(
                Pair(
                    activation=node.output[0],
                    factors=tuple(node.input[1:]),
                    weights=tuple(reader.input[1] for reader in behind),
                )
            )
    return tuple(pairs)


def smooth(source: Path, out: Path, peaks: Mapping[str, Array], *, alpha: float = DEFAULT_ALPHA) -> None:
    """Write a smoothed copy of a stage.

    Args:
        source: the fp32 .onnx.
        out: of the copy, in a folder that is there.
        peaks: the largest magnitude of each channel of each pair's activation, by its name.
        alpha: how much of it goes into the weights, 0 to 1.

    Raises:
        OptionError: alpha is no share.
    """
    check_alpha(alpha)
    onnx = require("onnx", extra="int8", purpose="to quantise")
    model = onnx.load(str(source))
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for pair in find_pairs(source):
        weights = [onnx.numpy_helper.to_array(tensors[name]) for name in pair.weights]
        weight_peaks = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
        scale = smoothing_scale(peaks[pair.activation], weight_peaks, alpha)
        for name in pair.factors:
            divided = onnx.numpy_helper.to_array(tensors[name]) / scale
            tensors[name].CopyFrom(onnx.numpy_helper.from_array(divided, name))
        for name, weight in zip(pair.weights, weights, strict=True):
            tensors[name].CopyFrom(onnx.numpy_helper.from_array(weight * scale[:, None], name))
    save_model(model, out)


def smoothing_scale(activation_peaks: Array, weight_peaks: Array, alpha: float) -> Array:
    """s of each channel: its activation's peak to the power of alpha, over its weights' to the power of 1 - alpha.

    Args:
        activation_peaks: (channels,) float32.
        weight_peaks: (channels,) float32.
        alpha: 0 to 1.

    Returns:
        (channels,) float32, above 0.
    """
    usable = (activation_peaks > _SMALLEST) & (weight_peaks > _SMALLEST)
    activations, weights = np.where(usable, activation_peaks, 1), np.where(usable, weight_peaks, 1)
    return (activations**alpha / weights ** (1 - alpha)).astype(np.float32)
