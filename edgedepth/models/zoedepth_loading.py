"""ZoeDepth from a local folder in Hugging Face's layout, or on random weights."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from edgedepth.core.errors import UnsupportedError, WeightsError
from edgedepth.core.spec import ModelSpec
from edgedepth.models.checkpoints import weights_sha256
from edgedepth.models.registry import LocalWeights, ModelEntry
from edgedepth.models.relative import load_network
from edgedepth.models.relative_random import random_zoedepth
from edgedepth.models.weights import random_seed
from edgedepth.models.zoedepth import ZoeDepth
from edgedepth.models.zoedepth_config import DEFAULT_FRAME, InputRule, ZoeDepthConfig, metric_depth_stage

__all__ = ["load_zoedepth", "read_input_rule"]

_log = logging.getLogger("edgedepth")

_REFLECT = 3.0  # of ZoeDepth's image processor, which has it in its code
_BILINEAR = 2  # PIL's number of it


def load_zoedepth(
    entry: ModelEntry, weights: str | os.PathLike[str] | None, frame: tuple[int, int] | None = None
) -> tuple[ModelSpec, ZoeDepth]:
    """Build ZoeDepth.

    Args:
        entry: of the registry, family "zoedepth".
        weights: "random:SEED", or a folder: config.json, model.safetensors and preprocessor_config.json, which decide
            over sizes and pre-processing.
        frame: height and width of the frames that it shall see, which decide the input's size; None: 4:3.

    Raises:
        WeightsError, WeightsMismatchError: a folder that can't be loaded, or holds another architecture.
        UnsupportedError: a pre-processing that can't be had.
    """
    config = entry.config
    assert isinstance(config, ZoeDepthConfig)
    seed = random_seed(weights)
    if weights is None:
        assert isinstance(entry.weights, LocalWeights)
        raise WeightsError(
            f"the weights of {entry.name} are not downloaded by edgedepth: {entry.weights.where}",
            remedy="fetch them and pass --weights FOLDER; --weights random:0 tries the tools without them",
        )
    if seed is not None:
        rule, module = config.rule, ZoeDepth(random_zoedepth(config.network, seed))
        _log.warning("%s is untrained: random weights, seed %d; its depth means nothing", entry.name, seed)
    else:
        folder = Path(weights).expanduser()
        if not folder.exists():
            raise WeightsError(f"--weights: there is no {folder}", remedy="check the path")
        rule, module = read_input_rule(folder, config.rule), ZoeDepth(load_network(folder, config.network))
    preprocess = rule.preprocess(frame or DEFAULT_FRAME)
    spec = ModelSpec(
        name=entry.name,
        family=entry.family,
        kind=entry.kind,
        stages=(metric_depth_stage(preprocess),),
        preprocess=preprocess,
        tiling=None,
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        licence="not known: weights from local files" if seed is None else "Apache-2.0",
        source=f"local {Path(weights).name}" if seed is None else str(weights),
        weights_sha256=weights_sha256(module),
        trained=seed is None,
    )
    return spec, module.eval()


def read_input_rule(folder: Path, published: InputRule) -> InputRule:
    """The pre-processing that a folder's preprocessor_config.json tells; without one the published.

    Raises:
        WeightsError: it can't be read.
        UnsupportedError: it asks for something that can't be had.
    """
    file = folder / "preprocessor_config.json"
    if not file.is_file():
        return published
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
        size = facts.get("size", {"height": published.height, "width": published.width})
        rule = InputRule(
            height=int(size["height"]),
            width=int(size["width"]),
            multiple=_multiple(facts.get("ensure_multiple_of", published.multiple)),
            keep_aspect=bool(facts.get("keep_aspect_ratio", published.keep_aspect)),
            reflect=_REFLECT if facts.get("do_pad", True) else 0.0,
            mean=_colours(facts.get("image_mean", published.mean)),
            std=_colours(facts.get("image_std", published.std)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{file} is not the configuration of an image processor ({type(error).__name__}: {error})",
            remedy="fetch the checkpoint again, or take the file away for the published pre-processing",
        ) from error
    for option, needed in (("resample", _BILINEAR), ("do_resize", True), ("do_rescale", True), ("do_normalize", True)):
        if facts.get(option, needed) != needed:
            raise UnsupportedError(
                f"{file} asks for {option}={facts[option]}; this version has {option}={needed} alone",
                remedy="export with the published pre-processing: take the file away",
            )
    return rule


def _multiple(value: Any) -> int:
    """A multiple of pixels. transformers' own default became 1/32 at some time, which is none: 32 is meant."""
    if isinstance(value, float) and 0 < value < 1:
        return round(1 / value)
    if isinstance(value, bool) or int(value) != value or value < 1:
        raise ValueError(f"ensure_multiple_of is {value!r}")
    return int(value)


def _colours(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
