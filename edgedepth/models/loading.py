"""From a model's name to the eager fp32 reference with its weights, and to the spec that bundles carry."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgedepth.core.errors import WeightsError
from edgedepth.core.hashing import sha256_file
from edgedepth.core.optional import require
from edgedepth.core.spec import ModelSpec
from edgedepth.models.depth_pro_config import DepthProConfig, depth_pro_preprocess, depth_pro_stages, depth_pro_tiling
from edgedepth.models.registry import ModelEntry, ShippedWeights, WeightsSource, model_entry
from edgedepth.models.weights import cached_path, find_weights, random_seed, shipped_path

if TYPE_CHECKING:
    from edgedepth.models.depth_pro import DepthPro
    from edgedepth.models.relative import Rsa
    from edgedepth.models.zoedepth import ZoeDepth

__all__ = ["LoadedModel", "load_model"]

_log = logging.getLogger(__name__)


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
    module: DepthPro | Rsa | ZoeDepth


def load_model(
    name: str,
    weights: str | os.PathLike[str] | None = None,
    *,
    frame: tuple[int, int] | None = None,
    download: bool = True,
    announce: Callable[[str], None] = _log.warning,
) -> LoadedModel:
    """Build a model and give it its weights.

    Args:
        name: a name of the registry, "depth-pro".
        weights: a checkpoint file or folder; "random:SEED" for random weights; for RSA
            "relative=FOLDER,text=PATH,head=PATH"; None: the shipped or published ones, downloaded if they are not
            here yet.
        frame: height and width of the frames that it shall see, for models whose input follows them (ZoeDepth).
        download: whether the network may be used.
        announce: told the licence before a download. By default the log's warnings, which are seen unconfigured.

    Raises:
        OptionError: an unknown name or a bad seed.
        WeightsError: a checkpoint that can't be found, downloaded or read, or is another model's.
        OutputError: no space for a download.
        MissingExtraError: torch is not installed.
    """
    entry = model_entry(name)
    seed = random_seed(weights)
    require("torch", extra="export", purpose="to load the reference model")
    if entry.family == "zoedepth":
        from edgedepth.models.zoedepth_loading import load_zoedepth

        return LoadedModel(entry, *load_zoedepth(entry, weights, frame))
    if entry.family != "depth-pro":
        from edgedepth.models.relative_loading import load_relative

        return LoadedModel(entry, *load_relative(entry, weights))
    if seed is not None:
        return _random(entry, seed)
    return _from_file(entry, find_weights(entry, weights, download=download, announce=announce))


def _random(entry: ModelEntry, seed: int) -> LoadedModel:
    from edgedepth.models.checkpoints import weights_sha256
    from edgedepth.models.random_init import random_depth_pro

    config = _depth_pro_config(entry)

    _log.warning("%s is untrained: random weights, seed %d; its depth means nothing", entry.name, seed)
    module = random_depth_pro(config, seed)
    # Random numbers are nobody's work: the licence of a model's published weights does not bind them.
    spec = _spec(
        entry,
        module,
        licence="Apache-2.0",
        source=f"random:{seed}",
        weights_sha256=weights_sha256(module),
        trained=False,
    )
    return LoadedModel(entry, spec, module)


def _from_file(entry: ModelEntry, path: Path) -> LoadedModel:
    from edgedepth.models.checkpoints import load_checkpoint, weights_sha256

    sha256 = _file_sha256(path)
    source = entry.weights
    assert isinstance(source, WeightsSource | ShippedWeights)
    published = sha256 == source.sha256
    if isinstance(source, ShippedWeights):
        home, remedy = shipped_path(source), "install edgedepth again"
    else:
        home, remedy = cached_path(entry.name, source), "delete it and run this again: it is downloaded anew"
    if not published and path == home:
        raise WeightsError(f"{path} is damaged: its sha256 is {sha256} instead of {source.sha256}", remedy=remedy)
    if entry.demonstration:
        _log.warning("%s is a demonstration: %s", entry.name, entry.note)
    module = load_checkpoint(path, _depth_pro_config(entry))
    spec = _spec(
        entry,
        module,
        licence=entry.licence if published else "not known: weights from a local file",
        source=_source(source) if published else f"local {path.name}",
        weights_sha256=sha256 or weights_sha256(module),
        trained=True,
    )
    return LoadedModel(entry, spec, module)


def _depth_pro_config(entry: ModelEntry) -> DepthProConfig:
    assert isinstance(entry.config, DepthProConfig)
    return entry.config


def _source(weights: WeightsSource | ShippedWeights) -> str:
    if isinstance(weights, ShippedWeights):
        return f"edgedepth's own: {weights.file}"
    return f"{weights.repo}@{weights.revision}: {weights.file}"


def _file_sha256(path: Path) -> str | None:
    """The hash that names the weights; None where they are in several files: a folder, or an index of shards."""
    if path.is_dir() or path.suffix == ".json":
        return None
    try:
        return sha256_file(path)
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror}", remedy="check its permissions") from error


def _spec(
    entry: ModelEntry, module: DepthPro, *, licence: str, source: str, weights_sha256: str, trained: bool
) -> ModelSpec:
    config = _depth_pro_config(entry)
    return ModelSpec(
        name=entry.name,
        family=entry.family,
        kind=entry.kind,
        stages=depth_pro_stages(config),
        preprocess=depth_pro_preprocess(config),
        tiling=depth_pro_tiling(config),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        licence=licence,
        source=source,
        weights_sha256=weights_sha256,
        trained=trained,
    )
