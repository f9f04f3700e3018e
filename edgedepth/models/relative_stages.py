"""The stages of relative models and RSA as torch modules, around the reference's own weights.

transformers' attention, when it is traced, adds a mask that hides nothing: a float32 minimum that fp16 can't store, and
an addition that keeps runtimes from fusing attention. The stage has a copy of the network's structure, on the same
weights, whose attention is spelled out without it.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from edgedepth.core.optional import require
from edgedepth.models.clip_text import ClipText
from edgedepth.models.relative import RelativeDepth, Rsa
from edgedepth.models.rsa_head import ScaleShiftHead

__all__ = ["RelativeStage", "ScaleShiftStage", "TextStage", "stage_modules"]

_ATTENTION = "edgedepth_unmasked"


class RelativeStage(nn.Module):
    """A picture to raw relative depth."""

    def __init__(self, relative: RelativeDepth) -> None:
        super().__init__()
        self.relative = _with_plain_attention(relative)

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """Estimate relative_inverse_depth (1, 1, H, W) of (1, 3, H, W)."""
        return (self.relative(image),)


class TextStage(nn.Module):
    """A caption's ids to its features."""

    def __init__(self, text: ClipText) -> None:
        super().__init__()
        self.text = text

    def forward(self, tokens: Tensor) -> tuple[Tensor]:
        """Encode (1, context) int32 as text_features (1, projection)."""
        return (self.text(tokens),)


class ScaleShiftStage(nn.Module):
    """A caption's features to scale and shift, in float32."""

    def __init__(self, head: ScaleShiftHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, text_features: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift, each (1, 1) in 1/m, of (1, projection)."""
        return self.head.in_float32(text_features)


def stage_modules(model: Rsa) -> dict[str, nn.Module]:
    """The model's stages by name; each takes and gives what its spec declares, by position."""
    stages: dict[str, nn.Module] = {"relative_depth": RelativeStage(model.relative)}
    if model.text is not None and model.head is not None:
        stages |= {"text_encoder": TextStage(model.text), "scale_shift": ScaleShiftStage(model.head)}
    return stages


def _with_plain_attention(relative: RelativeDepth) -> RelativeDepth:
    """A copy of the structure that refers to the same weights, with attention spelled out."""
    modeling = require("transformers.modeling_utils", extra="rsa", purpose="to export networks of relative depth")
    modeling.AttentionInterface.register(_ATTENTION, _attend)
    shared = {id(tensor): tensor for tensor in (*relative.parameters(), *relative.buffers())}
    own = copy.deepcopy(relative, shared)
    for module in own.modules():
        config = getattr(module, "config", None)
        if config is not None:
            config._attn_implementation = _ATTENTION
    return own


def _attend(  # noqa: PLR0917  (transformers passes them by position)
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **_: object,
) -> tuple[Tensor, None]:
    """Attention as models/vit.py has it, in the form that transformers calls."""
    assert attention_mask is None, f"{type(module).__name__} hides tokens from each other"
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query * scale) @ key.transpose(-2, -1)
    weights = torch.softmax(scores.float(), dim=-1).to(value.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), None
