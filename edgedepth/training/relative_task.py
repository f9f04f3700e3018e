"""Training of a small network of relative depth on procedural scenes, blind to each picture's scale and shift.

Source: the affine-invariant loss of MiDaS (arXiv 1907.01341) and Depth Anything (arXiv 2401.10891). The anchor is ours:
RSA reads one scale and shift for the network's raw numbers off a caption, so these have to mean the same in all
pictures.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgedepth.models.relative import RelativeDepth
from edgedepth.models.vit import ViT
from edgedepth.training.batches import Batch, joined, view_batch
from edgedepth.training.losses import mae_loss, mage_loss, normalise
from edgedepth.training.scene_cache import SceneCache
from edgedepth.training.training_loop import TrainedGroup, parameter_groups

__all__ = ["RelativeTask", "aligned_abs_rel", "start_from", "start_near_the_mean", "stretched"]

RANGE = 10.0
"""What the nearest 2 % of a picture are above the farthest 2 %, in the network's numbers: two digits, as published."""

_SCALES = 4
_LARGEST = 4.0
"""Deviations from the median, at most: a picture of one plane has a tiny deviation and huge values."""

_ENCODER_SHARE = 0.3
_VALIDATED = 48
_VALIDATION_BATCH = 8


class RelativeTask:
    """The whole network, its encoder slowly.

    Args:
        module: to be trained.
        places: scenes of all places but table-tops.
        table_tops: every fourth picture of a batch.
        held_out: for validation.
        side: of the network's input in pixels.
    """

    def __init__(
        self, module: RelativeDepth, places: SceneCache, table_tops: SceneCache, held_out: SceneCache, side: int
    ) -> None:
        self.module, self._places, self._table_tops, self._side = module, places, table_tops, side
        self._validation = view_batch(held_out, np.random.default_rng(0), _VALIDATED, side, varied=False)

    def trained(self) -> list[TrainedGroup]:
        """Everything."""
        encoder = list(self.module.network.backbone.parameters())  # type: ignore[union-attr]
        known = {id(parameter) for parameter in encoder}
        rest = (parameter for parameter in self.module.parameters() if id(parameter) not in known)
        return parameter_groups(encoder, _ENCODER_SHARE) + parameter_groups(rest)

    def draw(self, random: np.random.Generator, count: int) -> Batch:
        """Whole views."""
        tops = count // 4
        return joined(
            view_batch(self._places, random, count - tops, self._side),
            view_batch(self._table_tops, random, tops, self._side),
        )

    def loss(self, batch: Batch) -> Mapping[str, Tensor]:
        """Depth and its gradients up to scale and shift, and the anchor."""
        predicted, true = self.module(batch.image), stretched(batch.inverse_depth)
        valid = torch.ones_like(true, dtype=torch.bool)
        normal, normal_true = (normalise(part, valid).clamp(-_LARGEST, _LARGEST) for part in (predicted, true))
        return {
            "relative": mae_loss(normal, normal_true, valid),
            "gradient": 0.5 * mage_loss(normal, normal_true, valid, scales=_SCALES),
            "anchor": 0.2 * mae_loss(predicted, true, valid),
        }

    def validate(self) -> Mapping[str, float]:
        """AbsRel of depth up to 80 m, aligned with the truth, and the anchor's error."""
        batch = self._validation
        parts = [self.module(part) for part in torch.split(batch.image, _VALIDATION_BATCH)]
        predicted, true = torch.cat(parts), batch.inverse_depth
        anchored = (predicted - stretched(true)).abs().mean()
        return {"val_abs_rel": aligned_abs_rel(predicted, true), "val_anchor": float(anchored)}


def stretched(inverse_depth: Tensor) -> Tensor:
    """Inverse depth (N, 1, H, W) from 0, its 2nd percentile, to 10, its 98th, and somewhat beyond."""
    flat = inverse_depth.flatten(1)
    low, high = torch.quantile(flat, torch.tensor((0.02, 0.98), device=flat.device), dim=1)[:, :, None, None, None]
    found: Tensor = (RANGE * (inverse_depth - low) / (high - low).clamp(min=1e-6)).clamp(0, 1.5 * RANGE)
    return found


def aligned_abs_rel(predicted: Tensor, true: Tensor) -> float:
    """AbsRel of depth, where the best scale and shift by least squares of inverse depth are known of each picture."""
    found = []
    for estimate, truth in zip(predicted.flatten(1).double(), true.flatten(1).double(), strict=True):
        seen = truth > truth.max() / 200
        design = torch.stack((estimate[seen], torch.ones_like(estimate[seen])), 1)
        aligned = design @ torch.linalg.lstsq(design, truth[seen][:, None]).solution
        found.append((truth[seen] / aligned[:, 0].clamp(min=truth[seen].min()) - 1).abs().mean())
    return float(torch.stack(found).mean())


@torch.no_grad()
def start_from(module: RelativeDepth, vit: ViT) -> None:
    """Give the encoder the weights of a vision transformer of its sizes; positions are resampled to its grid."""
    backbone, state = module.network.backbone, vit.state_dict()
    own: dict[str, Tensor] = backbone.state_dict()  # type: ignore[union-attr]
    grid = round((own["embeddings.position_embeddings"].shape[1] - 1) ** 0.5)
    renamed = {
        "embeddings.cls_token": state["cls_token"],
        "embeddings.mask_token": own["embeddings.mask_token"],
        "embeddings.position_embeddings": _resampled(state["pos_embed"], grid),
        "embeddings.patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
        "layernorm.weight": state["norm.weight"],
        "layernorm.bias": state["norm.bias"],
    }
    for index in range(len(vit.blocks)):
        ours, theirs = f"blocks.{index}.", f"encoder.layer.{index}."
        for kind in ("weight", "bias"):
            query_key_value = state[f"{ours}attn.qkv.{kind}"].chunk(3)
            for name, part in zip("qkv", query_key_value, strict=True):
                renamed[f"{theirs}attention.{name}_proj.{kind}"] = part
            renamed[f"{theirs}attention.o_proj.{kind}"] = state[f"{ours}attn.proj.{kind}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                renamed[f"{theirs}{name}.{kind}"] = state[f"{ours}{name}.{kind}"]
        for name in "12":
            renamed[f"{theirs}layer_scale{name}.lambda1"] = state[f"{ours}ls{name}.gamma"]
    backbone.load_state_dict(renamed)  # type: ignore[union-attr]


def _resampled(positions: Tensor, grid: int) -> Tensor:
    """(1, 1 + G², width) position embeddings for grid² tokens."""
    old = round((positions.shape[1] - 1) ** 0.5)
    laid = positions[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(laid, (grid, grid), mode="bicubic", align_corners=False)
    return torch.cat((positions[:, :1], resized.flatten(2).transpose(1, 2)), dim=1)


def start_near_the_mean(module: RelativeDepth) -> None:
    """Let the last layer begin in the middle of the range: a ReLU that starts at 0 learns nothing."""
    last = [part for part in module.network.head.modules() if isinstance(part, nn.Conv2d)][-1]  # type: ignore[union-attr]
    assert last.bias is not None
    nn.init.normal_(last.weight, std=0.1)
    nn.init.constant_(last.bias, RANGE / 2)
