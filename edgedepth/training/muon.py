"""Muon, the optimizer of hidden matrices, for many matrices of few shapes.

Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024); the updates are scaled to
AdamW's size (arXiv 2502.16982, section 2.2). torch.optim.Muon computes the same matrix by matrix and wants its learning
rate as a number: with a small model a GPU would mostly wait for its next kernel, and no step could be recorded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["StackedMuon", "orthogonal"]

_QUINTIC = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_LEAST_NORM = 1e-7
_MOMENTUM = 0.95
_RMS_OF_ADAMW = 0.2


class StackedMuon(torch.optim.Optimizer):
    """Nesterov momentum, made orthogonal; matrices of one shape together.

    Args:
        params: matrices, or groups of them.
        lr: learning rate, a number or a tensor of one number on the matrices' device.
        weight_decay: decoupled.
    """

    def __init__(self, params: Iterable[Any], lr: float | Tensor = 1e-3, weight_decay: float = 0.1) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Advance every matrix that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    by_shape[matrix.shape].append(matrix)
            for matrices in by_shape.values():
                self._advance(matrices, group["lr"], group["weight_decay"])
        return loss

    def _advance(self, matrices: list[Tensor], lr: float | Tensor, weight_decay: float) -> None:
        gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
        momenta = [self._momentum_of(matrix) for matrix in matrices]
        torch._foreach_lerp_(momenta, gradients, 1 - _MOMENTUM)
        ahead = torch._foreach_lerp(gradients, momenta, _MOMENTUM)
        updates = orthogonal(torch.stack(ahead)).to(matrices[0].dtype)
        rows, columns = matrices[0].shape
        scaled = updates * (lr * _RMS_OF_ADAMW * max(rows, columns) ** 0.5)
        torch._foreach_mul_(matrices, 1 - lr * weight_decay)
        torch._foreach_sub_(matrices, list(scaled.unbind()))

    def _momentum_of(self, matrix: Tensor) -> Tensor:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(matrix)
        momentum: Tensor = state["momentum_buffer"]
        return momentum


def orthogonal(matrices: Tensor) -> Tensor:
    """(N, rows, columns), each with singular values near 1: Newton and Schulz's iteration, in bfloat16."""
    a, b, c = _QUINTIC
    upright = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if upright else matrices).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_LEAST_NORM)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if upright else x
