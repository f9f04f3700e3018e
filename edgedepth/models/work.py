"""What a frame costs, counted and not timed."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DepthProConfig
from edgedepth.models.registry import MODELS

__all__ = ["flops_a_frame", "flops_of"]


def flops_a_frame(config: DepthProConfig) -> int:
    """Operations of the reference's products and convolutions for one frame, two for a multiplication and a sum.

    Nothing is computed and no weights are needed. An export that needs fewer (a folded decoder) is measured by the same
    number: it is what the frame is worth.
    """
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        DepthPro(config)(torch.empty(1, 3, config.input_size, config.input_size))
    return int(counter.get_total_flops())


def flops_of(model: str) -> int | None:
    """Of a model by its name; None for those that nobody counts yet: relative depth and RSA."""
    entry = MODELS.get(model)
    return flops_a_frame(entry.config) if entry and isinstance(entry.config, DepthProConfig) else None
