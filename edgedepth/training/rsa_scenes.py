"""What text encoder and head of rsa-mini learn from: captions of cached scenes, and what the network sees there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from edgedepth.core.files import write_file
from edgedepth.core.optional import require
from edgedepth.core.progress import Progress, silent
from edgedepth.models.clip_text import ClipText
from edgedepth.models.relative import RelativeDepth
from edgedepth.programs.clip_tokens import tokenize
from edgedepth.programs.picture_descriptor import picture_descriptor
from edgedepth.training.batches import plain_views
from edgedepth.training.head_fitting import FitPairs
from edgedepth.training.scene_cache import CacheSettings, SceneCache, squash_of
from edgedepth.training.scene_captions import scene_captions
from edgedepth.training.scenes import SceneObject, things_in_view
from edgedepth.training.text_task import SceneFacts, without_padding

__all__ = ["SeenScenes", "caption_pairs", "encode_captions", "keep_seen", "look_at", "read_seen", "scene_facts"]

Facts: TypeAlias = tuple[str, tuple[SceneObject, ...]]

_TENSORS = ("features", "relative", "depth_m", "descriptors")
_PIXELS = 1024
_MAX_DEPTH_M = 80.0
_CHUNK = 32
_SHARE = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeenScenes:
    """N scenes as the frozen network sees them.

    Args:
        places: of PLACES.
        objects: in view.
        features: (N, F) of the network's encoder.
        relative: (N, K) float32 raw output at K pixels with depth up to 80 m.
        depth_m: (N, K) float32.
        descriptors: (N, 256) as picture_descriptor gives them.
    """

    places: Sequence[str]
    objects: Sequence[Sequence[SceneObject]]
    features: Tensor
    relative: Tensor
    depth_m: Tensor
    descriptors: Tensor

    def facts(self, chosen: Tensor) -> SceneFacts:
        """For the text's phase: the scenes where a (N,) bool is set."""
        indices = torch.nonzero(chosen).flatten().tolist()
        return SceneFacts(
            features=self.features[chosen],
            places=[self.places[i] for i in indices],
            objects=[self.objects[i] for i in indices],
        )


def scene_facts(wanted: Sequence[tuple[CacheSettings, int]], file: Path, *, workers: int = 1) -> list[Facts]:
    """Place and objects of the first scenes of each cache, computed once and kept in a file.

    Raises:
        OutputError: a full disk.
    """
    seeds = [
        (settings.first_seed + index, settings.place, settings.side)
        for settings, count in wanted
        for index in range(count)
    ]
    if file.exists():
        held = json.loads(file.read_text(encoding="utf-8"))
        if len(held) == len(seeds):
            return [(place, tuple(SceneObject(name, count) for name, count in things)) for place, things in held]
    shares = [seeds[start : start + _SHARE] for start in range(0, len(seeds), _SHARE)]
    if workers == 1:
        found = [facts for share in shares for facts in _facts_of(share)]
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            found = [facts for part in pool.map(_facts_of, shares) for facts in part]
    plain = [(place, [(thing.name, thing.count) for thing in things]) for place, things in found]
    write_file(file, json.dumps(plain).encode())
    return found


def _facts_of(share: Sequence[tuple[int, str | None, int]]) -> list[Facts]:
    return [things_in_view(seed, squash=squash_of(seed), place=place, side=side) for seed, place, side in share]


@torch.inference_mode()
def look_at(
    relative: RelativeDepth,
    scenes: Sequence[tuple[SceneCache, int]],
    facts: Sequence[Facts],
    side: int,
    *,
    progress: Progress = silent,
) -> SeenScenes:
    """Run the network over the first scenes of each cache.

    Args:
        relative: frozen.
        scenes: caches, and how many scenes of each.
        facts: of all of them.
        side: of the network's input in pixels.
        progress: is told the scenes.
    """
    features, pairs, descriptors = [], [], []
    random = np.random.default_rng(0)
    for cache, count in scenes:
        for chosen in np.array_split(cache.rendered[:count], max(1, count // _CHUNK)):
            batch = plain_views(cache, chosen, side)
            maps, part = _features_and_depth(relative, batch.image)
            features.append(part)
            for image, raw, inverse in zip(batch.image, maps[:, 0], batch.inverse_depth[:, 0], strict=True):
                pairs.append(_sampled(raw.numpy(), inverse.numpy(), random))
                rgb = ((image.permute(1, 2, 0).numpy() + 1) * 127.5).round().astype(np.uint8)
                descriptors.append(picture_descriptor(rgb, raw.numpy()))
            progress("seeing scenes", len(pairs), len(facts))
    relative_at, depth_m = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
    return SeenScenes(
        places=[place for place, _ in facts],
        objects=[things for _, things in facts],
        features=torch.cat(features),
        relative=relative_at,
        depth_m=depth_m,
        descriptors=torch.from_numpy(np.stack(descriptors)),
    )


def _features_and_depth(relative: RelativeDepth, images: Tensor) -> tuple[Tensor, Tensor]:
    """Raw relative depth (N, 1, S, S); class token and mean token of the encoder's last block, (N, 2 width)."""
    seen: list[Tensor] = []
    hook = relative.network.neck.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda _, arguments: seen.append(arguments[0][-1])
    )
    maps: Tensor = relative(images)
    hook.remove()
    return maps, torch.cat((seen[0][:, 0], seen[0][:, 1:].mean(1)), dim=1)


def _sampled(raw: np.ndarray, inverse: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Relative and true depth at pixels drawn from those up to 80 m."""
    near = np.flatnonzero(inverse > 1 / _MAX_DEPTH_M)
    drawn = random.choice(near if near.size else np.array([int(inverse.argmax())]), _PIXELS)
    return raw.ravel()[drawn], 1 / np.maximum(inverse.ravel()[drawn], np.float32(1 / _MAX_DEPTH_M))


def keep_seen(scenes: SeenScenes, file: Path) -> None:
    """Keep what the network saw; places and objects are in the facts' file.

    Raises:
        OutputError: a full disk.
    """
    safetensors = require("safetensors.torch", extra="train", purpose="keep what was seen")
    write_file(file, safetensors.save({name: getattr(scenes, name).contiguous() for name in _TENSORS}))


def read_seen(file: Path, facts: Sequence[Facts]) -> SeenScenes:
    """What keep_seen kept, of scenes with these facts."""
    safetensors = require("safetensors.torch", extra="train", purpose="read what was seen")
    tensors = safetensors.load_file(file)
    places, objects = [place for place, _ in facts], [things for _, things in facts]
    return SeenScenes(places=places, objects=objects, **{name: tensors[name] for name in _TENSORS})


def caption_pairs(scenes: SeenScenes, text: ClipText) -> FitPairs:
    """All captions of all scenes, encoded, with the scenes' pixels."""
    captions = [
        scene_captions(place, objects, seed=index)
        for index, (place, objects) in enumerate(zip(scenes.places, scenes.objects, strict=True))
    ]
    return FitPairs(
        features=encode_captions(text, [caption for own in captions for caption in own]),
        owners=torch.repeat_interleave(torch.tensor([len(own) for own in captions])),
        relative=scenes.relative,
        depth_m=scenes.depth_m,
    )


@torch.inference_mode()
def encode_captions(text: ClipText, captions: Sequence[str], *, batch: int = 256) -> Tensor:
    """(M, projection) float32."""
    context = text.config.context
    found = []
    for start in range(0, len(captions), batch):
        ids = np.concatenate([tokenize(caption, context).ids for caption in captions[start : start + batch]])
        found.append(text.encode_short(without_padding(torch.from_numpy(ids))))
    return torch.cat(found)
