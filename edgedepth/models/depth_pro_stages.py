"""Depth Pro's stages as torch modules: the tensors of `depth_pro_stages`, around the reference's own layers.

Stages share their layers with the model they are cut from: nothing is copied. Every border is float32,
whatever the weights' dtype, so a stage halved by `half_precision_` is fed and read like any other.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_decoding import DecoderStage
from edgedepth.models.depth_pro_windows import CoarseDecoderStage, WindowDecoderStage
from edgedepth.models.vit import ViT, token_map

__all__ = ["FovStage", "ImageEncoderStage", "PatchEncoderStage", "stage_modules"]


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


class FovStage(nn.Module):
    """Estimates the field of view."""

    def __init__(self, model: DepthPro) -> None:
        super().__init__()
        self.fov = model.fov

    def forward(self, image: Tensor, lowres_features: Tensor) -> tuple[Tensor]:
        """Estimate fov_deg (1, 1) from (1, 3, T, T) and (1, decoder_width, 2G, 2G)."""
        return (self.fov(image, lowres_features),)


def stage_modules(model: DepthPro, *, folded: bool = False) -> dict[str, nn.Module]:
    """The model's stages by name, those of a decoder in windows, and "whole": the model itself.

    With `folded` the decoder has folded layers of its own (models/depth_pro_decoding.py).

    Each takes the inputs that its spec declares, in that order and by position, and returns a tuple of the
    declared outputs in theirs, also where there is only one.
    """
    decoder = DecoderStage(model, folded=folded)
    return {
        "patch_encoder": PatchEncoderStage(model.encoder.patch_encoder, model.config.hooks),
        "image_encoder": ImageEncoderStage(model.encoder.image_encoder),
        "decoder": decoder,
        "decoder_coarse": CoarseDecoderStage(decoder),
        "decoder_window": WindowDecoderStage(decoder),
        "fov": FovStage(model),
        "whole": model,
    }
