"""Layers that follow each other without a nonlinearity, as one. Pure functions of weights.

Computed in float64 and rounded once: what comes out differs from the layers one by one by float32's rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BorderedConv", "deconv_after_projection", "deconv_then_conv", "projection_then_conv"]


@torch.no_grad()
def deconv_then_conv(deconv: nn.ConvTranspose2d, conv: nn.Conv2d) -> nn.ConvTranspose2d:
    """A transposed convolution that doubles the side, and a convolution behind it: one transposed convolution.

    With a 3 x 3 kernel behind it every pixel takes 4 products a channel where it took 1 + 9. At the border too both
    see zeros beyond it.

    Args:
        deconv: kernel 2, stride 2, (in, between) channels. Its bias is left out: see BorderedConv.
        conv: kernel 1 or 3 with padding 0 or 1, (between, out) channels.

    Returns:
        Kernel 2 or 4, stride 2, (in, out) channels, with the convolution's bias if `deconv` had none, else without.
    """
    reach = conv.kernel_size[0] - 1
    # Transposed kernels are convolved by correlating with the other one: F.conv2d over `deconv`'s own layout.
    weight = F.conv2d(deconv.weight.double(), conv.weight.double(), padding=reach)
    bias = conv.bias if deconv.bias is None else None
    return _deconv(weight, bias, padding=reach // 2)


@torch.no_grad()
def deconv_after_projection(projection: nn.Conv2d, deconv: nn.ConvTranspose2d) -> nn.ConvTranspose2d:
    """A 1 x 1 convolution without bias, and a transposed convolution behind it, as one.

    Args:
        projection: (in, between) channels.
        deconv: (between, out) channels.
    """
    weight = torch.einsum("mc,mokl->cokl", projection.weight[:, :, 0, 0].double(), deconv.weight.double())
    return _deconv(weight, deconv.bias, padding=int(deconv.padding[0]))


@torch.no_grad()
def projection_then_conv(projection: nn.Conv2d, conv: nn.Conv2d) -> nn.Conv2d:
    """A 1 x 1 convolution and a 3 x 3 one behind it, as one, without bias: see BorderedConv.

    Args:
        projection: (in, between) channels.
        conv: (between, out) channels.
    """
    weight = torch.einsum("omkl,mc->ockl", conv.weight.double(), projection.weight[:, :, 0, 0].double())
    folded = nn.Conv2d(weight.shape[1], weight.shape[0], conv.kernel_size[0], padding=conv.padding[0], bias=False)
    folded.weight.copy_(weight)
    return folded.requires_grad_(False)


class BorderedConv(nn.Module):
    """A folded pair of layers whose inner bias doesn't reach beyond the picture.

    The second layer pads what the first one gives with zeros, and not with its bias: at the border the folded bias is
    another. It is what the pair makes of a picture of zeros.

    Args:
        layer: the pair as one, without bias.
        pair: the layers one by one.
        shape: channels and width of the pair's input.
    """

    def __init__(
        self, layer: nn.Conv2d | nn.ConvTranspose2d, pair: Sequence[nn.Module], shape: tuple[int, int]
    ) -> None:
        super().__init__()
        self.layer = layer
        channels, width = shape
        with torch.no_grad():
            response: Tensor = torch.zeros(1, channels, 4, width, dtype=torch.float64)
            for part in pair:
                response = _in_float64(part, response)
        top, inner, bottom = response[:, :, :1], response[:, :, 2:3], response[:, :, -1:]
        # A parameter, to be halved with the weights.
        self.bias = nn.Parameter(torch.cat((top, inner, bottom), dim=2).float(), requires_grad=False)

    def forward(self, features: Tensor, *, at_top: bool, at_bottom: bool) -> Tensor:
        """Run on rows of a picture of full width, or on a window as if it were a picture.

        Args:
            features: (N, in, H, W).
            at_top: the first row is the picture's.
            at_bottom: the last row is the picture's.
        """
        bare = self.layer(features)
        bias = self._bias(bare.shape[3])
        rows = slice(int(at_top), bare.shape[2] - int(at_bottom))
        parts = [bare[:, :, :1] + bias[:, :, :1]] if at_top else []
        parts.append(bare[:, :, rows] + bias[:, :, 1:2])
        if at_bottom:
            parts.append(bare[:, :, -1:] + bias[:, :, 2:])
        return torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]

    def _bias(self, width: int) -> Tensor:
        """For a picture of that width: between its first and its last columns all are alike."""
        if width == self.bias.shape[3]:
            return self.bias
        left = width // 2
        return torch.cat((self.bias[..., :left], self.bias[..., left - width :]), dim=3)


def _in_float64(layer: nn.Module, features: Tensor) -> Tensor:
    parameters = {name: tensor.double() for name, tensor in layer.named_parameters()}
    mapped: Tensor = torch.func.functional_call(layer, parameters, (features,))
    return mapped


def _deconv(weight: Tensor, bias: Tensor | None, *, padding: int) -> nn.ConvTranspose2d:
    deconv = nn.ConvTranspose2d(
        weight.shape[0], weight.shape[1], weight.shape[2], stride=2, padding=padding, bias=bias is not None
    )
    deconv.weight.copy_(weight)
    if bias is not None and deconv.bias is not None:
        deconv.bias.copy_(bias)
    return deconv.requires_grad_(False)
