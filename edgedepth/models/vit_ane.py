"""The vision transformer in the form that Apple's Neural Engine takes, on the weights of a ViT.

Source: Apple, "Deploying Transformers on the Apple Neural Engine" (machinelearning.apple.com, 2022): tensors are
(N, C, 1, tokens), linear layers are 1x1 convolutions, and attention is computed head by head. Factors are folded into
the weights before them: the attention's scale into the query, LayerScale into the layer that it scales.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedepth.models.sharing import sharing_copy
from edgedepth.models.vit import Attention, Block, ViT

__all__ = ["AneAttention", "AneBlock", "AneViT", "ChannelNorm", "ane_copy"]

_SMALLEST = 1e-3  # of a token's largest deviation: less is taken for this, so that fp16 divides by no zero


def _conv(weight: Tensor, bias: Tensor) -> nn.Conv2d:
    """A linear layer's weight (out, in) and bias as a 1x1 convolution."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], kernel_size=1, device="meta")
    layer.weight = nn.Parameter(weight[:, :, None, None], requires_grad=False)
    layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (N, C, 1, tokens), which fp16 doesn't overflow.

    A deviation of 256 squares to more than fp16 holds, and transformers of this kind have larger ones. So deviations
    are first divided by the token's largest: their squares lie in 0..1, and their mean is no less than 1 / C.
    """

    def __init__(self, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.root_eps = nn.Buffer(torch.tensor(norm.eps**0.5))
        self.smallest = nn.Buffer(torch.tensor(_SMALLEST))
        self.weight = nn.Parameter(norm.weight.detach()[None, :, None, None], requires_grad=False)
        self.bias = nn.Parameter(norm.bias.detach()[None, :, None, None], requires_grad=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalise axis 1 of (N, C, 1, tokens)."""
        centred = tokens - tokens.mean(dim=1, keepdim=True)
        largest = torch.maximum(centred.abs().amax(dim=1, keepdim=True), self.smallest)
        scaled = centred / largest
        variance = (scaled * scaled).mean(dim=1, keepdim=True)
        eps = self.root_eps / largest
        return scaled * torch.rsqrt(variance + eps * eps) * self.weight + self.bias


class AneAttention(nn.Module):
    """Multi-head self-attention, a head at a time."""

    def __init__(self, attention: Attention, gamma: Tensor) -> None:
        super().__init__()
        self.head_width = attention.head_width
        query, key, value = attention.qkv.weight.detach().chunk(3)
        query_bias, key_bias, value_bias = attention.qkv.bias.detach().chunk(3)
        self.query = _conv(query * attention.scale, query_bias * attention.scale)
        self.key = _conv(key, key_bias)
        self.value = _conv(value, value_bias)
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
        self.norm1 = ChannelNorm(block.norm1)
        self.attn = AneAttention(block.attn, block.ls1.gamma.detach())
        self.norm2 = ChannelNorm(block.norm2)
        self.fc1 = _conv(first.weight.detach(), first.bias.detach())
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
        self.norm = ChannelNorm(vit.norm)

    def forward(self, image: Tensor, hooks: Sequence[int] = ()) -> tuple[Tensor, ...]:
        """Encode images; see ViT.forward."""
        tokens = F.pad(self.embed(image).flatten(2)[:, :, None], (1, 0)) + self.positions
        hooked = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in hooks:
                hooked.append(tokens)
        return tuple(layer[:, :, 0].transpose(1, 2) for layer in (*hooked, self.norm(tokens)))


def ane_copy(module: nn.Module) -> nn.Module:
    """A copy of a stage with every ViT in this form. Weights are shared, but for those that a factor is folded into."""
    copied = sharing_copy(module)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ViT):
                setattr(parent, name, AneViT(child))
    return copied
