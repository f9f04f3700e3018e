"""How rsa-mini is trained: its network of relative depth, its text encoder, its head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgedepth.core.errors import TrainingError
from edgedepth.core.files import write_file
from edgedepth.core.optional import require
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.models.clip_text import ClipText
from edgedepth.models.loading import load_model
from edgedepth.models.relative import RelativeDepth, build_network
from edgedepth.models.relative_config import RSA_MINI, RelativeConfig, RsaConfig
from edgedepth.training.head_fitting import FitSettings, fit_head
from edgedepth.training.mini_recipe import MINI
from edgedepth.training.relative_task import RelativeTask, start_from, start_near_the_mean
from edgedepth.training.rsa_baselines import fit_baselines, save_baselines
from edgedepth.training.rsa_scenes import SeenScenes, caption_pairs, keep_seen, look_at, read_seen, scene_facts
from edgedepth.training.run_folder import RunFolder
from edgedepth.training.scene_cache import CacheSettings, SceneCache, build_scene_cache
from edgedepth.training.text_task import ContrastiveText, TextTask
from edgedepth.training.training_loop import Pace, PhaseSettings, run_phase

__all__ = ["RSA_RECIPE", "RsaRecipe", "train_rsa_mini"]

_TABLE_TOPS = 4
"""Every fourth scene that text and head see is a table-top."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaRecipe:
    """A whole training.

    Args:
        places: scenes of all places but table-tops; those of depth-pro-mini's recipe serve.
        table_tops: scenes of table-tops.
        held_out: looked at while training.
        relative: the network's phase.
        text: the text encoder's phase.
        head: how the head is fitted.
        told: scenes that get captions, for the text encoder and the head.
        seed: of the initial weights.
    """

    places: CacheSettings
    table_tops: CacheSettings
    held_out: CacheSettings
    relative: PhaseSettings
    text: PhaseSettings
    head: FitSettings
    told: int
    seed: int = 0

    def shortened(self, effort: float) -> RsaRecipe:
        """The same with a share of the scenes and steps, to try things out.

        Raises:
            TrainingError: effort outside 0..1.
        """
        if not 0 < effort <= 1:
            raise TrainingError(f"effort is {effort}; more than 0 and at most 1 is allowed", remedy="--effort 0.01")

        def share(number: int, least: int = 1) -> int:
            return max(least, round(number * effort))

        return replace(
            self,
            places=replace(self.places, count=share(self.places.count, 6)),
            table_tops=replace(self.table_tops, count=share(self.table_tops.count, 2)),
            held_out=replace(self.held_out, count=share(self.held_out.count)),
            relative=replace(self.relative, steps=share(self.relative.steps)),
            text=replace(self.text, steps=share(self.text.steps)),
            head=replace(self.head, epochs=share(self.head.epochs)),
            told=share(self.told, 8),
        )


RSA_RECIPE = RsaRecipe(
    places=CacheSettings(first_seed=100_000, count=15_900, side=192),
    table_tops=CacheSettings(first_seed=200_000, count=4000, side=192, place="table-top"),
    held_out=MINI.held_out,
    relative=PhaseSettings(name="relative", steps=1000, batch=16, peak_lr=1e-3, seed=1),
    text=PhaseSettings(name="text", steps=400, batch=128, peak_lr=2e-3, seed=2),
    head=FitSettings(epochs=60, batch=32, first_lr=1e-3, last_lr=1e-5, loss="l1", patience=15),
    told=4000,
)
"""The recipe of the shipped weights."""


def train_rsa_mini(
    out: Path,
    cache: Path,
    *,
    recipe: RsaRecipe = RSA_RECIPE,
    device: str = "cpu",
    workers: int = 1,
    progress: Progress = silent,
    announce: Announce = unheard,
) -> Path:
    """Train rsa-mini; a run that was stopped goes on where its last checkpoint was.

    Args:
        out: folder of the run.
        cache: folder of the rendered scenes; that of depth-pro-mini's training is gone on with.
        recipe: how.
        device: as torch names it; "cpu", "cuda:0".
        workers: processes that render, and threads that draw batches.
        progress: is told the steps.
        announce: is told the phases.

    Returns:
        The folder of the three parts, which `--weights` takes.

    Raises:
        TrainingError: no worker, a folder of another run or of other scenes, or a loss that is not finite.
        OutputError: a full disk.
    """
    if workers < 1:
        raise TrainingError(f"workers is {workers}; allowed are 1 and more", remedy="--workers 1")
    folder = RunFolder(out, {"recipe": asdict(recipe)})

    def built(name: str, settings: CacheSettings) -> SceneCache:
        return build_scene_cache(cache / name, settings, workers=workers, announce=announce, progress=progress)

    places, tops = built("places", recipe.places), built("table-tops", recipe.table_tops)
    held_out = built("held-out", recipe.held_out)
    side = RSA_MINI.relative.preprocess.size
    if not folder.weights_file(recipe.relative.name).exists():
        announce(f"relative: {recipe.relative.steps} steps of {recipe.relative.batch} pictures")
        task = RelativeTask(_start_relative(RSA_MINI.relative, recipe.seed), places, tops, held_out, side)
        run_phase(
            task, recipe.relative, folder, device=torch.device(device), pace=Pace(drawers=workers), progress=progress
        )
    relative = _as_shipped(_relative(folder.load_weights(recipe.relative.name)))
    told = min(recipe.told, len(places.rendered) + len(tops.rendered))
    announce(f"captions of {told} scenes")
    few = min(len(tops.rendered), told // _TABLE_TOPS)
    counts = ((places, min(len(places.rendered), told - few)), (tops, few))
    known = scene_facts([(c.settings, n) for c, n in counts], folder.path / "facts.json", workers=workers)
    seen = folder.path / "seen.safetensors"
    if not seen.exists():
        keep_seen(look_at(relative, counts, known, side, progress=progress), seen)
    scenes = read_seen(seen, known)
    if not folder.weights_file(recipe.text.name).exists():
        announce(f"text: {recipe.text.steps} steps of {recipe.text.batch} captions")
        text_task = _text_task(RSA_MINI, scenes, recipe.seed)
        run_phase(
            text_task, recipe.text, folder, device=torch.device(device), pace=Pace(drawers=workers), progress=progress
        )
    encoder = _text_task(RSA_MINI, scenes, recipe.seed).module
    encoder.load_state_dict(folder.load_weights(recipe.text.name))
    text = _as_shipped(encoder.text)
    announce("head: fitted to captions and relative depth, both computed once")
    pairs = caption_pairs(scenes, text)
    fitted = fit_head(pairs, RSA_MINI.head, recipe.head, folder, progress=progress)
    baselines = fit_baselines(pairs, scenes.descriptors, recipe.head, progress=progress)
    model = _write(out / "model", relative, text, fitted.head.state_dict())
    save_baselines(baselines, model / "baselines.safetensors")
    folder.finish("head")
    return model


def _start_relative(config: RelativeConfig, seed: int) -> RelativeDepth:
    """The network as training begins: its encoder is depth-pro-mini's."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = RelativeDepth(build_network(config)).requires_grad_(True)
        start_near_the_mean(module)
    start_from(module, load_model("depth-pro-mini").module.encoder.image_encoder)  # type: ignore[union-attr,arg-type]
    return module


def _relative(weights: Mapping[str, Tensor]) -> RelativeDepth:
    module = RelativeDepth(build_network(RSA_MINI.relative))
    module.load_state_dict(dict(weights))
    return module


def _text_task(config: RsaConfig, scenes: SeenScenes, seed: int) -> TextTask:
    """Every twentieth scene is for validation."""
    module = ContrastiveText(config.text, scenes.features.shape[1], seed)
    held = torch.arange(len(scenes.places)) % 20 == 0
    return TextTask(module, scenes.facts(~held), scenes.facts(held))


def _as_shipped(module: torch.nn.Module) -> Any:
    """With the weights that fp16 keeps, in fp32: what comes after is fitted to what is shipped."""
    return module.half().float().eval().requires_grad_(False)


def _write(folder: Path, relative: RelativeDepth, text: ClipText, head: Mapping[str, Tensor]) -> Path:
    safetensors = require("safetensors.torch", extra="train", purpose="keep weights")
    (folder / "relative").mkdir(parents=True, exist_ok=True)
    network: Any = relative.network
    network.config.dtype = "float16"
    write_file(folder / "relative" / "config.json", network.config.to_json_string().encode())
    for name, state, dtype in (
        ("relative/model.safetensors", network.state_dict(), torch.float16),
        ("text.safetensors", text.state_dict(), torch.float16),
        ("head.safetensors", head, torch.float32),
    ):
        kept = {key: tensor.to(dtype).contiguous() for key, tensor in state.items()}
        write_file(folder / name, safetensors.save(kept, metadata={"format": "pt"}))
    return folder
