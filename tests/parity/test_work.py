"""What a frame costs, counted and not timed: operations of the graphs, kernels that a runtime executes.

Counts are the same on a busy machine. They see what a refactoring may undo without a wrong result: folded layers, fused
attention, layout changes between kernels.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgedepth.core.bundle import open_bundle
from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DEPTH_PRO, DEPTH_PRO_MINI, DepthProConfig
from edgedepth.models.depth_pro_decoding import DecoderStage
from edgedepth.models.work import flops_a_frame, flops_of


def decoder_gflop(config: DepthProConfig, *, folded: bool) -> float:
    """Of the products and convolutions, two for a multiplication and a sum."""
    grid, width = config.grid, config.width
    with torch.device("meta"), torch.no_grad():
        run = DecoderStage(DepthPro(config), folded=folded)
        inputs = [torch.empty(1, times * grid, times * grid, width) for times in (4, 4, 4, 2, 1, 1)]
        with FlopCounterMode(display=False) as counter:
            run(*inputs)
    return counter.get_total_flops() / 1e9


def test_a_frame_is_19_tflop():
    """13,375 of 35 tiles, twice 382 of the other encoders, the rest of decoder and heads."""
    assert flops_a_frame(DEPTH_PRO) / 1e9 == pytest.approx(19_247, abs=1)
    assert flops_of("depth-pro") == flops_a_frame(DEPTH_PRO)
    assert flops_of("dpt-large") is None


@pytest.mark.parametrize(("config", "saved"), [(DEPTH_PRO, 0.11), (DEPTH_PRO_MINI, 0.17)], ids=["full", "mini"])
def test_folding_saves_operations(config: DepthProConfig, saved: float):
    """Of the decoder in strips: 5,423 and 4,819 GFLOP at full size, 11.6 and 9.4 of the mini; whole it is 5,108."""
    assert decoder_gflop(config, folded=True) < (1 - saved) * decoder_gflop(config, folded=False)


def kernels(artefact: Path, precision: str) -> Counter[str]:
    """By type, of the graph that OpenVINO executes; constants and ports left out."""
    openvino = pytest.importorskip("openvino", reason="needs the openvino extra")
    core = openvino.Core()
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if "BF16" not in capabilities:
        pytest.skip("counted on a CPU with AVX-512 and bf16; others fuse otherwise")
    compiled = core.compile_model(str(artefact), "CPU", {"INFERENCE_PRECISION_HINT": precision})
    types = [node.get_rt_info()["layerType"].astype(str) for node in compiled.get_runtime_model().get_ops()]
    return Counter(kind for kind in types if kind not in ("Const", "Input", "Output"))


@pytest.mark.parametrize(
    ("precision", "stage", "most"),
    [
        # What OpenVINO 2026.4 executed on a CPU with AVX-512 and bf16, with a tenth of room for its next version.
        ("fp32", "patch_encoder", {"FullyConnected": 24, "MVN": 13, "Subgraph": 42, "Transpose": 7, "Reorder": 4}),
        ("bf16", "patch_encoder", {"FullyConnected": 24, "MVN": 13, "Subgraph": 42, "Transpose": 13, "Reorder": 42}),
        ("fp32", "decoder", {"Convolution": 36, "Deconvolution": 19, "Subgraph": 23, "Transpose": 2, "Reorder": 17}),
        ("bf16", "decoder", {"Convolution": 36, "Deconvolution": 19, "Subgraph": 23, "Transpose": 4, "Reorder": 50}),
    ],
)
def test_kernels_that_openvino_executes(mini_openvino, precision: str, stage: str, most: dict[str, int]):
    bundle = open_bundle(mini_openvino(precision))
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    found = kernels(bundle.path / stage / f"{stage}.xml", hint)
    assert {kind: count for kind, count in found.items() if count > most.get(kind, count)} == {}
    # Attention is one fused kernel a block: products and softmax of their own would be the first sign that it isn't.
    assert not found["MatMul"]
    assert not found["Softmax"]
