"""A graph's nodes as plain data, and the block of a model that each stands in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["GraphNode", "block_named"]

_BLOCK = re.compile(r".*?\b(?:blocks|refine|expand)\.\d+")
_WORDS = 2  # of a layer's name that make a block where it is in no numbered one: "upsampler.upsample0"


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphNode:
    """One operation.

    Args:
        name: of the node.
        op: its type, "MatMul".
        inputs: names of what it reads, constants too.
        outputs: names of what it gives.
        block: that it stands in, "vit.blocks.7"; "input" before the first weight.
        layer: whose weight or bias it reads, or adds next, "vit.blocks.7.attn.qkv"; empty where it has none.
        attributes: its words and numbers: a Resize's convention.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    block: str
    layer: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def block_named(layer: str) -> str:
    """The block of a layer or of its weight: of "vit.blocks.7.attn.qkv" it is "vit.blocks.7"."""
    match = _BLOCK.match(layer)
    return match[0] if match else ".".join(layer.split(".")[:_WORDS])
