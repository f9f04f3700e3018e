"""What of an exported graph INT8 is for: its linear layers and convolutions, and the blocks that they stand in.

Exported initialisers keep torch's names where they can: a convolution is known by its weight, a linear layer by the
bias that is added to its product (its weight was transposed, and lost its name). What has neither is no layer: the
two products inside attention, of activations with activations, are never found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedepth.core.graph_node import block_named
from edgedepth.core.optional import require

__all__ = ["Block", "Layer", "blocks_of", "find_layers", "load_graph"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One product with a constant weight.

    Args:
        stage: whose graph it is in.
        name: of the torch module, "vit.blocks.0.attn.qkv".
        nodes: of the graph; the decoder's strips use one weight several times.
        inputs: the activations that are multiplied, node by node.
        weight: the initialiser's name.
        weights: how many there are.
        macs: multiplications of one run of the stage.
    """

    stage: str
    name: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    weight: str
    weights: int
    macs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Layers that are quantised together or not at all. `name` is "patch_encoder/vit.blocks.0"."""

    name: str
    stage: str
    layers: tuple[Layer, ...]

    @property
    def macs(self) -> int:
        """Multiplications of one run of the stage."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weights(self) -> int:
        """How many weights."""
        return sum(layer.weights for layer in self.layers)


def find_layers(
    path: Path, stage: str, *, convolutions: bool = False, fp32_weights: Iterable[str] = ()
) -> tuple[Layer, ...]:
    """The layers of a stage that INT8 may be for.

    Args:
        path: the fp32 .onnx file; its weights aren't read.
        stage: the stage's name.
        convolutions: take convolutions too, not only linear layers. Transposed ones never: TensorRT and ONNX Runtime
            have no INT8 kernel for most of their shapes.
        fp32_weights: names of weights that stay fp32 at every precision.

    Returns:
        In the graph's order.
    """
    graph = load_graph(path).graph
    shapes = {value.name: _sizes(value) for value in (*graph.value_info, *graph.input, *graph.output)}
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    biases = _added_constants(graph, weights)
    kept = set(fp32_weights)
    found: dict[str, Layer] = {}
    for node in graph.node:
        weight = node.input[1] if len(node.input) > 1 else ""
        if weight not in weights or weight in kept:
            continue
        if node.op_type == "MatMul" and node.output[0] in biases:
            name = biases[node.output[0]].removesuffix(".bias")
            macs = math.prod(shapes[node.output[0]]) * weights[weight][0]
        elif node.op_type == "Conv" and convolutions:
            name = weight.removesuffix(".weight")
            macs = math.prod(shapes[node.output[0]]) * math.prod(weights[weight][1:])
        else:
            continue
        before = found.get(weight)
        found[weight] = Layer(
            stage=stage,
            name=name,
            nodes=(*(before.nodes if before else ()), node.name),
            inputs=(*(before.inputs if before else ()), node.input[0]),
            weight=weight,
            weights=math.prod(weights[weight]),
            macs=macs + (before.macs if before else 0),
        )
    return tuple(found.values())


def blocks_of(layers: Sequence[Layer]) -> tuple[Block, ...]:
    """Layers by the block that they stand in, in the order of their first ones."""
    grouped: dict[tuple[str, str], list[Layer]] = {}
    for layer in layers:
        grouped.setdefault((layer.stage, block_named(layer.name)), []).append(layer)
    return tuple(
        Block(name=f"{stage}/{inside}", stage=stage, layers=tuple(members))
        for (stage, inside), members in grouped.items()
    )


def load_graph(path: Path) -> Any:
    """An ONNX model with every tensor's shape and without its weights."""
    onnx = require("onnx", extra="int8", purpose="to quantise")
    return onnx.shape_inference.infer_shapes(onnx.load(str(path), load_external_data=False), data_prop=True)


def _added_constants(graph: Any, weights: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """For each tensor that a constant vector is added to, the vector's name."""
    found = {}
    for node in graph.node:
        if node.op_type == "Add":
            for tensor, constant in (tuple(node.input), tuple(reversed(node.input))):
                if len(weights.get(constant, ())) == 1:
                    found[tensor] = constant
    return found


def _sizes(value: Any) -> tuple[int, ...]:
    return tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
