"""ZoeDepth's stage as a torch module, around the reference's own weights.

Four things are put differently from transformers' module, for graphs of one input size: the position biases of BEiT's
attention are resized once, attention is that of models/zoedepth_attention.py, both metric heads are computed and one is
chosen, and the heads stay in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgedepth.models.precision import Fp32Conv2d, Fp32Linear
from edgedepth.models.sharing import sharing_copy
from edgedepth.models.zoedepth import ZoeDepth
from edgedepth.models.zoedepth_attention import use_own_attention

__all__ = ["ZoeDepthStage"]


class ZoeDepthStage(nn.Module):
    """A picture to depth in metres.

    Args:
        reference: not changed.
        shape: height and width of the input.
        spelled_softmax: see models/zoedepth_attention.py.
    """

    def __init__(self, reference: ZoeDepth, shape: tuple[int, int], *, spelled_softmax: bool = False) -> None:
        super().__init__()
        own: Any = sharing_copy(reference)
        network = own.network
        use_own_attention(network, spelled_softmax=spelled_softmax)
        _resize_biases(network.backbone, tuple(side // network.patch_size for side in shape))
        for head in (network.relative_head, network.metric_head):
            _keep_float32(head)
        if len(network.config.bin_configurations) > 1:
            network.metric_head = _RoutedHeads(network.metric_head)
        self.reference = own

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """Estimate depth_m (1, 1, H, W) of (1, 3, H, W)."""
        weight = self.reference.network.neck.convs[0].weight
        return (self.reference(image.to(weight.dtype)).float(),)


class _FixedBias(nn.Module):
    """BEiT's position biases for one grid of patches: a table that was resized for it, and where each pair looks."""

    def __init__(self, table: Tensor, index: Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table, requires_grad=False)
        self.index = nn.Buffer(index, persistent=False)

    def forward(self, *_: object, **__: object) -> Tensor:
        """Biases (1, heads, tokens, tokens)."""
        tokens = self.index.shape[0]
        biases = self.table[self.index.reshape(-1)].reshape(tokens, tokens, -1)
        return biases.permute(2, 0, 1)[None]


class _RoutedHeads(nn.Module):
    """Two metric heads, and the classifier that chooses: both are computed, for a graph can't leave one out."""

    def __init__(self, heads: Any) -> None:
        super().__init__()
        self.heads = heads

    def forward(
        self, outconv_activation: Tensor, bottleneck: Tensor, feature_blocks: list[Tensor], relative_depth: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Depth (1, 1, H, W) in m and the domains' scores (1, 2), as transformers' module gives them."""
        del relative_depth  # ZoeD_NK's heads weren't given it
        mixed = self.heads.conv2(bottleneck)
        scores = self.heads.mlp_classifier(self.heads.patch_transformer(mixed)[:, 0])
        first, second = (
            self._depth(domain, mixed, feature_blocks, outconv_activation) for domain in self.heads.bin_configurations
        )
        is_second = scores[:, 1] > scores[:, 0]
        return torch.where(is_second[:, None, None, None], second, first), scores

    def _depth(self, domain: dict[str, Any], mixed: Tensor, features: list[Tensor], last: Tensor) -> Tensor:
        """What one head makes of it: bin centres, moved by attractors at each scale, and a distribution over them."""
        heads, name = self.heads, domain["name"]
        nearest, farthest = domain["min_depth"], domain["max_depth"]
        _, centers = heads.seed_bin_regressors[name](mixed)
        bins = (centers - nearest) / (farthest - nearest) if heads.bin_centers_type == "normed" else centers
        embedding = heads.seed_projector(mixed)
        for projector, attractor, feature in zip(heads.projectors, heads.attractors[name], features, strict=False):
            before, embedding = embedding, projector(feature)
            bins, centers = attractor(embedding, bins, before, interpolate=True)
        centers, embedding = (
            nn.functional.interpolate(maps, last.shape[-2:], mode="bilinear", align_corners=True)
            for maps in (centers, embedding)
        )
        shares = heads.conditional_log_binomial[name](last, embedding)
        return torch.sum(shares * centers, dim=1, keepdim=True)


def _resize_biases(backbone: nn.Module, grid: tuple[int, ...]) -> None:
    """Put a table for this grid in place of each module that resizes its own at every run."""
    index: Tensor | None = None
    for module in list(backbone.modules()):
        bias: Any = getattr(module, "relative_position_bias", None)
        if bias is None:
            continue
        if index is None:
            index = bias.generate_relative_position_index(grid).clone()
        module.relative_position_bias = _FixedBias(_resized(bias, grid), index)


@torch.no_grad()
def _resized(bias: Any, grid: tuple[int, ...]) -> Tensor:
    """The table of another grid, as the module computes it; the last three rows, of the class token, stay."""
    old, new = ([2 * side - 1 for side in sides] for sides in (bias.window_size, grid))
    table = bias.relative_position_bias_table.detach()
    # Width before height, as transformers has it: published grids are square.
    pictures = table[:-3].reshape(1, old[1], old[0], -1).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(pictures, size=tuple(new), mode="bilinear")
    return torch.cat((resized.permute(0, 2, 3, 1).reshape(new[0] * new[1], -1), table[-3:])).contiguous()


def _keep_float32(head: nn.Module) -> None:
    """Bin centres and log-binomials are metres' last arithmetic, and their logarithms of 1e-7 are none of fp16's."""
    for module in head.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = Fp32Conv2d
        elif type(module) is nn.Linear:
            module.__class__ = Fp32Linear
