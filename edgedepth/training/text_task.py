"""Contrastive training of a small CLIP: captions of scenes find their pictures' features, and the other way round.

Source: CLIP (arXiv 2103.00020), section 2.3. The picture's half is one layer on the frozen features of the network of
relative depth; it is thrown away. The text encoder stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgedepth.models.clip_text import ClipText
from edgedepth.models.clip_text_config import ClipTextConfig
from edgedepth.models.relative_random import random_text
from edgedepth.programs.clip_tokens import tokenize
from edgedepth.training.scene_captions import natural_caption, structured_caption
from edgedepth.training.scenes import SceneObject
from edgedepth.training.training_loop import TrainedGroup, parameter_groups

__all__ = ["ContrastiveText", "PicturesAndCaptions", "SceneFacts", "TextTask", "without_padding"]

_UNKNOWN = 0.04
"""Share of ids that are replaced by any others: captions hold words that no scene has taught."""

_EMBEDDING_SPREAD = 0.05
_NATURAL = 0.6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneFacts:
    """What the task knows of N scenes.

    Args:
        features: (N, F) of their pictures.
        places: of PLACES.
        objects: in view.
    """

    features: Tensor
    places: Sequence[str]
    objects: Sequence[Sequence[SceneObject]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PicturesAndCaptions:
    """A batch: features (B, F) and ids (B, context), row by row of the same scenes."""

    features: Tensor
    tokens: Tensor

    def to(self, device: torch.device) -> PicturesAndCaptions:
        """The batch on a device."""
        return PicturesAndCaptions(features=self.features.to(device), tokens=self.tokens.to(device))


class ContrastiveText(nn.Module):
    """The text encoder, the picture's projection, and the temperature."""

    def __init__(self, config: ClipTextConfig, features: int, seed: int) -> None:
        super().__init__()
        self.text: ClipText = random_text(config, seed).requires_grad_(True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            nn.init.normal_(self.text.token_embedding.weight, std=_EMBEDDING_SPREAD)
            nn.init.normal_(self.text.positional_embedding, std=_EMBEDDING_SPREAD)
            self.picture = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, config.projection))
        self.logit_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def forward(self, batch: PicturesAndCaptions) -> Tensor:
        """Scaled cosines, (B, B): rows are captions, columns pictures."""
        text = F.normalize(self.text.encode_short(without_padding(batch.tokens)), dim=1)
        picture = F.normalize(self.picture(batch.features).float(), dim=1)
        return self.logit_scale.exp().clamp(max=100) * text @ picture.T


class TextTask:
    """The contrastive phase.

    Args:
        module: to be trained.
        scenes: to train on.
        held_out: for validation.
    """

    def __init__(self, module: ContrastiveText, scenes: SceneFacts, held_out: SceneFacts) -> None:
        self.module, self._scenes, self._held_out = module, scenes, held_out
        self._vocabulary = module.text.config.vocabulary

    def trained(self) -> list[TrainedGroup]:
        """Everything."""
        embedding: nn.Parameter = self.module.text.token_embedding.weight  # type: ignore[assignment]
        rest = [parameter for parameter in self.module.parameters() if parameter is not embedding]
        return [*parameter_groups(rest), TrainedGroup(parameters=[embedding])]

    def draw(self, random: np.random.Generator, count: int) -> PicturesAndCaptions:
        """Scenes with a caption each, some of its words replaced."""
        scenes = self._scenes
        chosen = random.choice(len(scenes.places), min(count, len(scenes.places)), replace=False)
        batch = _captioned(scenes, chosen, Random(int(random.integers(2**31))))  # noqa: S311
        words = (batch.tokens > 0) & (batch.tokens < self._vocabulary - 2)
        replaced = words & torch.from_numpy(random.random(tuple(batch.tokens.shape)) < _UNKNOWN)
        others = torch.from_numpy(random.integers(0, self._vocabulary - 2, tuple(batch.tokens.shape), np.int32))
        return PicturesAndCaptions(features=batch.features, tokens=torch.where(replaced, others, batch.tokens))

    def loss(self, batch: PicturesAndCaptions) -> Mapping[str, Tensor]:
        """Cross-entropy of captions among pictures and of pictures among captions."""
        logits = self.module(batch)
        own = torch.arange(len(logits), device=logits.device)
        return {"contrastive": (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2}

    def validate(self) -> Mapping[str, float]:
        """How often the picture that a caption likes best is of the caption's place."""
        held_out = self._held_out
        batch = _captioned(held_out, np.arange(len(held_out.places)), Random(0))  # noqa: S311
        best = self.module(batch).argmax(1).tolist()
        right = [held_out.places[found] == place for found, place in zip(best, held_out.places, strict=True)]
        return {"val_place": sum(right) / len(right)}


def without_padding(tokens: Tensor) -> Tensor:
    """(N, context) ids up to the longest caption's end: what comes after it is not seen."""
    return tokens[:, : int(tokens.argmax(1).max()) + 1]


def _captioned(scenes: SceneFacts, indices: np.ndarray, random: Random) -> PicturesAndCaptions:
    captions = [
        natural_caption(scenes.places[i], scenes.objects[i], random)
        if random.random() < _NATURAL or not scenes.objects[i]
        else structured_caption(scenes.objects[i], random)
        for i in indices
    ]
    tokens = np.concatenate([tokenize(caption).ids for caption in captions])
    return PicturesAndCaptions(features=scenes.features[torch.from_numpy(indices)], tokens=torch.from_numpy(tokens))
