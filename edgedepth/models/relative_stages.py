"""The stages of relative models and RSA as torch modules, around the reference's own weights.

transformers' attention, when it is traced, adds a mask that hides nothing: a float32 minimum that fp16 can't store, and
an addition that keeps runtimes from fusing attention. The stage has a copy of the network's structure, on the same
weights, whose attention is spelled out without it. Position embeddings are resized once, for the one size of the input:
bicubically, which Core ML has no operation for.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgedepth.core.optional import require
from edgedepth.models.clip_text import ClipText
from edgedepth.models.relative import RelativeDepth, Rsa
from edgedepth.models.rsa_head import ScaleShiftHead
from edgedepth.models.sharing import sharing_copy

__all__ = ["RelativeStage", "ScaleShiftStage", "TextStage", "stage_modules"]

_ATTENTION = "edgedepth_unmasked"
_RESIZE = "interpolate_pos_encoding"  # transformers' name of the method


class RelativeStage(nn.Module):
    """A picture to raw relative depth.

    Args:
        relative: the reference, which is not changed.
        shape: height and width of the input.
    """

    def __init__(self, relative: RelativeDepth, shape: tuple[int, int]) -> None:
        super().__init__()
        self.relative = _with_plain_attention(relative)
        _fix_positions(self.relative, shape)
        _fix_biases(self.relative)

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


def stage_modules(model: Rsa, shape: tuple[int, int]) -> dict[str, nn.Module]:
    """The model's stages by name, for pictures of a height and width; each takes and gives what its spec declares."""
    stages: dict[str, nn.Module] = {"relative_depth": RelativeStage(model.relative, shape)}
    if model.text is not None and model.head is not None:
        stages |= {"text_encoder": TextStage(model.text), "scale_shift": ScaleShiftStage(model.head)}
    return stages


def _with_plain_attention(relative: RelativeDepth) -> RelativeDepth:
    """A copy of the structure that refers to the same weights, with attention spelled out."""
    modeling = require("transformers.modeling_utils", extra="rsa", purpose="to export networks of relative depth")
    modeling.AttentionInterface.register(_ATTENTION, _attend)
    own = sharing_copy(relative)
    assert isinstance(own, RelativeDepth)
    for module in own.modules():
        config = getattr(module, "config", None)
        if config is not None:
            config._attn_implementation = _ATTENTION
    return own


class _Fixed(nn.Module):
    """What positions give at one size of the input, whatever is asked for."""

    def __init__(self, positions: Tensor) -> None:
        super().__init__()
        self.positions = nn.Parameter(positions, requires_grad=False)

    def forward(self, *_: object) -> Tensor:
        """The embeddings (1, tokens, channels), or Swin's biases (1, height, width, heads)."""
        return self.positions


def _fix_positions(own: nn.Module, shape: tuple[int, int]) -> None:
    """Have the embeddings' own module resize its positions now, and keep what it makes of them."""
    for module in list(own.modules()):
        resize = getattr(module, _RESIZE, None)
        if resize is None:
            continue
        seen: list[Tensor] = []

        def watch(*arguments: Any, resize: Any = resize, seen: list[Tensor] = seen) -> Tensor:
            seen.append(resize(*arguments))
            return seen[-1]

        module.__dict__[_RESIZE] = watch
        with torch.no_grad():
            module(torch.zeros(1, 3, *shape))
        del module.__dict__[_RESIZE]
        if seen and not isinstance(seen[0], nn.Parameter):  # else they have the right size already
            # In the instance's own attributes: a submodule of that name would not come before the class's method.
            module.fixed_positions = module.__dict__[_RESIZE] = _Fixed(seen[0])


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


def _fix_biases(own: nn.Module) -> None:
    """Compute Swin v2's position biases now: from a table in float32, which its layers at fp16 don't take."""
    for module in list(own.modules()):
        layers = getattr(module, "continuous_position_bias_mlp", None)
        if isinstance(layers, nn.Module):
            with torch.no_grad():
                module.continuous_position_bias_mlp = _Fixed(layers(module.relative_coords_table))
