"""Small ONNX stages whose arithmetic a test can repeat in numpy, and recorded inputs for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgedepth.calibration.onnx_files import save_model
from edgedepth.calibration.recording import Recording

WIDTH, HIDDEN, TOKENS = 8, 12, 4


def weights(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(np.float32)

    return {
        "vit.blocks.0.norm1.weight": draw(WIDTH),
        "vit.blocks.0.norm1.bias": draw(WIDTH),
        "val_1": draw(WIDTH, HIDDEN),  # a linear layer's weight as torch exports it: transposed, without its name
        "vit.blocks.0.mlp.fc1.bias": draw(HIDDEN),
        "val_2": draw(HIDDEN, WIDTH),
        "vit.blocks.1.mlp.fc2.bias": draw(WIDTH),
    }


def block_stage(path: Path, *, values: dict[str, Any] | None = None, divide: bool = False) -> Path:
    """LayerNorm, linear, Relu, linear, then the tokens' products with each other: what a ViT has.

    Args:
        path: of the .onnx.
        values: the weights.
        divide: put a division by the input before it all, which is not finite where the input is 0.
    """
    values = values or weights()
    nodes = [
        helper.make_node("Reciprocal" if divide else "Identity", ["x"], ["start"], "start"),
        helper.make_node(
            "LayerNormalization",
            ["start", "vit.blocks.0.norm1.weight", "vit.blocks.0.norm1.bias"],
            ["normed"],
            "norm",
            epsilon=1e-6,
        ),
        helper.make_node("MatMul", ["normed", "val_1"], ["product_1"], "first"),
        helper.make_node("Add", ["product_1", "vit.blocks.0.mlp.fc1.bias"], ["hidden"], "add_1"),
        helper.make_node("Relu", ["hidden"], ["active"], "relu"),
        helper.make_node("MatMul", ["active", "val_2"], ["product_2"], "second"),
        helper.make_node("Add", ["product_2", "vit.blocks.1.mlp.fc2.bias"], ["tokens"], "add_2"),
        helper.make_node("Transpose", ["tokens"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["tokens", "turned"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["shares"], "softmax", axis=-1),
        helper.make_node("MatMul", ["shares", "tokens"], ["y"], "mix"),
    ]
    shape = [1, TOKENS, WIDTH]
    graph = helper.make_graph(
        nodes,
        "stage",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, path)
    return path


def recorded(folder: Path, feeds: list[dict[str, Any]], stage: str = "stage") -> Recording:
    """A recording with one call a frame."""
    for number, arrays in enumerate(feeds):
        frame = folder / f"frame-{number:05d}"
        frame.mkdir(parents=True)
        np.savez(frame / f"{stage}-0000.npz", **arrays)
    return Recording(folder, range(len(feeds)))


def inputs(count: int, seed: int = 1) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [{"x": rng.standard_normal((1, TOKENS, WIDTH)).astype(np.float32) * (1 + i)} for i in range(count)]


def run(path: Path, feeds: dict[str, Any], *outputs: str) -> list[Any]:
    """What onnxruntime makes of it, without its graph optimisations: node by node, as the file says."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: list[Any] = session.run(list(outputs) or None, feeds)
    return found
