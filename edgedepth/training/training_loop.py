"""One phase of a training: steps, schedule, averaged weights, checkpoints; the same for all phases."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from edgedepth.core.errors import TrainingError
from edgedepth.core.progress import Progress, silent
from edgedepth.training.muon import StackedMuon
from edgedepth.training.run_folder import RunFolder
from edgedepth.training.training_step import RecordedStep, Step, quicken

__all__ = ["ON_GPU", "Pace", "PhaseSettings", "Task", "TrainedGroup", "parameter_groups", "run_phase"]

_AVERAGING = 0.998
_BETAS = (0.9, 0.98)
_MUON_SHARE = 3.0
"""Muon's learning rate over AdamW's, with updates scaled to AdamW's size: 2 and 5 learned alike in 200 steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseSettings:
    """How long and how fast a phase learns.

    Args:
        name: of the phase and of the weights that it leaves.
        steps: optimizer steps.
        batch: pictures a step.
        peak_lr: learning rate after the warm-up; it then falls as a cosine to a hundredth.
        weight_decay: AdamW's.
        seed: of its batches.
    """

    name: str
    steps: int
    batch: int
    peak_lr: float
    weight_decay: float = 0.02
    seed: int = 0

    def learning_rate(self, step: int) -> float:
        """At a step, counted from 0: up in the first twentieth, then down."""
        warmup = max(1, self.steps // 20)
        if step < warmup:
            return self.peak_lr * (step + 1) / warmup
        done = (step - warmup) / max(1, self.steps - warmup)
        return self.peak_lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainedGroup:
    """Parameters that learn alike.

    Args:
        parameters: of the task's module.
        share: of the phase's learning rate.
        matrices: hidden matrices, which Muon trains (Jordan et al., 2024); AdamW trains everything else.
    """

    parameters: list[nn.Parameter]
    share: float = 1.0
    matrices: bool = False


def parameter_groups(parameters: Iterable[nn.Parameter], share: float = 1.0) -> list[TrainedGroup]:
    """Parameters at a share of the rate: matrices apart from biases, norms, embeddings and convolutions."""
    held = list(parameters)
    groups = [
        TrainedGroup(parameters=[p for p in held if (p.ndim == 2) is matrices], share=share, matrices=matrices)
        for matrices in (True, False)
    ]
    return [group for group in groups if group.parameters]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How steps are run, which changes no weight but by rounding.

    Args:
        log_every: steps between logged losses.
        checkpoint_every: steps between checkpoints and validations.
        drawers: threads that draw batches ahead; 0: each is drawn when it is wanted, as scenes on a GPU are.
        recorded: whether the step is compiled and recorded, on a GPU, for batches that know `copy_`.
    """

    log_every: int = 20
    checkpoint_every: int = 200
    drawers: int = 1
    recorded: bool = False


ON_GPU = Pace(log_every=100, checkpoint_every=1000, drawers=0, recorded=True)
"""For scenes that are cut there: a step takes hundredths of a second."""


class Task(Protocol):
    """What a phase trains."""

    @property
    def module(self) -> nn.Module:
        """Holds all weights that the phase leaves, trained or not."""
        ...

    def trained(self) -> list[TrainedGroup]:
        """The trained parameters."""
        ...

    def draw(self, random: np.random.Generator, count: int) -> Any:
        """A batch; called from other threads, or on a GPU from the training one."""
        ...

    def loss(self, batch: Any) -> Mapping[str, Tensor]:
        """The terms of a batch's loss, to be summed."""
        ...

    def validate(self) -> Mapping[str, float]:
        """Figures on scenes that are not trained on."""
        ...


def run_phase(
    task: Task,
    settings: PhaseSettings,
    folder: RunFolder,
    *,
    device: torch.device,
    pace: Pace | None = None,
    progress: Progress = silent,
    stop_after: int | None = None,
) -> bool:
    """Train one phase, from its checkpoint where there is one, and keep its weights.

    Args:
        task: what is trained.
        settings: how long and how fast.
        folder: of the run.
        device: where.
        pace: how its steps are run; None: as a processor takes them.
        progress: is told each logged step.
        stop_after: leave after so many steps of this call, with a checkpoint; None runs to the end.

    Returns:
        Whether the phase is finished.

    Raises:
        TrainingError: a loss that is not finite.
        OutputError: a full disk.
    """
    pace = pace or Pace()
    task.module.to(device).train()
    if pace.recorded:
        quicken(task.module)
    optimizers = _optimizers(task, settings, device)
    average = {name: tensor.detach().clone() for name, tensor in task.module.state_dict().items()}
    start = _resume(task.module, optimizers, average, folder.load_checkpoint(settings.name))
    learn = (RecordedStep if pace.recorded else Step)(task.loss, optimizers, device)
    stop = settings.steps if stop_after is None else min(settings.steps, start + stop_after)

    def checkpoint(step: int) -> None:
        folder.log(settings.name, step, _validated(task, average))
        state = {
            "module": task.module.state_dict(),
            "average": average,
            "optimizers": [o.state_dict() for o in optimizers],
        }
        folder.save_checkpoint(settings.name, step, state)

    for step, batch in _batches(task, settings, range(start, stop), pace.drawers):
        terms = learn(batch, settings.learning_rate(step))
        _average(average, task.module, min(_AVERAGING, (1 + step) / (10 + step)))
        if (step + 1) % pace.log_every == 0 or step + 1 == stop:
            values = {name: float(term) for name, term in terms.items()}
            _refuse_nonsense(values, settings.name, step)
            folder.log(settings.name, step + 1, values | {"loss": sum(values.values())})
            progress(f"{settings.name}: loss {sum(values.values()):.4f}", step + 1, settings.steps)
        if (step + 1) % pace.checkpoint_every == 0 or step + 1 == stop:
            checkpoint(step + 1)
    if stop < settings.steps:
        return False
    folder.save_weights(settings.name, average)
    return True


def _optimizers(task: Task, settings: PhaseSettings, device: torch.device) -> list[torch.optim.Optimizer]:
    groups, decay = task.trained(), settings.weight_decay
    on_gpu = device.type == "cuda"

    def rated(matrices: bool, share: float) -> list[dict[str, Any]]:
        # A GPU's rates are tensors: a recorded step reads them when it runs.
        return [
            {"params": g.parameters, "share": g.share * share, "lr": torch.ones((), device=device) if on_gpu else 1.0}
            for g in groups
            if g.matrices is matrices
        ]

    optimizers: list[torch.optim.Optimizer] = []
    if others := rated(matrices=False, share=1.0):
        optimizers.append(torch.optim.AdamW(others, betas=_BETAS, weight_decay=decay, fused=True, capturable=on_gpu))
    if matrices := rated(matrices=True, share=_MUON_SHARE):
        optimizers.append(StackedMuon(matrices, weight_decay=decay))
    return optimizers


def _resume(
    module: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    average: dict[str, Tensor],
    state: dict[str, Any] | None,
) -> int:
    if state is None:
        return 0
    module.load_state_dict(state["module"])
    for optimizer, held in zip(optimizers, state["optimizers"], strict=True):
        # Only what was learnt: the groups' settings are this run's and this device's.
        settings = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": held["state"], "param_groups": settings})
    for name, tensor in state["average"].items():
        average[name].copy_(tensor)
    return int(state["step"])


def _batches(task: Task, settings: PhaseSettings, steps: range, drawers: int) -> Iterator[tuple[int, Any]]:
    """Each step's batch, the next ones being drawn while one is trained on."""

    def drawn(step: int) -> Any:
        return task.draw(np.random.default_rng((settings.seed, step)), settings.batch)

    if not drawers:
        yield from ((step, drawn(step)) for step in steps)
        return
    with ThreadPoolExecutor(drawers) as pool:
        waiting = deque(pool.submit(drawn, step) for step in steps[:drawers])
        for step in steps:
            batch = waiting.popleft().result()
            if step + drawers < steps.stop:
                waiting.append(pool.submit(drawn, step + drawers))
            yield step, batch


@torch.no_grad()
def _average(average: dict[str, Tensor], module: nn.Module, decay: float) -> None:
    state = module.state_dict()
    floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in floating], [state[n] for n in floating], 1 - decay)


@torch.no_grad()
def _validated(task: Task, average: Mapping[str, Tensor]) -> Mapping[str, float]:
    """Validate the averaged weights, then put the trained ones back."""
    trained = {name: tensor.clone() for name, tensor in task.module.state_dict().items()}
    task.module.load_state_dict(average)
    task.module.eval()
    with torch.compiler.set_stance("force_eager"):
        figures = task.validate()
    task.module.load_state_dict(trained)
    task.module.train()
    return figures


def _refuse_nonsense(values: Mapping[str, float], phase: str, step: int) -> None:
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise TrainingError(
            f"{phase}, step {step}: {', '.join(bad)} is not finite",
            remedy="give the same command again: it goes on from the last checkpoint. If it comes back, the recipe's "
            "peak_lr is too high for this machine's arithmetic",
        )
