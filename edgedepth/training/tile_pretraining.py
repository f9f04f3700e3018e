"""What the mini model's vision transformers learn before the whole model is trained: depth from single tiles.

The counterpart of Depth Pro's pretrained DINOv2: one transformer sees whole views squeezed into a tile (and
estimates canonical inverse depth and the field of view) and tiles cut out of larger views (and estimates inverse
depth up to scale and shift). It becomes all three encoders. A tile costs a 35th of a picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DepthProConfig
from edgedepth.models.depth_pro_encoder import depth_pro_vit
from edgedepth.models.vit import LayerScale, ViT
from edgedepth.training.batches import Batch
from edgedepth.training.losses import fov_loss, mae_loss, mage_loss, normalise
from edgedepth.training.relative_error import log_loss

__all__ = ["TilePretraining", "TileTargets"]

_CELL = 2
"""A token's own 16 x 16 pixels are estimated at half their resolution from the last block."""

_SCALES = 3

_EMBEDDING_SPREAD = 0.7
"""Standard deviation of a whitened patch's channels."""

_SCALE_OF_BLOCKS = 0.5
"""What a block adds to its tokens at the start, of what it computes."""


class TilePretraining(nn.Module):
    """A transformer with linear heads that are thrown away."""

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        self.config = config
        self.vit: ViT = depth_pro_vit(config)
        fine = (config.patch // _CELL) ** 2
        self.metric = nn.Linear(config.width, fine)
        self.relative = nn.Linear(config.width, fine)
        self.hooked = nn.ModuleList(nn.Linear(config.width, config.patch**2) for _ in config.hooks)
        self.fov = nn.Linear(2 * config.width, 1)
        for module in self.vit.modules():
            if isinstance(module, LayerScale):
                nn.init.constant_(module.gamma, _SCALE_OF_BLOCKS)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                nn.init.zeros_(module.bias)

    def forward(self, image: Tensor, views: int) -> TileTargets:
        """Estimate from `views` whole views followed by tiles, (N, 3, tile, tile) together."""
        *hooked, last = self.vit(image, self.config.hooks)
        pooled = torch.cat((last[:views, 0], last[:views, 1:].mean(1)), dim=1)
        return TileTargets(
            canonical=F.softplus(self._map(self.metric(last[:views, 1:]))),
            relative=self._map(self.relative(last[views:, 1:])),
            hooked=[self._map(head(part[:, 1:])) for head, part in zip(self.hooked, hooked, strict=True)],
            fov_deg=60 + 15 * self.fov(pooled).flatten(),
        )

    def _map(self, tokens: Tensor) -> Tensor:
        """(N, grid², cells²) to (N, 1, side, side)."""
        grid = self.config.grid
        cells = round(tokens.shape[-1] ** 0.5)
        laid = tokens.float().reshape(-1, grid, grid, cells, cells).permute(0, 1, 3, 2, 4)
        return laid.reshape(-1, 1, grid * cells, grid * cells)

    def loss(self, views: Batch, tiles: Batch) -> dict[str, Tensor]:
        """The terms, to be summed.

        The logarithmic term and the weights are ours: they let far pixels count as near ones do.
        """
        estimate = self(torch.cat((views.image, tiles.image)), len(views.image))
        canonical, relative = _halved(views.inverse_depth), _halved(tiles.inverse_depth)
        seen = torch.ones_like(canonical, dtype=torch.bool)
        cut = torch.ones_like(relative, dtype=torch.bool)
        whole = torch.cat((views.inverse_depth, tiles.inverse_depth))
        everywhere = torch.ones_like(whole, dtype=torch.bool)
        normal, normal_cut = _bounded(normalise(whole, everywhere)), _bounded(normalise(relative, cut))
        return {
            "mae": 2 * mae_loss(estimate.canonical, canonical, seen),
            "log": 0.5 * log_loss(estimate.canonical, canonical, seen),
            "mage": 2 * mage_loss(estimate.canonical, canonical, seen, scales=_SCALES),
            "relative": 0.3 * mae_loss(estimate.relative, normal_cut, cut)
            + 0.3 * mage_loss(estimate.relative, normal_cut, cut, scales=_SCALES),
            "hooked": torch.stack([0.2 * mae_loss(m, normal, everywhere) for m in estimate.hooked]).sum(),
            "fov": fov_loss(estimate.fov_deg, views.fov_deg) / 300,
        }

    @torch.no_grad()
    def whiten(self, image: Tensor) -> None:
        """Start the patch embedding as a whitening of the patches of (N, 3, tile, tile), and positions as waves.

        Neighbouring pixels are alike: random filters would all see a patch's mean brightness, and next to nothing
        of its edges.
        """
        config, embed = self.config, self.vit.patch_embed.proj
        assert embed.bias is not None
        patches = image.unfold(2, config.patch, config.patch).unfold(3, config.patch, config.patch)
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(-1, embed.weight[0].numel()).double()
        mean = rows.mean(0)
        variances, directions = torch.linalg.eigh(torch.cov((rows - mean).T))
        strongest = directions[:, -config.width :] / torch.sqrt(variances[-config.width :].clamp(min=0) + 1e-3)
        mixing = torch.linalg.qr(torch.randn(config.width, strongest.shape[1], dtype=torch.float64))[0]
        filters = _EMBEDDING_SPREAD * (mixing @ strongest.T)
        embed.weight.copy_(filters.reshape(embed.weight.shape))
        embed.bias.copy_(-filters @ mean)
        self.vit.pos_embed[:, 1:] = _waves(config.grid, config.width)

    def hand_over(self, model: DepthPro) -> None:
        """Copy the transformer into all three encoders of a model of the same sizes."""
        state = self.vit.state_dict()
        vit_of_fov = model.fov.encoder[0]
        for vit in (model.encoder.patch_encoder, model.encoder.image_encoder, vit_of_fov):
            vit.load_state_dict(state)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileTargets:
    """What `TilePretraining` estimates.

    Args:
        canonical: (views, 1, S/2, S/2) canonical inverse depth.
        relative: (tiles, 1, S/2, S/2) normalised inverse depth.
        hooked: (views + tiles, 1, S, S) normalised inverse depth, by each hooked block.
        fov_deg: (views,).
    """

    canonical: Tensor
    relative: Tensor
    hooked: list[Tensor]
    fov_deg: Tensor


def _waves(grid: int, width: int) -> Tensor:
    """Sines and cosines of a token's row and column, four frequencies each, mixed at random: (grid², width)."""
    at = torch.arange(grid) / grid
    angles = torch.stack(torch.meshgrid(at, at, indexing="ij"), -1)[..., None] * torch.pi * torch.arange(1, 5)
    waves = torch.cat((angles.sin(), angles.cos()), -1).reshape(grid**2, -1)
    return waves @ torch.randn(waves.shape[1], width) / 8


def _halved(inverse_depth: Tensor) -> Tensor:
    return F.avg_pool2d(inverse_depth, _CELL)


def _bounded(normalised: Tensor) -> Tensor:
    """A tile of one plane with a thin thing before it has a tiny deviation and huge values."""
    return normalised.clamp(-4, 4)
