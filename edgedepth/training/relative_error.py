"""The one loss that the paper does not have."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["log_loss"]

_FLOOR = 0.005
"""1/m: canonical inverse depth below this (100 to 200 m away) is far, whatever it is exactly."""


def log_loss(predicted: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """Mean absolute difference of log(canonical inverse depth + 0.005 / m).

    An error of 10 % at 10 m weighs a tenth of one at 1 m in MAE on inverse depth. This term weighs relative errors
    alike at all distances, up to the floor.

    Args:
        predicted: canonical inverse depth >= 0, (N, 1, H, W).
        true: likewise.
        valid: (N, 1, H, W) bool, with a valid pixel.
    """
    with torch.autocast(predicted.device.type, enabled=False):
        difference = torch.log(predicted.float().clamp(min=0) + _FLOOR) - torch.log(true.float() + _FLOOR)
        # Not difference[valid]: how much that holds is only known on the processor, for which a GPU would wait.
        return difference.abs().masked_fill(~valid, 0.0).sum() / valid.sum()
