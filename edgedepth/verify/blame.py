"""Which inner tensor of a stage is the first that is wrong: two graphs of the same model, tensor by tensor.

Exported graphs of one stage call their tensors the same at every precision: names come from the traced model. So the
fp32 graph is the reference for the inside of the others. Casts and Q/DQ pairs have no counterpart and are passed over.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgedepth.core.graph_node import GraphNode
from edgedepth.core.tolerances import Tolerance
from edgedepth.verify.depth_errors import TensorError, compare_tensors
from edgedepth.verify.metrics import fit_linear

__all__ = ["InnerError", "Tapped", "block_ends", "common_tensors", "first_bad", "inner_errors"]

Feeds = Mapping[str, npt.NDArray[Any]]


class Tapped(Protocol):
    """A graph that can be looked into: runtimes/ort_taps.py."""

    @property
    def nodes(self) -> tuple[GraphNode, ...]:
        """In the order in which they run."""
        ...

    @property
    def constants(self) -> frozenset[str]:
        """Names of weights and other constants."""
        ...

    def constant(self, name: str) -> npt.NDArray[Any]:
        """A constant's values."""
        ...

    def values(self, feeds: Feeds, names: Sequence[str]) -> Iterator[tuple[str, npt.NDArray[Any]]]:
        """The named tensors of one run, in the order of the names."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerError:
    """One inner tensor against the reference's of the same name.

    Args:
        tensor: its name.
        node: that gives it.
        error: how far it is off.
        largest: the reference's largest absolute value.
        found: the candidate's; NaN and infinite values aside.
        factor: by least squares, candidate = factor * reference + a constant; NaN where values aren't finite.
    """

    tensor: str
    node: GraphNode
    error: TensorError
    largest: float
    found: float
    factor: float

    def leaves(self, tolerance: Tolerance) -> bool:
        """Whether it is out of what a stage's output may be off by."""
        # Written so that NaN is out.
        return not (self.error.max_rel <= tolerance.stage_max_rel and self.error.mean_rel <= tolerance.stage_mean_rel)


def common_tensors(candidate: Tapped, reference: Tapped, *, passed_over: Iterable[str] = ()) -> list[GraphNode]:
    """The candidate's nodes whose first output the reference has too, made by the same operation.

    Args:
        candidate: the graph that is looked into.
        reference: the graph that is right.
        passed_over: operations whose outputs differ on purpose: LayerNormalization where INT8 was smoothed.
    """
    made = {node.outputs[0]: node.op for node in reference.nodes}
    skipped = {"Cast", "QuantizeLinear", "DequantizeLinear", *passed_over}
    return [node for node in candidate.nodes if node.op not in skipped and made.get(node.outputs[0]) == node.op]


def block_ends(nodes: Sequence[GraphNode]) -> list[GraphNode]:
    """The last node of each run of nodes in one block: what a block hands on."""
    return [list(group)[-1] for _, group in itertools.groupby(nodes, key=lambda node: node.block)]


def inner_errors(
    candidate: Tapped, reference: Tapped, feeds: Feeds, nodes: Sequence[GraphNode]
) -> Iterator[InnerError]:
    """Run both graphs on the same inputs and compare tensors, in the graph's order.

    Tensors that aren't of floating point, or differ in shape, are passed over.

    Args:
        candidate: the graph that is looked into.
        reference: the graph that is right.
        feeds: of the stage.
        nodes: whose first outputs are compared.
    """
    names = [node.outputs[0] for node in nodes]
    # In parts that both hold at once: the groups of the two graphs needn't be the same.
    pairs = zip(candidate.values(feeds, names), reference.values(feeds, names), strict=True)
    for node, ((name, actual), (_, expected)) in zip(nodes, pairs, strict=True):
        if actual.shape != expected.shape or actual.size == 0 or not np.issubdtype(expected.dtype, np.floating):
            continue
        yield _inner_error(name, node, actual.astype(np.float32), expected.astype(np.float32))


def first_bad(errors: Sequence[InnerError], tolerance: Tolerance) -> InnerError | None:
    """The first that leaves the tolerance, or None."""
    return next((error for error in errors if error.leaves(tolerance)), None)


def _inner_error(name: str, node: GraphNode, actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> InnerError:
    finite = actual[np.isfinite(actual)]
    error = compare_tensors(actual, expected)
    factor = float("nan")
    if error.nan + error.inf == 0:
        factor, _ = fit_linear(expected.reshape(-1).astype(np.float64), actual.reshape(-1).astype(np.float64))
    return InnerError(
        tensor=name,
        node=node,
        error=error,
        largest=float(np.abs(expected).max()),
        found=float(np.abs(finite).max()) if finite.size else float("nan"),
        factor=factor,
    )
