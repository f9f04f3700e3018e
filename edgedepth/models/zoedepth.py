"""ZoeDepth, by transformers' class: a network that gives metres."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ZoeDepth"]


class ZoeDepth(nn.Module):
    """The eager reference: one head, or two and a classifier that chooses between them for each picture."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Depth in m, (1, 1, H, W) float32, of a normalised, mirrored (1, 3, H, W)."""
        depth: Tensor = self.network(pixel_values=image).predicted_depth
        return depth[:, None]
