"""Seeded random weights that behave: what untrained models run on, and what parity is measured with.

The usual initialisations make poor test weights: LayerScale of 1e-5 turns blocks into no-ops, and a depth head
whose output is zero or clamped agrees with everything. Here activations keep their size through every layer,
canonical inverse depth spreads around 1 1/m with real spatial variation, and the field of view is near 55°.
Draws are uniform: their bits don't depend on the vector instructions of the machine.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DepthProConfig
from edgedepth.models.vit import LayerScale, ViT

__all__ = ["random_depth_pro", "randomise_"]

INVERSE_DEPTH_MEAN, INVERSE_DEPTH_SPREAD = 1.0, 0.45
"""1/m: bias of the depth head's last convolution, and the norm of its 32 weights."""

FOV_MEAN_DEG, FOV_SPREAD_DEG = 55.0, 4.0

GAINS = (
    # (layer, variance of its output over that of its input)
    ("*.mlp.fc2", 2.0),  # GELU before it
    ("*.residual.1", 2.0),  # ReLU before it (He et al., arXiv 1502.01852)
    ("*.residual.3", 0.5),  # the same, and a quarter, so that sums with the shortcut stay near it
    ("*.out_conv", 0.4),  # takes back what two residual units and a skip have added
    ("fov.head.*", 2.0),
)


def random_depth_pro(config: DepthProConfig, seed: int) -> DepthPro:
    """A Depth Pro on random weights, in eval mode and without gradients."""
    with torch.device("meta"):
        model = DepthPro(config)
    model.to_empty(device="cpu")
    randomise_(model, seed)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def randomise_(model: DepthPro, seed: int) -> None:
    """Fill every weight in place, from one generator, in the order of the modules: 952 M take seconds."""
    generator = torch.Generator().manual_seed(seed)

    def uniform_(tensor: Tensor, low: float, high: float) -> None:
        tensor.uniform_(low, high, generator=generator)

    for name, module in model.named_modules():
        if isinstance(module, ViT):
            uniform_(module.cls_token, -0.5, 0.5)
            uniform_(module.pos_embed, -0.5, 0.5)
        elif isinstance(module, LayerScale):
            uniform_(module.gamma, 0.05, 0.3)
        elif isinstance(module, nn.LayerNorm):
            uniform_(module.weight, 0.8, 1.2)
            uniform_(module.bias, -0.1, 0.1)
        elif isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            gain = next((gain for pattern, gain in GAINS if fnmatchcase(name, pattern)), 1.0)
            bound = math.sqrt(3 * gain / _fan_in(module))
            uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                uniform_(module.bias, -0.1, 0.1)

    _centre_(model.head[4], INVERSE_DEPTH_MEAN, INVERSE_DEPTH_SPREAD)
    _centre_(model.fov.head[4], FOV_MEAN_DEG, FOV_SPREAD_DEG)


def _fan_in(layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d) -> int:
    """Inputs that meet in one output; of a 2x2 transposed convolution of stride 2, one pixel's channels."""
    if isinstance(layer, nn.ConvTranspose2d):
        return layer.in_channels
    return layer.weight[0].numel()


def _centre_(layer: nn.Module, mean: float, spread: float) -> None:
    """Make the last layer's output scatter around `mean`: weights of zero sum (inputs are >= 0) and norm `spread`."""
    assert isinstance(layer, nn.Conv2d)
    assert layer.bias is not None
    layer.weight -= layer.weight.mean()
    layer.weight *= spread / layer.weight.norm()
    layer.bias.fill_(mean)
