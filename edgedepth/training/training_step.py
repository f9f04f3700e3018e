"""One step of training: loss, gradients, optimizers. On a GPU it is recorded once and then replayed.

A small model's step is thousands of small kernels, and starting them one by one takes longer than they run: 100 ms of
starting for 40 ms of work on an H100. A recorded step, a CUDA graph, is started at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgedepth.models.vit import Attention, Block

__all__ = ["Loss", "RecordedStep", "Step", "quicken"]

Loss = Callable[[Any], Mapping[str, Tensor]]
"""The terms of a batch's loss, to be summed."""

_CLIP_NORM = 1.0

_UNRECORDED = 3
"""First steps: in them libraries set themselves up and optimizers make their state."""


class Step:
    """Learn from a batch.

    Args:
        loss: its terms.
        optimizers: whose groups have a "share" of the learning rate.
        device: where.
    """

    def __init__(self, loss: Loss, optimizers: Sequence[torch.optim.Optimizer], device: torch.device) -> None:
        self._loss, self._optimizers, self._device = loss, optimizers, device
        self._groups = [group for optimizer in optimizers for group in optimizer.param_groups]

    def __call__(self, batch: Any, learning_rate: float) -> Mapping[str, Tensor]:
        """The loss's terms before the step."""
        for group in self._groups:
            rate = learning_rate * group["share"]
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        return self._learn(batch.to(self._device))

    def _learn(self, batch: Any) -> Mapping[str, Tensor]:
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        # Without autocast's cache of weights: in a recorded step it would outlive the weights that it was made of.
        with torch.autocast(self._device.type, torch.bfloat16, cache_enabled=False):
            terms = self._loss(batch)
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        torch.nn.utils.clip_grad_norm_([p for group in self._groups for p in group["params"]], _CLIP_NORM)
        for optimizer in self._optimizers:
            optimizer.step()
        return {name: term.detach() for name, term in terms.items()}


class RecordedStep(Step):
    """The same on a GPU, recorded after its first steps; for batches of one size, which know `copy_`."""

    def __init__(self, loss: Loss, optimizers: Sequence[torch.optim.Optimizer], device: torch.device) -> None:
        super().__init__(loss, optimizers, device)
        self._done = 0
        self._aside: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Any = None
        self._terms: Mapping[str, Tensor] = {}

    def _learn(self, batch: Any) -> Mapping[str, Tensor]:
        self._done += 1
        if self._done <= _UNRECORDED:
            self._aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._aside):
                terms = super()._learn(batch)
            torch.cuda.current_stream().wait_stream(self._aside)
            return terms
        if self._graph is None:
            self._batch = batch
            self._graph = self._recorded()
        else:
            self._batch.copy_(batch)
        self._graph.replay()
        return self._terms

    def _recorded(self) -> torch.cuda.CUDAGraph:
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Of this thread alone: another one may be copying scenes meanwhile.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._terms = super()._learn(self._batch)
        return graph


def quicken(module: nn.Module) -> None:
    """Compile what is trained on a GPU: transformer blocks, with the fused attention, decoder and head."""
    torch.backends.cudnn.benchmark = True
    for part in module.modules():
        if isinstance(part, Attention):
            part.fused = True
        elif isinstance(part, Block):
            part.compile(dynamic=False)
    for name in ("decoder", "head"):
        if hasattr(module, name):
            getattr(module, name).compile(dynamic=False)
