"""The rows of `edgedepth models`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgedepth.core.plain import to_plain
from edgedepth.models.depth_pro_config import depth_pro_tiling
from edgedepth.models.registry import MODELS, ModelEntry, WeightsSource
from edgedepth.models.weights import WeightsState, weights_state

__all__ = ["ModelListing", "list_models"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelListing:
    """One model as its users see it.

    Args:
        name: what --model takes.
        parameters: how many weights it has.
        input_size: side of its square input in pixels.
        tiles: how many the pyramid is cut into.
        licence: of the weights.
        licence_url: where it can be read; None where they are shipped.
        source: where the weights come from, in words.
        download_bytes: size of the checkpoint; None where it is shipped.
        state: whether the weights are here.
        note: what a user has to know before choosing it.
    """

    name: str
    parameters: int
    input_size: int
    tiles: int
    licence: str
    licence_url: str | None
    source: str
    download_bytes: int | None
    state: WeightsState
    note: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        plain: dict[str, Any] = to_plain(self)
        return plain


def list_models() -> list[ModelListing]:
    """Every model of the registry, and the state of its weights on this disk. The network isn't asked."""
    return [_listing(entry) for entry in MODELS.values()]


def _listing(entry: ModelEntry) -> ModelListing:
    weights = entry.weights
    published = weights if isinstance(weights, WeightsSource) else None
    return ModelListing(
        name=entry.name,
        parameters=entry.parameters,
        input_size=entry.config.input_size,
        tiles=depth_pro_tiling(entry.config).count,
        licence=entry.licence,
        licence_url=published.licence_url if published else None,
        source=f"{published.repo}, {published.file}, {published.size / 1e9:.1f} GB"
        if published
        else f"in this package, {weights.size / 1e6:.0f} MB",
        download_bytes=published.size if published else None,
        state=weights_state(entry),
        note=entry.note,
    )
