"""Relative models and RSA from local files: a network's folder, a text encoder, a head; each may be random instead."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from edgedepth.core.errors import OptionError, UnsupportedError, WeightsError
from edgedepth.core.spec import ModelSpec, RelativeSpec, StageSpec
from edgedepth.models.checkpoints import weights_sha256
from edgedepth.models.clip_text import ClipText, load_clip_text
from edgedepth.models.clip_text_config import ClipTextConfig, text_encoder_stage
from edgedepth.models.registry import LocalWeights, ModelEntry, ShippedParts
from edgedepth.models.relative import RelativeDepth, Rsa, load_network
from edgedepth.models.relative_config import RelativeConfig, RsaConfig, relative_stage
from edgedepth.models.relative_random import probe_picture, random_head, random_network, random_text
from edgedepth.models.rsa_head import ScaleShiftHead, load_head
from edgedepth.models.rsa_head_config import HeadConfig, scale_shift_stage
from edgedepth.models.weights import random_seed, shipped_parts, shipped_source

__all__ = ["load_relative"]

PARTS = ("relative", "text", "head")

_MIN_DEPTH_M, _MAX_DEPTH_M = 1e-3, 80.0  # of relative models whose scale and shift a caller pins: RSA's own limits

_log = logging.getLogger("edgedepth")


def load_relative(entry: ModelEntry, weights: str | os.PathLike[str] | None) -> tuple[ModelSpec, Rsa]:
    """Build a relative model or RSA.

    Args:
        entry: of the registry, family "relative" or "rsa".
        weights: "random:SEED" for all of it; for a relative model its folder; for RSA
            "relative=FOLDER,text=PATH,head=PATH", each of them a path or random:SEED, or a folder that holds relative/,
            text.safetensors and head.safetensors; None: those in the package.

    Raises:
        OptionError: weights in another form, or a bad seed.
        WeightsError, WeightsMismatchError: a part that can't be loaded, or doesn't fit the others.
    """
    config = entry.config
    assert isinstance(config, RelativeConfig | RsaConfig)
    own = entry.weights if weights is None and isinstance(entry.weights, ShippedParts) else None
    parts = {name: str(path) for name, path in shipped_parts(own).items()} if own else _parts(entry, weights)
    if own and entry.demonstration:
        _log.warning("%s is a demonstration: %s", entry.name, entry.note)
    network = config.relative if isinstance(config, RsaConfig) else config
    relative = _network(network, parts["relative"])
    text, head = _language(config, parts) if isinstance(config, RsaConfig) else (None, None)
    module = Rsa(relative, text, head).eval()
    random = [part for part, source in parts.items() if random_seed(source) is not None]
    if random:
        _log.warning("%s is untrained: random weights for %s; its depth means nothing", entry.name, ", ".join(random))
    whole = len(random) == len(parts)
    spec = ModelSpec(
        name=entry.name,
        family=entry.family,
        kind=entry.kind,
        stages=_stages(network, text, head),
        preprocess=network.preprocess,
        tiling=None,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        licence=entry.licence if own else "Apache-2.0" if whole else "not known: weights from local files",
        source=shipped_source(own) if own else _source(parts, whole),
        weights_sha256=weights_sha256(module),
        trained=not random,
        relative=RelativeSpec(
            typical=_typical(relative, network),
            min_depth_m=config.min_depth_m if isinstance(config, RsaConfig) else _MIN_DEPTH_M,
            max_depth_m=config.max_depth_m if isinstance(config, RsaConfig) else _MAX_DEPTH_M,
            unfused_on=network.unfused_on,
        ),
    )
    return spec, module


def _parts(entry: ModelEntry, weights: str | os.PathLike[str] | None) -> dict[str, str]:
    """Where each part comes from."""
    names = PARTS if entry.family == "rsa" else PARTS[:1]
    form = "--weights " + ("relative=FOLDER,text=PATH,head=PATH" if len(names) > 1 else "FOLDER")
    if weights is None:
        assert isinstance(entry.weights, LocalWeights)
        raise WeightsError(
            f"the weights of {entry.name} are not downloaded by edgedepth: {entry.weights.where}",
            remedy=f"fetch them and pass {form}; --weights random:0 tries the tools without them",
        )
    if random_seed(weights) is not None:
        return dict.fromkeys(names, str(weights))
    if len(names) == 1:
        return {"relative": str(weights)}
    if (folder := Path(weights).expanduser()).is_dir():
        return {"relative": str(folder / "relative"), **{p: str(folder / f"{p}.safetensors") for p in ("text", "head")}}
    given = dict(pair.partition("=")[::2] for pair in str(weights).split(","))
    if set(given) != set(names) or not all(given.values()):
        raise OptionError(
            f"--weights {str(weights)!r} doesn't name the three parts of {entry.name}: {', '.join(names)}", remedy=form
        )
    return {name: given[name] for name in names}


def _source(parts: Mapping[str, str], whole: bool) -> str:
    if whole and len(set(parts.values())) == 1:
        return parts["relative"]
    return "local " + ", ".join(
        f"{part}={source if random_seed(source) is not None else Path(source).name}" for part, source in parts.items()
    )


def _network(config: RelativeConfig, source: str) -> RelativeDepth:
    seed = random_seed(source)
    if seed is not None:
        return RelativeDepth(random_network(config, seed))
    return RelativeDepth(load_network(_existing(source), config))


def _language(config: RsaConfig, parts: Mapping[str, str]) -> tuple[ClipText, ScaleShiftHead]:
    seed = random_seed(parts["text"])
    if seed is not None:
        text = random_text(config.text, seed)
    else:
        path = _existing(parts["text"])
        text = load_clip_text(path, _text_config(path, config.text))
    width = text.config.projection
    seed = random_seed(parts["head"])
    if seed is not None:
        return text, random_head(HeadConfig(text=width, scene=config.head.scene, own=config.head.own), seed)
    return text, load_head(_existing(parts["head"]), width)


def _text_config(path: Path, default: ClipTextConfig) -> ClipTextConfig:
    """The sizes that a folder's config.json tells; else those of the model."""
    file = path / "config.json"
    if not file.is_file():
        return default
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        facts = facts | facts.get("text_config", {}) | ({"projection_dim": facts["projection_dim"]})
        activation = facts.get("hidden_act", "quick_gelu")
        config = ClipTextConfig(
            width=facts["hidden_size"],
            heads=facts["num_attention_heads"],
            layers=facts["num_hidden_layers"],
            projection=facts["projection_dim"],
            context=facts.get("max_position_embeddings", default.context),
            vocabulary=facts.get("vocab_size", default.vocabulary),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{file} is not the configuration of a CLIP text encoder ({type(error).__name__}: {error})",
            remedy="name a folder of CLIPTextModelWithProjection, or OpenAI's RN50.pt",
        ) from error
    if activation != "quick_gelu":
        raise UnsupportedError(
            f"{file}: the activation is {activation}; OpenAI's CLIP, which RSA rests on, has quick_gelu",
            remedy="use OpenAI's own weights",
        )
    return config


def _stages(network: RelativeConfig, text: ClipText | None, head: ScaleShiftHead | None) -> tuple[StageSpec, ...]:
    stages = (relative_stage(network.preprocess),)
    if text is None or head is None:
        return stages
    return (*stages, text_encoder_stage(text.config), scale_shift_stage(head.config))


def _typical(relative: RelativeDepth, config: RelativeConfig) -> float:
    with torch.inference_mode():
        return float(relative(probe_picture(config.preprocess.shape)).abs().mean())


def _existing(path: str) -> Path:
    found = Path(path).expanduser()
    if not found.exists():
        raise WeightsError(f"--weights: there is no {found}", remedy="check the path")
    return found
