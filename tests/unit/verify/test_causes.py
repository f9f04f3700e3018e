"""Causes that are told from pictures and figures: each on evidence of its own, and none without."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.core.graph_node import GraphNode, block_named
from edgedepth.verify.blame import InnerError, block_ends, common_tensors
from edgedepth.verify.causes import cause_inside, cause_of_input, cause_of_scale, displacement
from edgedepth.verify.depth_errors import TensorError


def waves(dx: float = 0.0, dy: float = 0.0, stretch: float = 0.0, size: int = 96) -> np.ndarray:
    """A smooth picture whose content lies dx to the right and dy down: known between pixels too."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    middle = (size - 1) / 2
    x, y = x - dx - stretch * (x - middle), y - dy - stretch * (y - middle)
    channels = [np.sin(x / 7 + k) + np.cos(y / 9 - k) + 0.5 * np.sin((x + y) / 11) for k in range(3)]
    return (np.stack(channels) / 3).astype(np.float32)


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-0.004, 0.004))
def test_a_displacement_is_measured(dx: float, dy: float, stretch: float) -> None:
    found = displacement(waves(dx, dy, stretch), waves())
    # First order only: what is left goes with the square of half a pixel over a wave of 44 pixels.
    assert found.x_px == pytest.approx(dx, abs=0.03)
    assert found.y_px == pytest.approx(dy, abs=0.03)
    assert found.stretch_x == pytest.approx(stretch, abs=1e-3)


def test_half_a_pixel_is_a_resize_convention() -> None:
    cause = cause_of_input(waves(0.5, 0.5), waves())
    assert cause is not None
    assert cause.kind == "resize convention"
    assert "+0.50 pixels to the right" in cause.says


def test_corners_that_are_aligned_are_a_resize_convention() -> None:
    cause = cause_of_input(waves(stretch=1 / 96), waves())
    assert cause is not None
    assert cause.kind == "resize convention"


def test_swapped_channels() -> None:
    cause = cause_of_input(waves()[::-1], waves())
    assert cause is not None
    assert cause.kind == "swapped RGB"


def test_another_mean_is_pre_processing() -> None:
    cause = cause_of_input(waves() + np.float32(0.1), waves())
    assert cause is not None
    assert cause.kind == "pre-processing"


def test_the_same_picture_has_no_cause() -> None:
    assert cause_of_input(waves() + np.float32(1e-6), waves()) is None


def test_a_factor_that_the_field_of_view_explains() -> None:
    cause = cause_of_scale(1.02, 0.99999, fov_scale=1.0198)
    assert cause is not None
    assert "the field of view explains it" in cause.says
    cause = cause_of_scale(1.02, 0.99999, fov_scale=1.0)
    assert cause is not None
    assert "doesn't explain it" in cause.says


@pytest.mark.parametrize(("scale", "correlation"), [(1.0, 1.0), (1.02, 0.9), (math.nan, math.nan)])
def test_noise_is_no_focal_length(scale: float, correlation: float) -> None:
    assert cause_of_scale(scale, correlation, fov_scale=1.0) is None


class Graph:
    """A graph of nodes alone, whose values nobody asks for."""

    constants: frozenset[str] = frozenset()

    def __init__(self, *nodes: GraphNode) -> None:
        self.nodes = nodes

    def constant(self, name: str) -> np.ndarray:
        raise KeyError(name)

    def values(self, feeds: object, names: object) -> Iterator[tuple[str, np.ndarray]]:
        raise AssertionError("no values were needed")


def node(op: str, output: str, block: str = "a", **attributes: str) -> GraphNode:
    return GraphNode(name=f"n_{output}", op=op, inputs=("x",), outputs=(output,), block=block, attributes=attributes)


def test_a_resize_of_another_convention_in_the_graph() -> None:
    mine = node("Resize", "r", coordinate_transformation_mode="asymmetric", mode="linear")
    theirs = node("Resize", "r", coordinate_transformation_mode="half_pixel", mode="linear")
    error = TensorError(max_rel=0.2, mean_rel=0.1)
    bad = InnerError(tensor="r", node=mine, error=error, largest=1.0, found=1.0, factor=0.99)
    cause = cause_inside(bad, Graph(mine), Graph(theirs), {}, precision="fp32")
    assert cause is not None
    assert cause.kind == "resize convention"
    assert "asymmetric; the reference's has half_pixel" in cause.says


def test_tensors_are_matched_by_name_and_operation() -> None:
    mine = Graph(node("Cast", "c"), node("MatMul", "m"), node("Add", "s"), node("Mul", "other"))
    theirs = Graph(node("Cast", "c"), node("MatMul", "m"), node("Sub", "s"), node("Mul", "another"))
    assert [found.outputs[0] for found in common_tensors(mine, theirs)] == ["m"]


def test_blocks_hand_on_their_last_tensor() -> None:
    nodes = [node("Add", "1", "a"), node("Add", "2", "a"), node("Add", "3", "b"), node("Add", "4", "a")]
    assert [found.outputs[0] for found in block_ends(nodes)] == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("layer", "block"),
    [
        ("vit.blocks.11.attn.qkv", "vit.blocks.11"),
        ("refine.4.resnet2.residual.1", "refine.4"),
        ("upsampler.upsample0.1.weight", "upsampler.upsample0"),
        ("conv4", "conv4"),
    ],
)
def test_blocks_are_the_models_own(layer: str, block: str) -> None:
    assert block_named(layer) == block
