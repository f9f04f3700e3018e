"""Depth Pro's decoder: convolutions that fuse five maps from coarse to fine, and the depth head.

Source: Depth Pro (arXiv 2410.02073), figure 3, after DPT (arXiv 2103.13413); github.com/apple/ml-depth-pro,
network/decoder.py, whose parameter names these modules carry.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from edgedepth.models.depth_pro_config import DepthProConfig
from edgedepth.models.precision import Fp32Conv2d

__all__ = ["FusionBlock", "MultiresConvDecoder", "ResidualBlock", "depth_head"]


class ResidualBlock(nn.Module):
    """A pre-activation residual unit: x + conv(relu(conv(relu(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, padding=1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Refine (N, width, H, W)."""
        refined: Tensor = features + self.residual(features)
        return refined


class FusionBlock(nn.Module):
    """Adds a finer map to the running one, refines the sum and, but for the finest, doubles its side.

    The coarsest block has nothing to add: its resnet1 is in the published checkpoint and never used.
    """

    def __init__(self, width: int, *, doubling: bool) -> None:
        super().__init__()
        self.resnet1 = ResidualBlock(width)
        self.resnet2 = ResidualBlock(width)
        self.deconv = nn.ConvTranspose2d(width, width, kernel_size=2, stride=2, bias=False) if doubling else None
        self.out_conv = nn.Conv2d(width, width, kernel_size=1)

    def forward(self, features: Tensor, finer: Tensor | None = None) -> Tensor:
        """Fuse (N, width, H, W), and a map of the same shape if there is one, to H and W or twice that."""
        return self.expand(self.refine(features, finer))

    def refine(self, features: Tensor, finer: Tensor | None = None) -> Tensor:
        """The first half, which looks four pixels around: (N, width, H, W)."""
        if finer is not None:
            features = features + self.resnet1(finer)
        refined: Tensor = self.resnet2(features)
        return refined

    def expand(self, features: Tensor) -> Tensor:
        """The second half, which looks at nothing but its own pixel: to H and W or twice that."""
        if self.deconv is not None:
            features = self.deconv(features)
        fused: Tensor = self.out_conv(features)
        return fused


class MultiresConvDecoder(nn.Module):
    """Projects the encoder's five maps to one width and fuses them, coarsest first."""

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.convs = nn.ModuleList(
            # latent0 leaves the encoder with the decoder's width
            [nn.Identity()]
            + [nn.Conv2d(dim, width, kernel_size=3, padding=1, bias=False) for dim in config.feature_dims]
        )
        self.fusions = nn.ModuleList(FusionBlock(width, doubling=index > 0) for index in range(len(self.convs)))

    def fusion(self, index: int) -> FusionBlock:
        """The block of a level, finest first."""
        block = self.fusions[index]
        assert isinstance(block, FusionBlock)
        return block

    def forward(self, encodings: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            encodings: finest first, as `FeatureUpsampler.upsample` returns them.

        Returns:
            features (N, decoder_width, 32G, 32G) for the depth head, and lowres_features
            (N, decoder_width, 2G, 2G) for the field of view.
        """
        projected = [conv(encoding) for conv, encoding in zip(self.convs, encodings, strict=True)]
        lowres_features = projected[-1]
        features = self.fusions[-1](lowres_features)
        for index in reversed(range(len(projected) - 1)):
            features = self.fusions[index](features, projected[index])
        return features, lowres_features


def depth_head(config: DepthProConfig) -> nn.Sequential:
    """Decoder features (N, decoder_width, S/2, S/2) to canonical inverse depth (N, 1, S, S), float32, >= 0."""
    half = config.decoder_width // 2
    return nn.Sequential(
        nn.Conv2d(config.decoder_width, half, kernel_size=3, padding=1),
        nn.ConvTranspose2d(half, half, kernel_size=2, stride=2),
        nn.Conv2d(half, config.head_width, kernel_size=3, padding=1),
        nn.ReLU(),
        Fp32Conv2d(config.head_width, 1, kernel_size=1),
        nn.ReLU(),
    )
