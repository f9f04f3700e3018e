"""How rsa-mini is trained: its network of relative depth, its text encoder, its head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgedepth.core.errors import TrainingError
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.models.loading import load_model
from edgedepth.models.relative import RelativeDepth, build_network
from edgedepth.models.relative_config import RSA_MINI, RelativeConfig
from edgedepth.training.mini_recipe import MINI
from edgedepth.training.relative_task import RelativeTask, start_from, start_near_the_mean
from edgedepth.training.run_folder import RunFolder
from edgedepth.training.scene_cache import CacheSettings, SceneCache, build_scene_cache
from edgedepth.training.training_loop import PhaseSettings, run_phase

__all__ = ["RSA_RECIPE", "RsaRecipe", "train_rsa_mini"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaRecipe:
    """A whole training.

    Args:
        places: scenes of all places but table-tops; those of depth-pro-mini's recipe serve.
        table_tops: scenes of table-tops.
        held_out: looked at while training.
        relative: the network's phase.
        text: the text encoder's phase.
        seed: of the initial weights.
    """

    places: CacheSettings
    table_tops: CacheSettings
    held_out: CacheSettings
    relative: PhaseSettings
    text: PhaseSettings
    seed: int = 0


RSA_RECIPE = RsaRecipe(
    places=MINI.small,
    table_tops=CacheSettings(first_seed=200_000, count=4000, side=192, place="table-top"),
    held_out=MINI.held_out,
    relative=PhaseSettings(name="relative", steps=1200, batch=24, peak_lr=1e-3, seed=1),
    text=PhaseSettings(name="text", steps=1500, batch=128, peak_lr=1e-3, seed=2),
)
"""The recipe of the shipped weights."""


def start_relative(config: RelativeConfig, seed: int) -> RelativeDepth:
    """The network as training begins: its encoder is depth-pro-mini's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = RelativeDepth(build_network(config)).requires_grad_(True)
        start_near_the_mean(module)
    start_from(module, load_model("depth-pro-mini").module.encoder.image_encoder)  # type: ignore[union-attr,arg-type]
    return module
