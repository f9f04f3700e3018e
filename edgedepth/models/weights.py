"""Which weights a model gets: the caller's file, else the shipped or downloaded one, else a download."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from edgedepth.core.errors import OptionError, WeightsError
from edgedepth.core.hashing import sha256_file
from edgedepth.core.spec import ModelSpec
from edgedepth.core.store import weights_folder
from edgedepth.models.download import download_file, partial_path
from edgedepth.models.registry import (
    MODELS,
    LocalWeights,
    ModelEntry,
    ShippedParts,
    ShippedWeights,
    WeightsSource,
)

__all__ = [
    "WeightsState",
    "cached_path",
    "find_weights",
    "random_seed",
    "shipped_baselines",
    "shipped_parts",
    "shipped_path",
    "shipped_source",
    "weights_state",
]

WeightsState = Literal["here", "partial", "damaged", "not here", "in the package", "local files"]

_RANDOM = "random:"
_MAX_SEED = 2**63 - 1

_log = logging.getLogger(__name__)


def find_weights(
    entry: ModelEntry, weights: str | os.PathLike[str] | None, *, download: bool, announce: Callable[[str], None]
) -> Path:
    """The checkpoint to load, as `load_checkpoint` takes it.

    A downloaded file got its name only after its sha256 was found right, so the name and the size are enough to
    take it; load_model hashes whatever it loads, because the hash goes into every bundle.

    Args:
        entry: the model.
        weights: a checkpoint of the caller's, file or folder; None: the published one.
        download: whether the network may be used.
        announce: told the licence before a download.

    Raises:
        WeightsError: no such file, or no weights here and no leave to download them.
        DownloadError: they can't be downloaded.
        OutputError: the disk is full or can't be written.
    """
    if weights is not None:
        return _existing(Path(weights).expanduser())
    source = entry.weights
    if isinstance(source, ShippedWeights):
        return shipped_path(source)
    assert isinstance(source, WeightsSource)
    target, state = cached_path(entry.name, source), weights_state(entry)
    if state == "here":
        return target
    if not download:
        raise WeightsError(
            f"the weights of {entry.name} are {state}: {target}; downloading is switched off", remedy=_remedy(source)
        )
    if state == "damaged":
        _log.warning("%s has not the %d bytes it should have; it is downloaded again", target, source.size)
    download_file(source, target, announce=announce, remedy=_remedy(source))
    return target


def weights_state(entry: ModelEntry) -> WeightsState:
    """Whether a model's published weights are on this disk. Asks neither the network nor the files' content."""
    if isinstance(entry.weights, ShippedWeights | ShippedParts):
        return "in the package"
    if isinstance(entry.weights, LocalWeights):
        return "local files"
    target = cached_path(entry.name, entry.weights)
    if target.is_file():
        return "here" if target.stat().st_size == entry.weights.size else "damaged"
    return "partial" if partial_path(target).is_file() else "not here"


def cached_path(name: str, source: WeightsSource) -> Path:
    """Where a download goes. Another sha256 is another folder: new weights never pass for old ones."""
    return weights_folder() / name / source.sha256[:12] / source.file


def shipped_path(source: ShippedWeights) -> Path:
    """Where a checkpoint of this package lies.

    Raises:
        WeightsError: it is not there: the package was not installed whole.
    """
    path = Path(__file__).parent / source.file
    if not path.is_file():
        raise WeightsError(f"{path} is not there: the installed package is not whole", remedy="install edgedepth again")
    return path


def shipped_parts(source: ShippedParts) -> dict[str, Path]:
    """Where an RSA model's parts lie: the network's folder, the other two's files; each with the hash it should have.

    Raises:
        WeightsError: one is not there, or damaged.
    """
    found = {}
    for name, part in source.parts.items():
        path = shipped_path(part)
        if (sha256 := sha256_file(path)) != part.sha256:
            raise WeightsError(
                f"{path} is damaged: its sha256 is {sha256} instead of {part.sha256}", remedy="install edgedepth again"
            )
        found[name] = path.parent if name == "relative" else path
    return found


def shipped_source(source: ShippedParts) -> str:
    """What a spec says of these weights."""
    return f"edgedepth's own: {source.folder}"


def shipped_baselines(spec: ModelSpec) -> Path | None:
    """The rows Global and Image of a shipped RSA model, fitted with its head; None for any other weights."""
    entry = MODELS.get(spec.name)
    if entry is None or not isinstance(entry.weights, ShippedParts) or spec.source != shipped_source(entry.weights):
        return None
    return Path(__file__).parent / entry.weights.folder / "baselines.safetensors"


def random_seed(weights: str | os.PathLike[str] | None) -> int | None:
    """The seed of random weights, or None where a file is meant.

    "random:SEED" asks for them, for any model, to try the toolchain without a checkpoint.

    Raises:
        OptionError: "random:" with something else than an integer from 0 to 2^63 - 1.
    """
    if not isinstance(weights, str) or not weights.startswith(_RANDOM):
        return None
    digits = weights.removeprefix(_RANDOM)
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and int(digits) <= _MAX_SEED):
        raise OptionError(
            f"--weights {weights!r} has no seed; an integer from 0 to {_MAX_SEED} is allowed",
            remedy="--weights random:0, or ./random:... if a file is called that",
        )
    return int(digits)


def _existing(path: Path) -> Path:
    if not path.exists():
        raise WeightsError(f"--weights {path}: there is no such file", remedy="check the path, or leave --weights out")
    return path


def _remedy(source: WeightsSource) -> str:
    return (
        f"bring {source.file} here by other means and pass --weights PATH (its licence: {source.licence_url}); "
        "--model depth-pro-mini, a demonstration, works offline"
    )
