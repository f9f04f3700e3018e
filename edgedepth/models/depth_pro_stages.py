"""Depth Pro's stages as torch modules: the tensors of `depth_pro_stages`, around the reference's own layers.

Stages share their layers with the model they are cut from: nothing is copied. Every border is float32,
whatever the weights' dtype, so a stage halved by `half_precision_` is fed and read like any other.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_encoder import FeatureUpsampler
from edgedepth.models.vit import ViT, token_map

__all__ = ["DecoderStage", "FovStage", "ImageEncoderStage", "PatchEncoderStage", "stage_modules"]


class PatchEncoderStage(nn.Module):
    """Encodes tiles of any pyramid level."""

    def __init__(self, vit: ViT, hooks: tuple[int, int]) -> None:
        super().__init__()
        self.vit = vit
        self.hooks = hooks

    def forward(self, tiles: Tensor) -> tuple[Tensor, ...]:
        """Encode (tiles, 3, T, T) as latent0, latent1 and features, each (tiles, G, G, width)."""
        return tuple(token_map(tokens, self.vit.grid).float() for tokens in self.vit(tiles, self.hooks))


class ImageEncoderStage(nn.Module):
    """Encodes the whole image at a quarter of its scale."""

    def __init__(self, vit: ViT) -> None:
        super().__init__()
        self.vit = vit

    def forward(self, image: Tensor) -> tuple[Tensor]:
        """Encode (1, 3, T, T) as image_features (1, G, G, width)."""
        return (token_map(self.vit(image)[-1], self.vit.grid).float(),)


STRIP_ROWS = 16
"""Rows of latent0 in a strip of the finest level: six strips for Depth Pro, two for the mini."""


class DecoderStage(nn.Module):
    """Upsamples and decodes the fused maps, and runs the depth head.

    The same layers as the reference's, in an order that needs less memory: each map is upsampled when its turn
    comes, and the finest level, whose maps are the largest, is decoded in horizontal strips. A strip carries one
    row of latent0 (eight rows of features) from each neighbour, more than the 5.5 rows that its convolutions
    look around, so every pixel that is kept sees what it sees in the whole.
    """

    def __init__(self, model: DepthPro) -> None:
        super().__init__()
        self.upsampler = FeatureUpsampler.sharing(model.encoder, model.config)
        self.decoder = model.decoder
        self.head = model.head

    def forward(  # noqa: PLR0917  (an exported graph's inputs have an order)
        self,
        latent0: Tensor,
        latent1: Tensor,
        level0: Tensor,
        level1: Tensor,
        level2: Tensor,
        image_features: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Decode channels-last maps to canonical_inverse_depth (1, 1, S, S) and lowres_features."""
        up, (_, *convs), fusion = self.upsampler, self.decoder.convs, self.decoder.fusion
        lowres_features = convs[3](up.merge_coarsest(level2, image_features))
        features = fusion(4)(lowres_features)
        features = fusion(3)(features, convs[2](up.upsample1(up.channels_first(level1))))
        features = fusion(2)(features, convs[1](up.upsample0(up.channels_first(level0))))
        features = fusion(1).refine(features, convs[0](up.upsample_latent1(up.channels_first(latent1))))
        rows = range(0, latent0.shape[1], STRIP_ROWS)
        strips = [self._decode_strip(features, latent0, first) for first in rows]
        return torch.cat(strips, dim=2), lowres_features.float()

    def _decode_strip(self, features: Tensor, latent0: Tensor, first: int) -> Tensor:
        """STRIP_ROWS rows of latent0, decoded to sixteen times as many of canonical inverse depth.

        All strips are of one size, the outer ones too, so that a runtime uses the same buffers for each.
        """
        above = min(max(first - 1, 0), latent0.shape[1] - STRIP_ROWS - 2)
        below = above + STRIP_ROWS + 2
        finer = self.upsampler.upsample_latent0(self.upsampler.channels_first(latent0[:, above:below]))
        features = self.decoder.fusion(1).expand(features[:, :, 4 * above : 4 * below])
        decoded: Tensor = self.head(self.decoder.fusion(0)(features, finer))
        return decoded[:, :, 16 * (first - above) : 16 * (first - above + STRIP_ROWS)]


class FovStage(nn.Module):
    """Estimates the field of view."""

    def __init__(self, model: DepthPro) -> None:
        super().__init__()
        self.fov = model.fov

    def forward(self, image: Tensor, lowres_features: Tensor) -> tuple[Tensor]:
        """Estimate fov_deg (1, 1) from (1, 3, T, T) and (1, decoder_width, 2G, 2G)."""
        return (self.fov(image, lowres_features),)


def stage_modules(model: DepthPro) -> dict[str, nn.Module]:
    """The model's stages by name, and "whole": the model itself.

    Each takes the inputs that its spec declares, in that order and by position, and returns a tuple of the
    declared outputs in theirs, also where there is only one.
    """
    return {
        "patch_encoder": PatchEncoderStage(model.encoder.patch_encoder, model.config.hooks),
        "image_encoder": ImageEncoderStage(model.encoder.image_encoder),
        "decoder": DecoderStage(model),
        "fov": FovStage(model),
        "whole": model,
    }
