"""The phases of training a Depth Pro: tiles, the whole model in two stages, the field of view.

Source: Depth Pro (arXiv 2410.02073), sections 3.2 and 3.4. Stage one trains on everything, with a gradient loss
blind to scale and shift; stage two sharpens with first and second derivatives; the field of view network is
trained last, on frozen features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain

import numpy as np
import torch
from torch import Tensor, nn

from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_encoder import image_pyramid
from edgedepth.models.vit import token_map
from edgedepth.training.batches import AnyScenes, Batch, joined, tile_batch, view_batch
from edgedepth.training.losses import fov_loss, sharpening_loss, stage_one_loss
from edgedepth.training.relative_error import log_loss
from edgedepth.training.tile_pretraining import TilePretraining
from edgedepth.training.training_loop import TrainedGroup, parameter_groups

__all__ = ["FovTask", "TileTask", "ViewsAndTiles", "WholeTask", "sharpening_terms", "stage_one_terms"]

_VALIDATED = 48
_VALIDATION_BATCH = 8


@dataclass(frozen=True, slots=True)
class ViewsAndTiles:
    """A pretraining batch: whole views and tiles."""

    views: Batch
    tiles: Batch

    def to(self, device: torch.device) -> ViewsAndTiles:
        """The batch on a device."""
        return ViewsAndTiles(self.views.to(device), self.tiles.to(device))

    def copy_(self, other: ViewsAndTiles) -> None:
        """Take another batch's values, in place."""
        self.views.copy_(other.views)
        self.tiles.copy_(other.tiles)


class TileTask:
    """Pretraining of the transformers on single tiles.

    Args:
        module: to be trained.
        views: scenes seen whole; many and small.
        large: scenes that tiles are cut from.
        held_out: for validation.
    """

    def __init__(self, module: TilePretraining, views: AnyScenes, large: AnyScenes, held_out: AnyScenes) -> None:
        self.module, self._views, self._large = module, views, large
        self._tile = module.config.tile
        self._validation = _validation_batch(held_out, self._tile)

    def trained(self) -> list[TrainedGroup]:
        """Everything."""
        return parameter_groups(self.module.parameters())

    def draw(self, random: np.random.Generator, count: int) -> ViewsAndTiles:
        """Two views for a tile."""
        tiles = count // 3
        return ViewsAndTiles(
            view_batch(self._views, random, count - tiles, self._tile),
            tile_batch(self._large, random, tiles, self._tile),
        )

    def loss(self, batch: ViewsAndTiles) -> Mapping[str, Tensor]:
        """As `TilePretraining.loss`."""
        return self.module.loss(batch.views, batch.tiles)

    def validate(self) -> Mapping[str, float]:
        """δ1 of canonical inverse depth and the share of focal lengths within 25 %."""
        batch = self._validation.to(_device(self.module))
        estimate = self.module(batch.image, len(batch.image))
        true = nn.functional.avg_pool2d(batch.inverse_depth, 2)
        return _depth_figures(estimate.canonical, true) | _fov_figures(estimate.fov_deg, batch.fov_deg)


Terms = Callable[[Tensor, Tensor, Tensor], Mapping[str, Tensor]]


def stage_one_terms(predicted: Tensor, true: Tensor, valid: Tensor) -> Mapping[str, Tensor]:
    """The paper's first stage on synthetic data, and the logarithmic term."""
    return {
        "stage_one": stage_one_loss(predicted, true, valid, synthetic=True),
        "log": log_loss(predicted, true, valid),
    }


def sharpening_terms(predicted: Tensor, true: Tensor, valid: Tensor) -> Mapping[str, Tensor]:
    """The paper's second stage, and the logarithmic term."""
    return {
        "sharpening": sharpening_loss(predicted, true, valid),
        "log": log_loss(predicted, true, valid),
    }


class WholeTask:
    """Training of encoders, decoder and depth head together.

    Args:
        module: to be trained.
        large: scenes at the model's input size.
        held_out: for validation.
        terms: of the loss.
        encoder_share: of the learning rate for the pretrained transformers.
    """

    def __init__(
        self, module: DepthPro, large: AnyScenes, held_out: AnyScenes, terms: Terms, encoder_share: float
    ) -> None:
        self.module, self._large, self._terms, self._share = module, large, terms, encoder_share
        self._validation = _validation_batch(held_out, module.config.input_size)

    def trained(self) -> list[TrainedGroup]:
        """The transformers slowly, the rest at full rate; not the field of view."""
        encoder = self.module.encoder
        pretrained = list(chain(encoder.patch_encoder.parameters(), encoder.image_encoder.parameters()))
        known = {id(parameter) for parameter in pretrained}
        rest = [p for p in chain(encoder.parameters(), self.module.decoder.parameters()) if id(p) not in known]
        return parameter_groups(pretrained, self._share) + parameter_groups(chain(rest, self.module.head.parameters()))

    def draw(self, random: np.random.Generator, count: int) -> Batch:
        """Whole views at the model's input size."""
        return view_batch(self._large, random, count, self.module.config.input_size)

    def _depth(self, image: Tensor) -> Tensor:
        features, _ = self.module.decoder(self.module.encoder(image_pyramid(image)))
        canonical: Tensor = self.module.head(features)
        return canonical

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """The stage's terms."""
        valid = torch.ones_like(batch.inverse_depth, dtype=torch.bool)
        return self._terms(self._depth(batch.image), batch.inverse_depth, valid)

    def validate(self) -> Mapping[str, float]:
        """δ1 and AbsRel of canonical inverse depth."""
        batch = self._validation.to(_device(self.module))
        with torch.autocast(batch.image.device.type, torch.bfloat16):
            parts = [self._depth(part).float() for part in torch.split(batch.image, _VALIDATION_BATCH)]
        return _depth_figures(torch.cat(parts), batch.inverse_depth)


class FovTask:
    """Training of the field of view network on frozen features of the coarsest level.

    Args:
        module: whose encoders and decoder stay as they are.
        views: scenes seen whole; each batch has as many of each.
        held_out: for validation.
    """

    def __init__(self, module: DepthPro, views: Sequence[AnyScenes], held_out: AnyScenes) -> None:
        self.module, self._views, self._tile = module, views, module.config.tile
        self._validation = _validation_batch(held_out, self._tile)

    def trained(self) -> list[TrainedGroup]:
        """Its transformer slowly, its head at full rate."""
        fov = self.module.fov
        rest = chain(fov.encoder[1].parameters(), fov.downsample.parameters(), fov.head.parameters())
        return parameter_groups(fov.encoder[0].parameters(), 0.2) + parameter_groups(rest)

    def draw(self, random: np.random.Generator, count: int) -> Batch:
        """Whole views at a tile's size, which is the pyramid's quarter."""
        share = count // len(self._views)
        counts = (count - share * (len(self._views) - 1), *[share] * (len(self._views) - 1))
        first, *others = (
            view_batch(views, random, n, self._tile) for views, n in zip(self._views, counts, strict=True)
        )
        return reduce(joined, others, first)

    def _fov(self, image: Tensor) -> Tensor:
        encoder, grid = self.module.encoder, self.module.config.grid
        with torch.no_grad():
            level2 = token_map(encoder.patch_encoder(image)[-1], grid)
            seen = token_map(encoder.image_encoder(image)[-1], grid)
            coarsest = self.module.decoder.convs[-1](encoder.merge_coarsest(level2, seen))
        fov_deg: Tensor = self.module.fov(image, coarsest)
        return fov_deg.flatten()

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """L2 of the angle, in units of (10°)²."""
        return {"fov": fov_loss(self._fov(batch.image), batch.fov_deg) / 100}

    def validate(self) -> Mapping[str, float]:
        """The share of focal lengths within 25 %, and the mean error in degrees."""
        batch = self._validation.to(_device(self.module))
        return _fov_figures(self._fov(batch.image), batch.fov_deg)


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device


def _validation_batch(held_out: AnyScenes, side: int) -> Batch:
    return view_batch(held_out, np.random.default_rng(0), _VALIDATED, side, varied=False)


@torch.no_grad()
def _depth_figures(predicted: Tensor, true: Tensor) -> dict[str, float]:
    """Means over images, the sky left out; with the true focal length, so canonical ratios are depth's."""
    delta1, abs_rel = [], []
    for estimate, truth in zip(predicted, true, strict=True):
        seen = truth > 0
        ratio = truth[seen] / estimate[seen].clamp(min=1e-4)
        delta1.append((torch.maximum(ratio, 1 / ratio) < 1.25).float().mean())
        abs_rel.append((ratio - 1).abs().mean())
    return {"val_delta1": float(torch.stack(delta1).mean()), "val_abs_rel": float(torch.stack(abs_rel).mean())}


def _fov_figures(predicted_deg: Tensor, true_deg: Tensor) -> dict[str, float]:
    def focal(fov_deg: Tensor) -> Tensor:
        return 1 / torch.tan(torch.deg2rad(fov_deg.float().clamp(1, 170)) / 2)

    error = (focal(predicted_deg) / focal(true_deg) - 1).abs()
    return {
        "val_focal_delta25": float((error < 0.25).float().mean()),
        "val_fov_error_deg": float((predicted_deg - true_deg).abs().mean()),
    }
