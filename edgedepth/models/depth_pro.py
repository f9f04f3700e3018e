"""Depth Pro, the reference: eager, fp32, the whole published computation with all tiles in one batch.

Source: Bochkovskii et al., "Depth Pro: Sharp Monocular Metric Depth in Less Than a Second" (arXiv 2410.02073)
and its code at github.com/apple/ml-depth-pro. Parameters carry the names of the published depth_pro.pt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedepth.core.errors import FrameError
from edgedepth.models.depth_pro_config import DepthProConfig
from edgedepth.models.depth_pro_decoder import MultiresConvDecoder, depth_head
from edgedepth.models.depth_pro_encoder import DepthProEncoder, image_pyramid
from edgedepth.models.depth_pro_fov import FovNetwork

__all__ = ["DepthPro", "MetricDepth"]

INVERSE_DEPTH_RANGE = (1e-4, 1e4)
"""1/m; what lies outside is clamped, as published: depths from 0.1 mm to 10 km."""


@dataclass(frozen=True, slots=True)
class MetricDepth:
    """What `DepthPro.infer` returns.

    Args:
        depth: (N, 1, H, W) in metres.
        focal_px: (N,) in pixels of the given image: the caller's, or from fov_deg.
        fov_deg: (N,) horizontal, as the network estimates it, also where the caller gave a focal length.
    """

    depth: Tensor
    focal_px: Tensor
    fov_deg: Tensor


class DepthPro(nn.Module):
    """Depth Pro of any size."""

    def __init__(self, config: DepthProConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = DepthProEncoder(config)
        self.decoder = MultiresConvDecoder(config)
        self.head = depth_head(config)
        self.fov = FovNetwork(config)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate canonical inverse depth and field of view.

        Args:
            image: (N, 3, S, S) float32 RGB in -1..1, S = config.input_size.

        Returns:
            canonical_inverse_depth (N, 1, S, S) in 1/m, >= 0, and fov_deg (N, 1) in degrees; both float32.

        Raises:
            FrameError: another shape.
        """
        side = self.config.input_size
        if image.ndim != 4 or tuple(image.shape[1:]) != (3, side, side):
            raise FrameError(
                f"DepthPro.forward takes (N, 3, {side}, {side}), got {tuple(image.shape)}",
                remedy="call infer(), which takes any size and resizes",
            )
        pyramid = image_pyramid(image)
        features, lowres_features = self.decoder(self.encoder(pyramid))
        return self.head(features), self.fov(pyramid[-1], lowres_features)

    @torch.no_grad()
    def infer(self, image: Tensor, focal_px: float | Tensor | None = None) -> MetricDepth:
        """Estimate metric depth, as published: resize, run, scale by W / focal_px, resize back, invert.

        Args:
            image: (N, 3, H, W) or (3, H, W) float32 RGB in -1..1, of any size.
            focal_px: in pixels of the image, a number or (N,); None takes the network's field of view.

        Raises:
            FrameError: not such an image.
        """
        if image.ndim == 3:
            image = image[None]
        if image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape:
            raise FrameError(
                f"infer takes (N, 3, H, W) or (3, H, W), got {tuple(image.shape)}",
                remedy="pass RGB, channels first, in -1..1",
            )
        height, width = image.shape[-2:]
        canonical, fov_deg = self(_resized(image, self.config.input_size, self.config.input_size))
        fov_deg = fov_deg.flatten()
        if focal_px is None:
            focal_px = 0.5 * width / torch.tan(0.5 * torch.deg2rad(fov_deg))
        focal = torch.as_tensor(focal_px, dtype=canonical.dtype, device=canonical.device).expand(len(image))
        inverse_depth = _resized(canonical * (width / focal).reshape(-1, 1, 1, 1), height, width)
        return MetricDepth(1.0 / inverse_depth.clamp(*INVERSE_DEPTH_RANGE), focal, fov_deg)


def _resized(image: Tensor, height: int, width: int) -> Tensor:
    if tuple(image.shape[-2:]) == (height, width):
        return image
    return F.interpolate(image, size=(height, width), mode="bilinear", align_corners=False)
