"""The layers that stay fp32 when the rest of a model is halved, and the halving.

LayerNorm and softmax sum hundreds of squares or exponentials, which overflows or rounds away in fp16
(NVIDIA/TensorRT#2564); a depth head's last convolution decides the metres. In an fp32 model these layers are
the plain ones: their casts do nothing and leave no trace in an exported graph.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgedepth.core.errors import UnsupportedError

__all__ = ["FP32_LAYERS", "Fp32Conv2d", "Fp32LayerNorm", "Fp32Linear", "all_finite", "cast_weight", "half_precision_"]


class Fp32LayerNorm(nn.LayerNorm):
    """A LayerNorm that is computed in float32 and returns its input's dtype."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (nn.LayerNorm's name for it)
        """Normalise the last axis: (..., width) in any float dtype, and the same out."""
        return super().forward(input.float()).to(input.dtype)


class Fp32Conv2d(nn.Conv2d):
    """A convolution that is computed in float32 and returns float32: a model's last arithmetic."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (nn.Conv2d's name for it)
        """Convolve (N, C, H, W) in any float dtype to float32."""
        return super().forward(input.float())


class Fp32Linear(nn.Linear):
    """A linear layer that is computed in float32 and returns float32: small, and what it gives decides all metres."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (nn.Linear's name for it)
        """Transform (..., inputs) in any float dtype to float32 (..., outputs)."""
        return super().forward(input.float())


FP32_LAYERS = (Fp32LayerNorm, Fp32Conv2d, Fp32Linear)
"""Layers whose weights stay float32."""


def half_precision_(module: nn.Module, dtype: torch.dtype = torch.float16) -> nn.Module:
    """Convert a stage's weights in place to fp16 (or bfloat16), all but Fp32LayerNorm, Fp32Conv2d, Fp32Linear.

    Inputs and outputs stay float32: the stages cast at their borders. LayerScale is converted with the rest:
    it multiplies an fp16 stream element by element, sums nothing, and the published checkpoint stores it
    in fp16 already. Copy the stage first (`copy.deepcopy`): stages share their modules with the reference.

    Raises:
        UnsupportedError: a weight is beyond the dtype's range.
    """
    for module_name, child in module.named_modules():
        if type(child) is nn.LayerNorm:  # of a model that was not written here
            child.__class__ = Fp32LayerNorm
        if isinstance(child, FP32_LAYERS):
            continue
        for name, parameter in list(child.named_parameters(recurse=False)):
            converted = cast_weight(f"{module_name}.{name}", parameter, dtype)
            setattr(child, name, nn.Parameter(converted, requires_grad=parameter.requires_grad))
    return module


def cast_weight(name: str, weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A weight in another dtype, detached.

    Raises:
        UnsupportedError: a value is beyond the dtype's range, or was not finite before.
    """
    converted = weight.detach().to(dtype)
    if not all_finite(converted):
        raise UnsupportedError(
            f"weight {name} reaches {weight.abs().max():.3g}, beyond the range of {dtype}",
            remedy="keep this model at fp32 (--fp32)",
        )
    return converted


def all_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity; one pass, no copy, where isfinite().all() takes four."""
    return bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())
