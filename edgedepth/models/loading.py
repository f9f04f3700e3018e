"""From a model's name to the eager fp32 reference with its weights, and to the spec that bundles carry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgedepth.core.errors import OptionError
from edgedepth.core.spec import ModelSpec
from edgedepth.models.registry import ModelEntry, model_entry

if TYPE_CHECKING:
    from edgedepth.models.depth_pro import DepthPro

__all__ = ["LoadedModel", "load_model"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model with its weights.

    Args:
        entry: the registry's row.
        spec: what bundles carry.
        module: the eager fp32 reference, in eval mode. Nobody may change it: parity is measured against it.
    """

    entry: ModelEntry
    spec: ModelSpec
    module: DepthPro


def load_model(name: str, *, weights: str | Path | None = None) -> LoadedModel:
    """STUB, being written."""
    raise OptionError("not written", remedy="write it")
