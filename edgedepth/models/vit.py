"""A vision transformer in the shape of DINOv2, written for being exported.

Source: Dosovitskiy et al. (arXiv 2010.11929) with the LayerScale of DINOv2 (arXiv 2304.07193); parameter names
are those of timm's VisionTransformer, which the published Depth Pro checkpoint uses. The position embedding has
the size of its one input size: nothing is resampled in forward().
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedepth.models.precision import Fp32LayerNorm

__all__ = ["Attention", "Block", "LayerScale", "Mlp", "PatchEmbed", "ViT", "token_map"]

MLP_RATIO = 4
NORM_EPS = 1e-6


class PatchEmbed(nn.Module):
    """Cuts an image into patches and embeds each: one strided convolution."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel_size=patch, stride=patch)

    def forward(self, image: Tensor) -> Tensor:
        """Embed (N, 3, S, S) as (N, G², width), in row-major order."""
        embedded: Tensor = self.proj(image)
        return embedded.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention, spelled out.

    q is scaled once, there is no mask, and softmax is float32: the form that TensorRT fuses rightly
    (NVIDIA/TensorRT#4723), where the fused attention operator of torch exports a scale on both q and k.

    Attributes:
        fused: whether to compute with that operator all the same: training on a GPU does.
    """

    fused = False

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.scale = self.head_width**-0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix (N, tokens, width)."""
        qkv: Tensor = self.qkv(tokens)
        by_head = torch.unflatten(qkv, -1, (3, self.heads, self.head_width))
        query, key, value = by_head.permute(2, 0, 3, 1, 4).unbind()
        if self.fused:
            seen = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
            return cast(Tensor, self.proj(seen.transpose(1, 2).flatten(2)))
        scores = (query * self.scale) @ key.transpose(-2, -1)
        weights = torch.softmax(scores.float(), dim=-1).to(value.dtype)
        mixed: Tensor = self.proj((weights @ value).transpose(1, 2).flatten(2))
        return mixed


class LayerScale(nn.Module):
    """One learned factor a channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Scale (N, tokens, width)."""
        return tokens * self.gamma


class Mlp(nn.Module):
    """Two linear layers with the exact (erf) GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (N, tokens, width)."""
        mapped: Tensor = self.fc2(self.act(self.fc1(tokens)))
        return mapped


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = Fp32LayerNorm(width, eps=NORM_EPS)
        self.attn = Attention(width, heads)
        self.ls1 = LayerScale(width)
        self.norm2 = Fp32LayerNorm(width, eps=NORM_EPS)
        self.mlp = Mlp(width)
        self.ls2 = LayerScale(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Advance (N, tokens, width) by one block."""
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens)))
        advanced: Tensor = tokens + self.ls2(self.mlp(self.norm2(tokens)))
        return advanced


class ViT(nn.Module):
    """The whole encoder, for square images of one size.

    Args:
        side: of the image in pixels, a multiple of patch.
        patch: side of a patch in pixels.
        width: channels of a token.
        depth: blocks.
        heads: attention heads.
    """

    def __init__(self, *, side: int, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.grid = side // patch
        self.patch_embed = PatchEmbed(patch, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid**2, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = Fp32LayerNorm(width, eps=NORM_EPS)

    def forward(self, image: Tensor, hooks: Sequence[int] = ()) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            image: (N, 3, side, side) in -1..1; cast to the weights' dtype.
            hooks: indices of blocks whose outputs are wanted too, ascending.

        Returns:
            The hooked blocks' outputs as they leave the block (no norm), then the normed output of the last
            block; each (N, 1 + grid², width), class token first.
        """
        patches = self.patch_embed(image.to(self.cls_token.dtype))
        tokens = torch.cat((self.cls_token.expand(patches.shape[0], -1, -1), patches), dim=1) + self.pos_embed
        hooked = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in hooks:
                hooked.append(tokens)
        return (*hooked, self.norm(tokens))


def token_map(tokens: Tensor, grid: int) -> Tensor:
    """Drop the class token and lay the others out: (N, 1 + grid², width) to (N, grid, grid, width)."""
    return torch.unflatten(tokens[:, 1:], 1, (grid, grid))
