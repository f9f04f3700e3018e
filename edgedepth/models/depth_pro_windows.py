"""Depth Pro's decoder in two stages: the coarse levels whole, and the fine ones on a window of the picture.

For frames that barely change: nine tenths of the decoder's operations are in its two finest levels and its head, which
look a few features around (programs/decoder_windows.py decides which windows are decoded).
"""

from __future__ import annotations

from torch import Tensor, nn

from edgedepth.models.depth_pro_decoding import DecoderStage

__all__ = ["CoarseDecoderStage", "WindowDecoderStage"]


class CoarseDecoderStage(nn.Module):
    """The decoder's three coarse levels, which need nothing of latent0 and latent1.

    Args:
        decoder: whose layers are shared.
    """

    def __init__(self, decoder: DecoderStage) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, level0: Tensor, level1: Tensor, level2: Tensor, image_features: Tensor) -> tuple[Tensor, Tensor]:
        """Decode channels-last maps to coarse_features (1, 8G, 8G, decoder_width) and lowres_features."""
        coarse, lowres_features = self.decoder.decode_coarse(level0, level1, level2, image_features)
        return coarse.permute(0, 2, 3, 1).float(), lowres_features.float()


class WindowDecoderStage(nn.Module):
    """The decoder's two fine levels and its head on a window, as if it were a picture.

    Convolutions see zeros beyond the window. Where it ends at the picture's edge that is right; elsewhere a margin of
    the result is wrong, and is cut off by whoever asked for it.

    Args:
        decoder: whose layers are shared.
    """

    def __init__(self, decoder: DecoderStage) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, coarse_features: Tensor, latent0: Tensor, latent1: Tensor) -> tuple[Tensor]:
        """Decode (1, 2K, 2K, decoder_width) and twice (1, K, K, width) to canonical_inverse_depth (1, 1, 16K, 16K)."""
        coarse = self.decoder.upsampler.channels_first(coarse_features)
        return (self.decoder.decode_window(self.decoder.add_latent1(coarse, latent1), latent0),)
