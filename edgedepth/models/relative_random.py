"""Seeded random weights that behave, for networks of relative depth, text encoders and heads.

Activations keep their size through the layers, relative depth is positive with real spatial variation, and scale and
shift differ from caption to caption: so that parity has something to compare.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgedepth.models.clip_text import ClipText
from edgedepth.models.clip_text_config import ClipTextConfig
from edgedepth.models.relative import RelativeDepth, build_network
from edgedepth.models.relative_config import RelativeConfig
from edgedepth.models.rsa_head import ScaleShiftHead
from edgedepth.models.rsa_head_config import HeadConfig

__all__ = ["probe_picture", "random_head", "random_network", "random_text", "random_zoedepth"]

RELATIVE_MEAN, RELATIVE_SPREAD = 12.0, 3.0
"""In the order of Depth Anything's raw output: two digits."""

SCALE, SHIFT, LOG_SPREAD = 0.04, 0.1, 0.5
"""1/m: medians over captions; the logarithms' deviation."""


def random_network(config: RelativeConfig, seed: int) -> nn.Module:
    """A network on random weights, in eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # what isn't filled below keeps transformers' own initialisation
        network = build_network(config)
    _fill(network, seed)
    last = [module for module in network.head.modules() if isinstance(module, nn.Conv2d)][-1]  # type: ignore[union-attr]
    seen: list[Tensor] = []
    hook = last.register_forward_hook(lambda *arguments: seen.append(arguments[-1]))
    with torch.inference_mode():
        RelativeDepth(network)(probe_picture(config.preprocess.shape))
    hook.remove()
    gain = RELATIVE_SPREAD / float(seen[0].std())
    assert last.bias is not None
    with torch.no_grad():
        last.weight *= gain
        last.bias.copy_((last.bias - seen[0].mean()) * gain + RELATIVE_MEAN)
    return network


def random_zoedepth(config: RelativeConfig, seed: int) -> nn.Module:
    """A ZoeDepth on random weights, in eval mode: its metres vary over a picture."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(config)
    generator = _fill(network, seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("relative_position_bias_table"):
                parameter.uniform_(-0.5, 0.5, generator=generator)
            elif name.endswith((".lambda_1", ".lambda_2")):
                parameter.uniform_(0.05, 0.3, generator=generator)
            elif "conditional_log_binomial" in name and name.endswith(".mlp.2.weight"):
                parameter.mul_(4)  # which bin is likely differs from place to place
            elif "seed_bin_regressor" in name and name.endswith(".conv2.weight"):
                parameter.mul_(4)  # and so do bins from each other
    return network


def random_text(config: ClipTextConfig, seed: int) -> ClipText:
    """A text encoder on random weights, in eval mode."""
    with torch.device("meta"):
        model = ClipText(config)
    model.to_empty(device="cpu")
    generator = _fill(model, seed)
    with torch.no_grad():
        bound = math.sqrt(3 / config.width)
        for tensor in (model.token_embedding.weight, model.positional_embedding):
            tensor.uniform_(-0.5, 0.5, generator=generator)
        model.text_projection.uniform_(-bound, bound, generator=generator)
        for name, parameter in model.named_parameters():
            if name.endswith("in_proj_weight"):
                parameter.uniform_(-bound, bound, generator=generator)
            elif name.endswith("in_proj_bias"):
                parameter.uniform_(-0.1, 0.1, generator=generator)
    return model.eval().requires_grad_(False)


def random_head(config: HeadConfig, seed: int) -> ScaleShiftHead:
    """A head on random weights, in eval mode."""
    model = ScaleShiftHead(config)
    _fill(model, seed)
    for net, median in ((model.scale_net, SCALE), (model.shift_net, SHIFT)):
        last = net[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.weight *= LOG_SPREAD
            last.bias.fill_(math.log(median))
    return model.eval().requires_grad_(False)


def probe_picture(shape: tuple[int, int]) -> Tensor:
    """A drawn, normalised picture, (1, 3, H, W): gradients, and a chequerboard on them."""
    height, width = shape
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    checks = ((torch.arange(height) // 32)[:, None] + (torch.arange(width) // 32)[None]) % 2 - 0.5
    return torch.stack((x + checks, y - checks, x * y + 0.5 * checks))[None].contiguous()


@torch.no_grad()
def _fill(model: nn.Module, seed: int) -> torch.Generator:
    """Linear layers, convolutions and norms, and what vision transformers scale and place their tokens by."""
    generator = torch.Generator().manual_seed(seed)

    def uniform_(tensor: Tensor, low: float, high: float) -> None:
        tensor.uniform_(low, high, generator=generator)

    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            inputs = module.in_channels if isinstance(module, nn.ConvTranspose2d) else module.weight[0].numel()
            bound = math.sqrt(3 / inputs)
            uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                uniform_(module.bias, -0.1, 0.1)
        elif isinstance(module, nn.LayerNorm):
            uniform_(module.weight, 0.8, 1.2)
            uniform_(module.bias, -0.1, 0.1)
    for name, parameter in model.named_parameters():
        if name.endswith(".lambda1"):
            uniform_(parameter, 0.05, 0.3)
        elif name.endswith((".position_embeddings", ".cls_token")):
            uniform_(parameter, -0.5, 0.5)
    return generator
