"""CLIP's text encoder, written for being exported.

Source: CLIP (arXiv 2103.00020), section 2.4, and its published code, whose parameter names it keeps. The features are
those of the caption's end, projected and left as they are: RSA's heads read them raw, not of length one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from edgedepth.models.checkpoints import load_into
from edgedepth.models.clip_text_config import CLIP_TEXT_LAYOUTS, ClipTextConfig
from edgedepth.models.precision import Fp32LayerNorm

__all__ = ["Block", "CausalAttention", "ClipText", "Mlp", "QuickGelu", "Transformer", "load_clip_text"]

MLP_RATIO = 4

_HIDDEN = -1e4
"""Score of a token that isn't seen: its exponential is 0, and fp16 can store it, where infinity would be clamped."""


class QuickGelu(nn.Module):
    """x * sigmoid(1.702 x), which the published weights were trained with."""

    def forward(self, x: Tensor) -> Tensor:
        """Activate a tensor of any shape."""
        return x * torch.sigmoid(1.702 * x)


class CausalAttention(nn.Module):
    """Multi-head self-attention in which a token sees itself and those before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix (N, context, width)."""
        qkv = nn.functional.linear(tokens, self.in_proj_weight, self.in_proj_bias)
        by_head = torch.unflatten(qkv, -1, (3, self.heads, self.head_width))
        query, key, value = by_head.permute(2, 0, 3, 1, 4).unbind()
        scores = (query * self.head_width**-0.5) @ key.transpose(-2, -1)
        weights = _causal_softmax(scores.float()).to(value.dtype)
        mixed: Tensor = self.out_proj((weights @ value).transpose(1, 2).flatten(2))
        return mixed


def _causal_softmax(scores: Tensor) -> Tensor:
    """Softmax of (N, heads, context, context) float32 over the tokens up to each one.

    Spelled out: softmax between a mask and a product is attention to TensorRT, which several versions fuse wrongly.
    """
    position = torch.arange(scores.shape[-1], device=scores.device)
    seen = scores.masked_fill(position[None, :] > position[:, None], _HIDDEN)
    exponentials = torch.exp(seen - seen.amax(dim=-1, keepdim=True))
    return exponentials / exponentials.sum(dim=-1, keepdim=True)


class Mlp(nn.Module):
    """Two linear layers with QuickGelu between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, MLP_RATIO * width)
        self.gelu = QuickGelu()
        self.c_proj = nn.Linear(MLP_RATIO * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform each token of (N, context, width)."""
        transformed: Tensor = self.c_proj(self.gelu(self.c_fc(tokens)))
        return transformed


class Block(nn.Module):
    """Attention and MLP, each normalised before and added."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = CausalAttention(width, heads)
        self.ln_1 = Fp32LayerNorm(width)
        self.mlp = Mlp(width)
        self.ln_2 = Fp32LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform (N, context, width)."""
        tokens = tokens + self.attn(self.ln_1(tokens))
        transformed: Tensor = tokens + self.mlp(self.ln_2(tokens))
        return transformed


class Transformer(nn.Module):
    """The blocks, under the name that checkpoints give them."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(Block(config.width, config.heads) for _ in range(config.layers)))

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform (N, context, width)."""
        transformed: Tensor = self.resblocks(tokens)
        return transformed


class ClipText(nn.Module):
    """Captions' ids to their features."""

    def __init__(self, config: ClipTextConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocabulary, config.width)
        self.positional_embedding = nn.Parameter(torch.empty(config.context, config.width))
        self.transformer = Transformer(config)
        self.ln_final = Fp32LayerNorm(config.width)
        self.text_projection = nn.Parameter(torch.empty(config.width, config.projection))

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode.

        Args:
            tokens: (N, context) int32 or int64; the end mark is the largest id, and what comes after it is not seen.

        Returns:
            (N, projection) float32, as the projection gives them.
        """
        return self._encode(tokens, self.positional_embedding)

    def encode_short(self, tokens: Tensor) -> Tensor:
        """The same of captions whose last ids were cut off, (N, up to context), as long as each has its end mark."""
        return self._encode(tokens, self.positional_embedding[: tokens.shape[1]])

    def _encode(self, tokens: Tensor, positions: Tensor) -> Tensor:
        embedded = self.token_embedding(tokens) + positions
        encoded = self.ln_final(self.transformer(embedded))
        at_end = encoded[torch.arange(tokens.shape[0], device=tokens.device), tokens.argmax(dim=-1)]
        features: Tensor = at_end @ self.text_projection
        return features.float()


def load_clip_text(path: Path, config: ClipTextConfig) -> ClipText:
    """A text encoder in fp32, in eval mode and without gradients.

    Args:
        path: OpenAI's RN50.pt and its like (only the text half is read), their state_dict, or Hugging Face's
            CLIPTextModelWithProjection or CLIPModel as safetensors, one file or a folder.
        config: the sizes that it must have.

    Raises:
        WeightsMismatchError, WeightsError: as load_checkpoint.
    """
    with torch.device("meta"):
        model = ClipText(config)
    return load_into(model, path, CLIP_TEXT_LAYOUTS, title="a CLIP text encoder")
