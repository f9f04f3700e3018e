"""ZoeDepth's attention, BEiT's and the classifier's, in the form of models/vit.py: one scale, on the queries.

BEiT adds position biases to the scores, and TensorRT is known to fuse attention wrongly whose scores carry something
added (NVIDIA/TensorRT#4723). Spelled out, as in models/clip_text.py, its softmax is no such pattern.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgedepth.core.optional import require

__all__ = ["use_own_attention"]

_BIASED, _SPELLED = "edgedepth_biased", "edgedepth_biased_spelled"


def use_own_attention(network: nn.Module, *, spelled_softmax: bool) -> None:
    """Put this file's attention into a ZoeDepth of transformers', which is changed.

    Args:
        network: whose modules and configurations nobody else has.
        spelled_softmax: whether softmax over biased scores is exponentials over their sum.
    """
    modeling = require("transformers.modeling_utils", extra="rsa", purpose="to export ZoeDepth")
    modeling.AttentionInterface.register(_BIASED, _attend)
    modeling.AttentionInterface.register(_SPELLED, _attend_spelled)
    for module in list(network.modules()):
        config: Any = getattr(module, "config", None)
        if config is not None:
            config._attn_implementation = _SPELLED if spelled_softmax else _BIASED
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
    return _mixed(torch.softmax(_scores(query, key, attention_mask, scaling), dim=-1), value), None


def _attend_spelled(  # noqa: PLR0917  (transformers passes them by position)
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """The same without a softmax."""
    del module
    scores = _scores(query, key, attention_mask, scaling)
    exponentials = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    return _mixed(exponentials / exponentials.sum(dim=-1, keepdim=True), value), None


def _scores(query: Tensor, key: Tensor, biases: Tensor | None, scaling: float | None) -> Tensor:
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = ((query * scale) @ key.transpose(-2, -1)).float()
    return scores if biases is None else scores + biases.float()


def _mixed(weights: Tensor, value: Tensor) -> Tensor:
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous()
