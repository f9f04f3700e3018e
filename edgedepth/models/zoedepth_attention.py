"""ZoeDepth's two kinds of attention in the form of models/vit.py, one scale on the queries: BEiT's, and the classifier's.

BEiT adds position biases B to the scores S. TensorRT is known to fuse attention wrongly whose scores carry something
added (NVIDIA/TensorRT#4723). The same weights without a sum, the softmax no longer next to the product with the values:
softmax(S + B) = softmax(S) * exp(B) / sum(softmax(S) * exp(B)), where exp(B) is a constant.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgedepth.core.optional import require

__all__ = ["use_own_attention"]

_ADDED, _MULTIPLIED = "edgedepth_biased", "edgedepth_bias_multiplied"


def use_own_attention(network: nn.Module, *, unmasked: bool) -> None:
    """Put this file's attention into a ZoeDepth of transformers', which is changed.

    Args:
        network: whose modules and configurations nobody else has.
        unmasked: position biases as factors of the weights, and not as terms of the scores.
    """
    modeling = require("transformers.modeling_utils", extra="rsa", purpose="to export ZoeDepth")
    modeling.AttentionInterface.register(_ADDED, _attend)
    modeling.AttentionInterface.register(_MULTIPLIED, _attend_multiplied)
    for module in list(network.modules()):
        if getattr(module, "config", None) is not None:
            module.config._attn_implementation = _MULTIPLIED if unmasked else _ADDED
        for name, child in list(module.named_children()):
            if type(child).__name__ == "ZoeDepthMultiheadAttention":
                setattr(module, name, _PatchAttention(child))


class _PatchAttention(nn.Module):
    """Attention of the classifier's transformer."""

    def __init__(self, layers: Any) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, **_: object) -> tuple[Tensor]:
        """Tokens (1, N, width) to (1, N, width), as transformers' module returns them."""
        layers = self.layers
        split = (1, -1, layers.num_attention_heads, layers.attention_head_size)
        query, key, value = (
            layer(tokens).view(split).transpose(1, 2)
            for layer, tokens in ((layers.query, queries), (layers.key, keys), (layers.value, values))
        )
        mixed, _nothing = _attend(self, query, key, value, None)
        return (layers.out_proj(mixed.flatten(2)),)


def _attend(  # noqa: PLR0917  (transformers passes them by position)
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention as models/vit.py has it, with BEiT's position biases, in the form that transformers calls."""
    del module
    scores = _scores(query, key, scaling)
    if attention_mask is not None:
        scores = scores + attention_mask.float()
    return _mixed(torch.softmax(scores, dim=-1), value), None


def _attend_multiplied(  # noqa: PLR0917  (transformers passes them by position)
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """The same, with the biases as factors. Each row's largest is 1, which its sum cancels: nothing overflows."""
    del module
    biases = attention_mask.float()
    factors = torch.exp(biases - biases.amax(dim=-1, keepdim=True))
    weights = torch.softmax(_scores(query, key, scaling), dim=-1) * factors
    return _mixed(weights / weights.sum(dim=-1, keepdim=True), value), None


def _scores(query: Tensor, key: Tensor, scaling: float | None) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return ((query * scale) @ key.transpose(-2, -1)).float()


def _mixed(weights: Tensor, value: Tensor) -> Tensor:
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous()
