"""Fits RSA's head: a caption's features to the scale and shift of a frozen network's relative depth.

Source: RSA (arXiv 2410.02924), section 3, and its published code: L1 (in the code Huber) on metric depth over valid
pixels, one of a picture's captions drawn at random a step, Adam from 3e-5 to 1e-5 with polynomial decay. Text encoder
and network are frozen, so their outputs are computed once: a picture is a few thousand pairs of relative and true
depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgedepth.core.errors import TrainingError
from edgedepth.core.progress import Progress, silent
from edgedepth.models.rsa_head import ScaleShiftHead
from edgedepth.models.rsa_head_config import HeadConfig
from edgedepth.training.run_folder import RunFolder

__all__ = ["FitPairs", "FitSettings", "HeadFit", "fit_head", "kept_back", "loss_of"]

Loss = Literal["l1", "huber", "log"]

_CLIP_NORM = 1.0
_POWER = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSettings:
    """How a head is fitted; the defaults are the published ones.

    Args:
        epochs: at most.
        batch: pictures a step.
        first_lr: Adam's learning rate at the start.
        last_lr: and at the end, by polynomial decay of power 0.9.
        loss: "l1" on metric depth (the paper), "huber" with δ = 1 m (the code), "log" on its logarithm (ours, for
            scenes whose depths are orders of magnitude apart).
        patience: epochs without a better validation after which fitting stops.
        held_back: share of the pictures that validation is made on.
        min_depth_m: depths are clamped to, below.
        max_depth_m: and above; truth beyond is not counted.
        seed: of the initial weights and of all that is drawn.

    Raises:
        TrainingError: a value that can't be one.
    """

    epochs: int = 50
    batch: int = 16
    first_lr: float = 3e-5
    last_lr: float = 1e-5
    loss: Loss = "l1"
    patience: int = 10
    held_back: float = 0.1
    min_depth_m: float = 1e-3
    max_depth_m: float = 80.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse impossible settings."""
        allowed = {
            "epochs": self.epochs >= 1,
            "batch": self.batch >= 1,
            "first_lr": 0 < self.first_lr < 1,
            "last_lr": 0 < self.last_lr <= self.first_lr,
            "loss": self.loss in ("l1", "huber", "log"),
            "patience": self.patience >= 1,
            "held_back": 0 < self.held_back < 1,
            "max_depth_m": 0 < self.min_depth_m < self.max_depth_m < float("inf"),
        }
        if wrong := [name for name, fine in allowed.items() if not fine]:
            raise TrainingError(
                f"{wrong[0]} is {getattr(self, wrong[0])!r}, which no fit can have", remedy="edgedepth rsa fit --help"
            )

    def learning_rate(self, done: float) -> float:
        """At a share of all steps."""
        fallen: float = (1 - done) ** _POWER
        return self.last_lr + (self.first_lr - self.last_lr) * fallen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitPairs:
    """What a head is fitted to, of N pictures.

    Args:
        features: (M, F) float32, of all captions of all pictures.
        owners: (M,) which picture each belongs to, ascending; each picture has one at least.
        relative: (N, K) float32, the network's raw output at K valid pixels.
        depth_m: (N, K) float32, the true depth there.

    Raises:
        TrainingError: values that aren't finite, or depths that aren't positive.
    """

    features: Tensor
    owners: Tensor
    relative: Tensor
    depth_m: Tensor

    def __post_init__(self) -> None:
        """Refuse what would make a fit nonsense."""
        fine = torch.isfinite(self.relative).all() and torch.isfinite(self.features).all()
        if not (fine and torch.isfinite(self.depth_m).all() and (self.depth_m > 0).all()):
            raise TrainingError(
                "relative depth, features or true depth hold NaN, infinite or negative values",
                remedy="check the data set: edgedepth eval DATASET; and the network: edgedepth verify BUNDLE",
            )

    @classmethod
    def of_arrays(
        cls,
        *,
        features: npt.NDArray[np.floating],
        owners: npt.NDArray[np.integer],
        relative: npt.NDArray[np.floating],
        depth_m: npt.NDArray[np.floating],
    ) -> FitPairs:
        """The same from numpy."""
        return cls(
            features=torch.from_numpy(features),
            owners=torch.from_numpy(owners),
            relative=torch.from_numpy(relative),
            depth_m=torch.from_numpy(depth_m),
        )

    def __len__(self) -> int:
        return len(self.relative)

    def of(self, pictures: Tensor) -> FitPairs:
        """Those pictures, in that order."""
        starts, counts = self._spans()
        rows = [torch.arange(int(starts[i]), int(starts[i] + counts[i])) for i in pictures]
        owners = torch.repeat_interleave(torch.arange(len(pictures)), counts[pictures])
        return FitPairs(
            features=self.features[torch.cat(rows)],
            owners=owners,
            relative=self.relative[pictures],
            depth_m=self.depth_m[pictures],
        )

    def drawn(self, pictures: Tensor, random: np.random.Generator) -> Tensor:
        """Features of one caption a picture, at random: (B, F)."""
        starts, counts = self._spans()
        share = torch.from_numpy(random.random(len(pictures)))
        return self.features[starts[pictures] + (share * counts[pictures]).long()]

    def first(self) -> Tensor:
        """Features of each picture's first caption: (N, F)."""
        return self.features[self._spans()[0]]

    def _spans(self) -> tuple[Tensor, Tensor]:
        counts = torch.bincount(self.owners, minlength=len(self.relative))
        return torch.cumsum(counts, 0) - counts, counts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadFit:
    """The outcome.

    Args:
        head: with the weights of the best epoch, in eval mode.
        loss: of validation there.
        epoch: counted from 1.
        epochs: that were run.
    """

    head: ScaleShiftHead
    loss: float
    epoch: int
    epochs: int


def kept_back(count: int, settings: FitSettings) -> tuple[Tensor, Tensor]:
    """Indices of the pictures to fit to, and of those to validate on.

    Raises:
        TrainingError: fewer than two pictures.
    """
    if count < 2:
        raise TrainingError(
            f"a head is fitted to two pictures at least, one of them for validation; there is {count}",
            remedy="name a data set with more pictures",
        )
    order = torch.from_numpy(np.random.default_rng(settings.seed).permutation(count))
    held = max(1, round(settings.held_back * count))
    return order[held:], order[:held]


def fit_head(
    pairs: FitPairs,
    config: HeadConfig,
    settings: FitSettings,
    folder: RunFolder | None = None,
    *,
    phase: str = "head",
    start: Mapping[str, Tensor] | None = None,
    progress: Progress = silent,
) -> HeadFit:
    """Fit a head; with a folder, a run that was stopped goes on after its last epoch.

    Args:
        pairs: all pictures; a share of them is kept back for validation.
        config: widths of the head.
        settings: how.
        folder: of the run.
        phase: the name of its curves and checkpoint.
        start: weights to begin from.
        progress: is told each epoch.

    Raises:
        TrainingError: features of another width, too few pictures, or a loss that is not finite.
        OutputError: a full disk.
    """
    if pairs.features.shape[1] != config.text:
        raise TrainingError(
            f"the head takes {config.text} features and is given {pairs.features.shape[1]}",
            remedy="fit a head of the text encoder's width",
        )
    train, held = (pairs.of(part) for part in kept_back(len(pairs), settings))
    state = _State(config, settings, start)
    if folder is not None and (kept := folder.load_checkpoint(phase)) is not None:
        state.restore(kept)
    while state.epoch < settings.epochs and state.epoch - state.best_epoch < settings.patience:
        loss = state.run_epoch(train, settings)
        found = float(_loss(state.head, held.first(), held, settings).detach())
        if not np.isfinite(found):
            raise TrainingError(
                f"{phase}, epoch {state.epoch}: the loss is not finite", remedy="lower the learning rate: --lr 1e-5"
            )
        state.note(found)
        if folder is not None:
            folder.log(phase, state.epoch, {"loss": loss, "val_loss": found})
            folder.save_checkpoint(phase, state.epoch, state.kept())
        progress(f"{phase}: epoch {state.epoch}, validation {found:.4f}", state.epoch, settings.epochs)
    state.head.load_state_dict(state.best)
    head = state.head.eval().requires_grad_(False)
    return HeadFit(head=head, loss=state.best_loss, epoch=state.best_epoch, epochs=state.epoch)


class _State:
    """Head, optimizer and the best weights so far."""

    def __init__(self, config: HeadConfig, settings: FitSettings, start: Mapping[str, Tensor] | None) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.head = ScaleShiftHead(config)
        if start is not None:
            self.head.load_state_dict(dict(start))
        self.optimizer = torch.optim.Adam(self.head.parameters(), lr=settings.first_lr)
        self.epoch, self.best_epoch, self.best_loss = 0, 0, float("inf")
        self.best = self._copy()

    def run_epoch(self, train: FitPairs, settings: FitSettings) -> float:
        """One pass over all pictures; the mean loss."""
        random = np.random.default_rng((settings.seed, self.epoch))
        order = torch.from_numpy(random.permutation(len(train)))
        losses = []
        batches = torch.split(order, settings.batch)
        for index, batch in enumerate(batches):
            for group in self.optimizer.param_groups:
                group["lr"] = settings.learning_rate((self.epoch + index / len(batches)) / settings.epochs)
            self.optimizer.zero_grad(set_to_none=True)
            loss = _loss(self.head, train.drawn(batch, random), train, settings, batch)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(self.head.parameters(), _CLIP_NORM)
            self.optimizer.step()
            losses.append(float(loss.detach()))
        self.epoch += 1
        return sum(losses) / len(losses)

    def note(self, loss: float) -> None:
        """Keep the weights if they are the best so far."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch, self.best = loss, self.epoch, self._copy()

    def kept(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "head": self.head.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
        }

    def restore(self, kept: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.head.load_state_dict(kept["head"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.best, self.best_epoch, self.best_loss = kept["best"], kept["best_epoch"], kept["best_loss"]
        self.epoch = int(kept["step"])

    def _copy(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.head.state_dict().items()}


def _loss(
    head: ScaleShiftHead, features: Tensor, pairs: FitPairs, settings: FitSettings, pictures: Tensor | None = None
) -> Tensor:
    relative = pairs.relative if pictures is None else pairs.relative[pictures]
    true = pairs.depth_m if pictures is None else pairs.depth_m[pictures]
    scale, shift = head(features)
    return loss_of(scale, shift, relative, true, settings)


def loss_of(scale: Tensor, shift: Tensor, relative: Tensor, true: Tensor, settings: FitSettings) -> Tensor:
    """The mean over N pictures of each one's mean over its K pixels; scale and shift are (N, 1) or scalars."""
    depth = 1 / (scale * relative + shift).clamp(1 / settings.max_depth_m, 1 / settings.min_depth_m)
    if settings.loss == "log":
        return (torch.log(depth) - torch.log(true)).abs().mean()
    if settings.loss == "huber":
        return torch.nn.functional.huber_loss(depth, true)
    return (depth - true).abs().mean()
