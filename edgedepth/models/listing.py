"""The rows of `edgedepth models`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgedepth.core.plain import to_plain
from edgedepth.models.depth_pro_config import DepthProConfig, depth_pro_tiling
from edgedepth.models.registry import MODELS, LocalWeights, ModelEntry, ShippedParts, ShippedWeights, WeightsSource
from edgedepth.models.relative_config import RsaConfig
from edgedepth.models.weights import WeightsState, weights_state
from edgedepth.models.zoedepth_config import ZoeDepthConfig

__all__ = ["ModelListing", "list_models"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelListing:
    """One model as its users see it.

    Args:
        name: what --model takes.
        parameters: how many weights it has.
        input_size: height of its input in pixels.
        input_width: width of it.
        tiles: how many the pyramid is cut into; 1: the picture is seen whole.
        licence: of the weights.
        licence_url: where it can be read; None where they are shipped.
        source: where the weights come from, in words.
        download_bytes: size of the checkpoint; None where it is shipped.
        state: whether the weights are here.
        note: what a user has to know before choosing it.
        figures: what the weights' publisher measured, by data set and metric.
    """

    name: str
    parameters: int
    input_size: int
    input_width: int
    tiles: int
    licence: str
    licence_url: str | None
    source: str
    download_bytes: int | None
    state: WeightsState
    note: str
    figures: Mapping[str, Mapping[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def list_models() -> list[ModelListing]:
    """Every model of the registry, and the state of its weights on this disk. The network isn't asked."""
    return [_listing(entry) for entry in MODELS.values()]


def _listing(entry: ModelEntry) -> ModelListing:
    weights, config = entry.weights, entry.config
    if isinstance(config, RsaConfig):
        config = config.relative
    if isinstance(config, ZoeDepthConfig):
        config = config.network
    height, width = (config.input_size,) * 2 if isinstance(config, DepthProConfig) else config.preprocess.shape
    published = weights if isinstance(weights, WeightsSource) else None
    return ModelListing(
        name=entry.name,
        parameters=entry.parameters,
        input_size=height,
        input_width=width,
        tiles=depth_pro_tiling(config).count if isinstance(config, DepthProConfig) else 1,
        licence=entry.licence,
        licence_url=published.licence_url if published else None,
        source=_source(weights),
        download_bytes=published.size if published else None,
        state=weights_state(entry),
        note=entry.note,
        figures=entry.figures,
    )


def _source(weights: WeightsSource | ShippedWeights | ShippedParts | LocalWeights) -> str:
    if isinstance(weights, WeightsSource):
        return f"{weights.repo}, {weights.file}, {weights.size / 1e9:.1f} GB"
    if isinstance(weights, LocalWeights):
        return weights.where
    return f"in this package, {weights.size / 1e6:.0f} MB"
