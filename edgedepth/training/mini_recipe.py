"""How depth-pro-mini is trained, from rendering its scenes to its last phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgedepth.core.errors import TrainingError
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DEPTH_PRO_MINI, DepthProConfig
from edgedepth.models.random_init import random_depth_pro
from edgedepth.training.batches import AnyScenes, DeviceScenes, tile_batch
from edgedepth.training.mini_tasks import FovTask, TileTask, WholeTask, sharpening_terms, stage_one_terms
from edgedepth.training.rendering import Rendering
from edgedepth.training.run_folder import RunFolder
from edgedepth.training.scene_cache import CacheSettings, SceneCache
from edgedepth.training.tile_pretraining import TilePretraining
from edgedepth.training.training_loop import ON_GPU, Pace, PhaseSettings, Task, run_phase

__all__ = ["MINI", "PHASES", "Recipe", "train_mini"]

PHASES = ("tiles", "stage-one", "stage-two", "fov")
"""In their order; each leaves weights of its name."""

_SHARE_OF_DEVICE = 0.6
"""Of a device's free memory that scenes may take; the rest is for training."""

_LEAST_BATCH = 3
"""Pictures: of three one is a tile and two are views."""

_WHITENED = 512
"""Tiles that the patch embedding's start is computed from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole training.

    Args:
        model: sizes of what is trained.
        large: scenes of the model's input size.
        small: more scenes, of low resolution.
        held_out: looked at while training, so these are not the evaluation's scenes either.
        phases: those of PHASES, in that order.
        encoder_share: of the learning rate for the pretrained transformers in the two stages.
        seed: of the initial weights.
    """

    model: DepthProConfig
    large: CacheSettings
    small: CacheSettings
    held_out: CacheSettings
    phases: tuple[PhaseSettings, ...]
    encoder_share: float = 0.3
    seed: int = 0

    def shortened(self, effort: float, batches: float = 1.0) -> Recipe:
        """The same with a share of the scenes and steps, and of the batches, to try things out and for processors.

        Raises:
            TrainingError: a share outside 0..1.
        """
        for name, value in (("effort", effort), ("batches", batches)):
            if not 0 < value <= 1:
                raise TrainingError(f"{name} is {value}; more than 0 and at most 1 is allowed", remedy=f"--{name} 0.01")

        def share(number: int) -> int:
            return max(1, round(number * effort))

        return replace(
            self,
            large=replace(self.large, count=share(self.large.count)),
            small=replace(self.small, count=share(self.small.count)),
            held_out=replace(self.held_out, count=share(self.held_out.count)),
            phases=tuple(
                replace(phase, steps=share(phase.steps), batch=max(_LEAST_BATCH, round(phase.batch * batches)))
                for phase in self.phases
            ),
        )


MINI = Recipe(
    model=DEPTH_PRO_MINI,
    large=CacheSettings(first_seed=0, count=20_000, side=512),
    small=CacheSettings(first_seed=100_000, count=24_000, side=192),
    held_out=CacheSettings(first_seed=900_000, count=48, side=512),
    phases=(
        PhaseSettings(name="tiles", steps=16_000, batch=512, peak_lr=1e-3, seed=1),
        PhaseSettings(name="stage-one", steps=9000, batch=32, peak_lr=8e-4, seed=2),
        PhaseSettings(name="stage-two", steps=4500, batch=32, peak_lr=4e-4, seed=3),
        PhaseSettings(name="fov", steps=3800, batch=512, peak_lr=6e-4, seed=4),
    ),
)
"""The recipe of the shipped weights, for a GPU; for a processor take a share of its steps, scenes and batches."""


def train_mini(
    out: Path,
    cache: Path,
    *,
    recipe: Recipe = MINI,
    device: str = "cpu",
    workers: int = 1,
    ahead: float = 1.0,
    progress: Progress = silent,
    announce: Announce = unheard,
) -> Path:
    """Train depth-pro-mini; a run that was stopped goes on where its last checkpoint was.

    Args:
        out: folder of the run.
        cache: folder of the rendered scenes.
        recipe: how.
        device: as torch names it; "cpu", "cuda:0".
        workers: processes that render, and threads that draw batches.
        ahead: share of the scenes that is rendered before training begins; the others are rendered while it goes on,
            and which scenes a step draws then depends on how fast. Less than 1 needs a GPU that holds the scenes.
        progress: is told the steps.
        announce: is told the phases.

    Returns:
        The trained weights as they are shipped: fp16 safetensors, in `out`.

    Raises:
        TrainingError: no worker, a folder of another run or of other scenes, a share outside 0..1 or with nothing to
            render beside, or a loss that is not finite.
        OutputError: a full disk.
    """
    if workers < 1:
        raise TrainingError(f"workers is {workers}; allowed are 1 and more", remedy="--workers 1")
    rendering = Rendering(cache, ahead=ahead, workers=workers, announce=announce, progress=progress)
    where = torch.device(device)
    on_device = where.type == "cuda" and _fits((recipe.small, recipe.large), where, announce)
    if ahead < 1 and not on_device:
        raise TrainingError(
            f"{ahead:.3g} of the scenes are to be rendered before training: the others can follow only where a GPU "
            f"holds the scenes, and {where} doesn't",
            remedy="--ahead 1",
        )
    folder = RunFolder(out, {"recipe": asdict(recipe)})
    held_out = rendering.whole("held-out", recipe.held_out)
    small, large = rendering.begun("small", recipe.small), rendering.begun("large", recipe.large)
    scenes = _Scenes(
        large=DeviceScenes(large, where) if on_device else large,
        small=DeviceScenes(small, where) if on_device else small,
        held_out=held_out,
    )
    with rendering.going_on(scenes.refresh):
        for phase, before in zip(recipe.phases, (None, *recipe.phases), strict=False):
            if folder.weights_file(phase.name).exists():
                announce(f"{phase.name}: done before")
                continue
            announce(f"{phase.name}: {phase.steps} steps of {phase.batch} pictures")
            run_phase(
                _TASKS[phase.name](recipe, scenes, folder.load_weights(before.name) if before else None),
                phase,
                folder,
                device=where,
                pace=ON_GPU if on_device else Pace(drawers=workers),
                progress=progress,
            )
    trained = folder.load_weights(recipe.phases[-1].name)
    folder.save_weights("model", {name: tensor.half() for name, tensor in trained.items()})
    return folder.weights_file("model")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scenes:
    large: AnyScenes
    small: AnyScenes
    held_out: SceneCache

    def refresh(self) -> None:
        """Take scenes that were rendered meanwhile to the device."""
        for scenes in (self.large, self.small):
            if isinstance(scenes, DeviceScenes):
                scenes.refresh()


def _fits(caches: tuple[CacheSettings, ...], device: torch.device, announce: Announce) -> bool:
    """Whether a GPU has room for the scenes: it learns from them faster than the processor cuts them."""
    needed = sum(DeviceScenes.bytes_of(settings) for settings in caches)
    free = torch.cuda.mem_get_info(device)[0]
    if needed > _SHARE_OF_DEVICE * free:
        announce(f"the scenes stay on disk: {needed / 1e9:.1f} GB, and {device} has {free / 1e9:.1f} GB free")
        return False
    announce(f"the scenes are held on {device}: {needed / 1e9:.1f} GB")
    return True


Weights = Mapping[str, Tensor] | None


def _tiles(recipe: Recipe, scenes: _Scenes, _: Weights) -> Task:
    random = np.random.default_rng(recipe.seed)
    patches = tile_batch(scenes.large, random, _WHITENED, recipe.model.tile).image.cpu()
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        module = TilePretraining(recipe.model)
        module.whiten(patches)
    return TileTask(module, scenes.small, scenes.large, scenes.held_out)


def _stage_one(recipe: Recipe, scenes: _Scenes, before: Weights) -> Task:
    assert before is not None
    tiles = TilePretraining(recipe.model)
    tiles.load_state_dict(dict(before))
    model = random_depth_pro(recipe.model, recipe.seed).requires_grad_(True)
    tiles.hand_over(model)
    _start_near_the_mean(model)
    return WholeTask(model, scenes.large, scenes.held_out, stage_one_terms, recipe.encoder_share)


def _stage_two(recipe: Recipe, scenes: _Scenes, before: Weights) -> Task:
    return WholeTask(_model(recipe, before), scenes.large, scenes.held_out, sharpening_terms, recipe.encoder_share)


def _fov(recipe: Recipe, scenes: _Scenes, before: Weights) -> Task:
    return FovTask(_model(recipe, before), (scenes.small, scenes.large), scenes.held_out)


_TASKS: dict[str, Callable[[Recipe, _Scenes, Weights], Task]] = {
    "tiles": _tiles,
    "stage-one": _stage_one,
    "stage-two": _stage_two,
    "fov": _fov,
}


def _model(recipe: Recipe, weights: Weights) -> DepthPro:
    assert weights is not None
    model = DepthPro(recipe.model)
    model.load_state_dict(dict(weights))
    return model


@torch.no_grad()
def _start_near_the_mean(model: DepthPro) -> None:
    """Canonical inverse depth of these scenes is around 0.3 / m; a ReLU that starts at 0 learns nothing."""
    last: Any = model.head[4]
    last.weight.mul_(0.3)
    last.bias.fill_(0.3)
