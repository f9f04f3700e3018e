"""The vision transformer in the form that Apple's Neural Engine takes, on the weights of a ViT.

Source: Apple, "Deploying Transformers on the Apple Neural Engine" (machinelearning.apple.com, 2022): tensors are
(N, C, 1, tokens), linear layers are 1x1 convolutions, and attention is computed head by head. Factors are folded into
the weights beside them: the attention's scale into the query, LayerScale into the layer that it scales, a LayerNorm's
weight and bias into the layer behind it. What is folded isn't rounded on its own: at fp16 every operation rounds once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedepth.models.sharing import sharing_copy
from edgedepth.models.vit import Attention, Block, ViT

__all__ = ["AneAttention", "AneBlock", "AneViT", "ChannelNorm", "ane_copy"]

_SCALE = 0.25
"""What tokens are multiplied with before a LayerNorm, which takes no notice of it. Deviations from 0.03 to 1000 then
have squares within fp16's normal numbers, for a device that squares in fp16; transformers of this kind are known for
deviations of hundreds, whose squares fp16 doesn't hold. A power of two, so that nothing is rounded."""


def _conv(weight: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A linear layer's weight (out, in) and bias as a 1x1 convolution."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=1, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(weight[:, :, None, None], requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def _after_norm(norm: nn.LayerNorm, weight: Tensor, bias: Tensor | None, *, scale: float = 1.0) -> nn.Conv2d:
    """A linear layer behind a LayerNorm, with the norm's own weight and bias folded in, and a factor of its output.

    Computed in float64 and rounded once. Without a bias the norm's is left out too.
    """
    exact = weight.double()
    folded = (exact * norm.weight.detach().double() * scale).to(weight.dtype)
    if bias is None:
        return _conv(folded, None)
    shifted = (exact @ norm.bias.detach().double() + bias.double()) * scale
    return _conv(folded, shifted.to(bias.dtype))


class ChannelNorm(nn.Module):
    """LayerNorm's first half over the channels of (N, C, 1, tokens): mean 0 and variance 1.

    Written as coremltools knows it from Apple's own transformers, and makes one layer_norm of it: a result that is
    rounded once. Op by op a token's mean, variance and root are each rounded to fp16 for all its channels together, and
    tokens of a flat picture, which are all alike, are all wrong alike.
    """

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps * _SCALE**2

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalise axis 1 of (N, C, 1, tokens)."""
        scaled = tokens * _SCALE
        centred = scaled - scaled.mean(dim=1, keepdim=True)
        normed: Tensor = centred * torch.rsqrt((centred * centred).mean(dim=1, keepdim=True) + self.eps)
        return normed


class AneAttention(nn.Module):
    """Multi-head self-attention of normalised tokens, a head at a time.

    Keys have no bias: it adds the same to all scores of a query. Softmax takes no notice of that, and fp16 rounds it.
    """

    def __init__(self, attention: Attention, norm: nn.LayerNorm, gamma: Tensor) -> None:
        super().__init__()
        self.head_width = attention.head_width
        query, key, value = attention.qkv.weight.detach().chunk(3)
        query_bias, _, value_bias = attention.qkv.bias.detach().chunk(3)
        self.query = _after_norm(norm, query, query_bias, scale=attention.scale)
        self.key = _after_norm(norm, key, None)
        self.value = _after_norm(norm, value, value_bias)
        self.proj = _conv(attention.proj.weight.detach() * gamma[:, None], attention.proj.bias.detach() * gamma)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix (N, C, 1, tokens)."""
        queries = self.query(tokens).split(self.head_width, dim=1)
        keys = self.key(tokens).transpose(1, 3).split(self.head_width, dim=3)
        values = self.value(tokens).split(self.head_width, dim=1)
        heads = []
        for query, key, value in zip(queries, keys, values, strict=True):
            weights = torch.einsum("bchq,bkhc->bkhq", query, key).softmax(dim=1)
            heads.append(torch.einsum("bkhq,bchk->bchq", weights, value))
        mixed: Tensor = self.proj(torch.cat(heads, dim=1))
        return mixed


class AneBlock(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        first, second, gamma = block.mlp.fc1, block.mlp.fc2, block.ls2.gamma.detach()
        self.norm1 = ChannelNorm(block.norm1.eps)
        self.attn = AneAttention(block.attn, block.norm1, block.ls1.gamma.detach())
        self.norm2 = ChannelNorm(block.norm2.eps)
        self.fc1 = _after_norm(block.norm2, first.weight.detach(), first.bias.detach())
        self.fc2 = _conv(second.weight.detach() * gamma[:, None], second.bias.detach() * gamma)

    def forward(self, tokens: Tensor) -> Tensor:
        """Advance (N, C, 1, tokens) by one block."""
        tokens = tokens + self.attn(self.norm1(tokens))
        advanced: Tensor = tokens + self.fc2(F.gelu(self.fc1(self.norm2(tokens))))
        return advanced


class AneViT(nn.Module):
    """A ViT's own function in this form; it is called as the ViT is, and gives the same tokens."""

    def __init__(self, vit: ViT) -> None:
        super().__init__()
        self.grid = vit.grid
        self.embed = vit.patch_embed.proj
        # The class token is the first column of the position embedding, added to a column of zeros.
        positions = vit.pos_embed.detach().clone()
        positions[:, :1] += vit.cls_token.detach()
        self.positions = nn.Parameter(positions.transpose(1, 2)[:, :, None], requires_grad=False)
        self.blocks = nn.ModuleList(AneBlock(block) for block in vit.blocks if isinstance(block, Block))
        self.norm = ChannelNorm(vit.norm.eps)
        self.norm_weight = nn.Parameter(vit.norm.weight.detach(), requires_grad=False)
        self.norm_bias = nn.Parameter(vit.norm.bias.detach(), requires_grad=False)

    def forward(self, image: Tensor, hooks: Sequence[int] = ()) -> tuple[Tensor, ...]:
        """Encode images; see ViT.forward."""
        tokens = F.pad(self.embed(image).flatten(2)[:, :, None], (1, 0)) + self.positions
        hooked = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in hooks:
                hooked.append(tokens)
        *hooked, normed = (layer[:, :, 0].transpose(1, 2) for layer in (*hooked, self.norm(tokens)))
        return (*hooked, normed * self.norm_weight + self.norm_bias)


def ane_copy(module: nn.Module) -> nn.Module:
    """A copy of a stage with every ViT in this form. Weights are shared, but for those that a factor is folded into."""
    copied = sharing_copy(module)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ViT):
                setattr(parent, name, AneViT(child))
    return copied
