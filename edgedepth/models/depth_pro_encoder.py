"""Depth Pro's encoder: pyramid, tiles, two vision transformers, fused and upsampled feature maps.

Source: Depth Pro (arXiv 2410.02073), section 3.1 and figure 3; github.com/apple/ml-depth-pro,
network/encoder.py, whose parameter names these modules carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedepth.core.spec import PyramidLevel
from edgedepth.models.depth_pro_config import DepthProConfig, depth_pro_tiling
from edgedepth.models.vit import ViT, token_map

__all__ = ["DepthProEncoder", "FeatureUpsampler", "depth_pro_vit", "fuse_tiles", "image_pyramid", "split_tiles"]


def depth_pro_vit(config: DepthProConfig) -> ViT:
    """One of the three vision transformers; they differ only in their weights."""
    return ViT(side=config.tile, patch=config.patch, width=config.width, depth=config.depth, heads=config.heads)


def image_pyramid(image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The image (N, 3, S, S), its half and its quarter: bilinear, half-pixel centres, no antialiasing."""

    def scaled(factor: float) -> Tensor:
        return F.interpolate(image, scale_factor=factor, mode="bilinear", align_corners=False)

    return image, scaled(0.5), scaled(0.25)


def split_tiles(image: Tensor, level: PyramidLevel, tile: int) -> Tensor:
    """Cut one pyramid level.

    Args:
        image: (N, 3, side, side) at this level's scale.
        level: how to cut it.
        tile: side of a tile in pixels.

    Returns:
        (steps² x N, 3, tile, tile): tiles in row-major order, all images of the batch for each tile.
    """
    starts = [step * level.stride for step in range(level.steps)]
    return torch.cat([image[..., y : y + tile, x : x + tile] for y in starts for x in starts])


def fuse_tiles(features: Tensor, level: PyramidLevel, batch: int) -> Tensor:
    """Fuse one level's tile features into one map, dropping `level.padding` features at each inner border.

    Args:
        features: (steps² x N, grid, grid, C) in the order of `split_tiles`.
        level: how the tiles were cut.
        batch: N.

    Returns:
        (N, side, side, C).
    """
    grid, last = features.shape[1], level.steps - 1

    def kept(step: int) -> slice:
        return slice(level.padding if step > 0 else 0, grid - level.padding if step < last else grid)

    tiles = torch.split(features, batch)
    rows = [
        torch.cat([tiles[y * level.steps + x][:, kept(y), kept(x)] for x in range(level.steps)], dim=2)
        for y in range(level.steps)
    ]
    return torch.cat(rows, dim=1)


def _project_and_upsample(width: int, between: int, out: int, doublings: int) -> nn.Sequential:
    """A 1x1 convolution to `between` channels, then transposed convolutions that double the side."""
    widths = [between] + [out] * doublings
    upsampling = [
        nn.ConvTranspose2d(before, after, kernel_size=2, stride=2, bias=False) for before, after in pairwise(widths)
    ]
    return nn.Sequential(nn.Conv2d(width, between, kernel_size=1, bias=False), *upsampling)


class FeatureUpsampler(nn.Module):
    """Brings the fused maps to the sizes and channels that the decoder takes."""

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        width = config.width
        fine, high, mid, low = config.feature_dims
        self.upsample_latent0 = _project_and_upsample(width, fine, config.decoder_width, 3)
        self.upsample_latent1 = _project_and_upsample(width, fine, fine, 2)
        self.upsample0 = _project_and_upsample(width, high, high, 1)
        self.upsample1 = _project_and_upsample(width, mid, mid, 1)
        self.upsample2 = _project_and_upsample(width, low, low, 1)
        self.upsample_lowres = nn.ConvTranspose2d(width, low, kernel_size=2, stride=2)
        self.fuse_lowres = nn.Conv2d(2 * low, low, kernel_size=1)

    @classmethod
    def sharing(cls, other: FeatureUpsampler, config: DepthProConfig) -> FeatureUpsampler:
        """An upsampler of another's own layers and nothing else: a DepthProEncoder without its ViTs."""
        with torch.device("meta"):
            upsampler = cls(config)
        for name, _ in list(upsampler.named_children()):
            setattr(upsampler, name, getattr(other, name))
        return upsampler

    def upsample(
        self,
        *,
        latent0: Tensor,
        latent1: Tensor,
        level0: Tensor,
        level1: Tensor,
        level2: Tensor,
        image_features: Tensor,
    ) -> list[Tensor]:
        """Upsample the six maps and merge the two coarsest.

        Args:
            latent0: hooked features of the full-scale tiles, (N, 4G, 4G, width); latent1 and level0 likewise.
            latent1: of the later hook.
            level0: last features of the full-scale tiles.
            level1: of the half-scale tiles, (N, 2G, 2G, width).
            level2: of the quarter-scale tile, (N, G, G, width).
            image_features: of the image encoder, (N, G, G, width).

        Returns:
            Channels-first, finest first: (N, C, side, side) with sides 32G, 16G, 8G, 4G, 2G.
        """
        return [
            self.upsample_latent0(self.channels_first(latent0)),
            self.upsample_latent1(self.channels_first(latent1)),
            self.upsample0(self.channels_first(level0)),
            self.upsample1(self.channels_first(level1)),
            self.merge_coarsest(level2, image_features),
        ]

    def merge_coarsest(self, level2: Tensor, image_features: Tensor) -> Tensor:
        """Upsample and merge the quarter-scale tile's and the image encoder's features, both (N, G, G, width)."""
        coarse = (
            self.upsample2(self.channels_first(level2)),
            self.upsample_lowres(self.channels_first(image_features)),
        )
        merged: Tensor = self.fuse_lowres(torch.cat(coarse, dim=1))
        return merged

    def channels_first(self, features: Tensor) -> Tensor:
        """(N, H, W, C) to (N, C, H, W), in the weights' dtype."""
        return features.to(self.fuse_lowres.weight.dtype).permute(0, 3, 1, 2)


class DepthProEncoder(FeatureUpsampler):
    """The patch and image encoders in front of the upsampling.

    It extends FeatureUpsampler rather than holding one because the published checkpoint names the layers of
    both on one level.
    """

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__(config)
        self.tiling = depth_pro_tiling(config)
        self.hooks = config.hooks
        self.patch_encoder = depth_pro_vit(config)
        self.image_encoder = depth_pro_vit(config)

    def forward(self, pyramid: Sequence[Tensor]) -> list[Tensor]:
        """Encode a pyramid, all tiles of all levels in one batch.

        Args:
            pyramid: as `image_pyramid` builds it: (N, 3, S, S), (N, 3, S/2, S/2), (N, 3, S/4, S/4).

        Returns:
            As `upsample`.
        """
        batch, levels, grid = pyramid[0].shape[0], self.tiling.levels, self.tiling.grid
        tiles = [split_tiles(image, level, self.tiling.tile) for image, level in zip(pyramid, levels, strict=True)]
        latent0, latent1, features = (
            token_map(tokens, grid) for tokens in self.patch_encoder(torch.cat(tiles), self.hooks)
        )
        counts = [level.steps**2 * batch for level in levels]
        level0, level1, level2 = (
            fuse_tiles(part, level, batch) for part, level in zip(torch.split(features, counts), levels, strict=True)
        )
        fused0, fused1 = (fuse_tiles(latent[: counts[0]], levels[0], batch) for latent in (latent0, latent1))
        image_features = token_map(self.image_encoder(pyramid[-1])[-1], grid)
        return self.upsample(
            latent0=fused0,
            latent1=fused1,
            level0=level0,
            level1=level1,
            level2=level2,
            image_features=image_features,
        )
