"""Depth Pro's field-of-view network.

Source: Depth Pro (arXiv 2410.02073), section 3.3; github.com/apple/ml-depth-pro, network/fov.py, whose
parameter names this module carries.
"""

from __future__ import annotations

from torch import Tensor, nn

from edgedepth.models.depth_pro_config import DepthProConfig
from edgedepth.models.depth_pro_encoder import depth_pro_vit
from edgedepth.models.precision import Fp32Conv2d
from edgedepth.models.vit import token_map

__all__ = ["FovNetwork"]


class FovNetwork(nn.Module):
    """A third vision transformer, added to the decoder's coarsest features, and a small head."""

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.grid = config.grid
        self.encoder = nn.ModuleList([depth_pro_vit(config), nn.Linear(config.width, width // 2)])
        self.downsample = nn.Sequential(_halving(width, width // 2), nn.ReLU())
        self.head = nn.Sequential(
            _halving(width // 2, width // 4),
            nn.ReLU(),
            _halving(width // 4, width // 8),
            nn.ReLU(),
            # the kernel covers what two halvings left of the grid: 6 of 24
            Fp32Conv2d(width // 8, 1, kernel_size=config.grid // 4),
        )

    def forward(self, image: Tensor, lowres_features: Tensor) -> Tensor:
        """Estimate the horizontal field of view.

        Args:
            image: (N, 3, tile, tile) in -1..1: the quarter-scale level of the pyramid.
            lowres_features: (N, decoder_width, 2G, 2G), from the decoder.

        Returns:
            fov_deg (N, 1), float32.
        """
        vit, projection = self.encoder
        encoded: Tensor = projection(token_map(vit(image)[-1], self.grid)).permute(0, 3, 1, 2)
        features = encoded + self.downsample(lowres_features.to(encoded.dtype))
        fov_deg: Tensor = self.head(features)
        return fov_deg.flatten(1)


def _halving(channels: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel_size=3, stride=2, padding=1)
