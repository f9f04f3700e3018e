"""Networks of relative depth, by transformers' classes, and RSA: such a network, a text encoder and a head.

The network's output is left as it is. RSA's heads were fitted to raw numbers: normalised ones make them wrong.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgedepth.core.errors import EdgeDepthError, UnsupportedError, WeightsError, WeightsMismatchError
from edgedepth.core.optional import require
from edgedepth.models.clip_text import ClipText
from edgedepth.models.relative_config import RelativeConfig
from edgedepth.models.rsa_head import ScaleShiftHead

__all__ = ["RelativeDepth", "Rsa", "build_network", "load_network"]

_FOLDER = "name a folder as transformers writes it: config.json and model.safetensors"


class RelativeDepth(nn.Module):
    """Any of transformers' depth estimators as one function of tensors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Raw inverse depth up to scale and shift, (1, 1, H, W) float32, of a normalised (1, 3, H, W)."""
        dtype = next(self.network.parameters()).dtype
        relative: Tensor = self.network(pixel_values=image.to(dtype)).predicted_depth
        return relative[:, None].float()


class Rsa(nn.Module):
    """The eager reference of a relative model, or of RSA: then with text encoder and head."""

    def __init__(
        self, relative: RelativeDepth, text: ClipText | None = None, head: ScaleShiftHead | None = None
    ) -> None:
        super().__init__()
        self.relative = relative
        self.text = text
        self.head = head


def build_network(config: RelativeConfig) -> nn.Module:
    """A network of these sizes, in eval mode, with whatever weights transformers starts from."""
    transformers = _transformers()
    options = copy.deepcopy(dict(config.options))  # transformers changes what it is given
    network: nn.Module = transformers.AutoModelForDepthEstimation.from_config(
        transformers.AutoConfig.for_model(config.model_type, **options)
    )
    return network.eval().requires_grad_(False)


def load_network(folder: Path, config: RelativeConfig) -> nn.Module:
    """A network from a local folder in Hugging Face's layout, of the sizes that its own config.json tells.

    Raises:
        WeightsError: no such folder, or one that can't be read.
        WeightsMismatchError: another architecture, or tensors missing.
        UnsupportedError: a network whose output is not raw relative depth.
    """
    transformers = _transformers()
    transformers.utils.logging.disable_progress_bar()
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json: it is no checkpoint in Hugging Face's layout", remedy=_FOLDER)
    try:
        found = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        _check_config(folder, found, config)
        network, info = transformers.AutoModelForDepthEstimation.from_pretrained(
            folder, config=found, local_files_only=True, output_loading_info=True, dtype=torch.float32
        )
    except EdgeDepthError:
        raise
    except Exception as error:  # damaged files make transformers raise OSError, ValueError, SafetensorError and more
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{folder} can't be loaded: {reason}", remedy=_FOLDER) from error
    if missing := sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"])):
        raise WeightsMismatchError(
            f"{folder} lacks {len(missing)} tensors of its own configuration: {', '.join(missing[:3])}",
            remedy="fetch the checkpoint again",
        )
    loaded: nn.Module = network
    return loaded.eval().requires_grad_(False)


def _check_config(folder: Path, found: Any, config: RelativeConfig) -> None:
    if found.model_type != config.model_type:
        raise WeightsMismatchError(
            f"{folder} is a {found.model_type}; this model is a {config.model_type}",
            remedy="edgedepth models lists the models; name the --model that the checkpoint belongs to",
        )
    if getattr(found, "depth_estimation_type", "relative") != "relative":
        raise UnsupportedError(
            f"{folder} gives {found.depth_estimation_type} depth, through a sigmoid and times {found.max_depth} m: its "
            "numbers are not raw relative depth, and scale and shift would be wrong for them",
            remedy="use a relative checkpoint: one without 'Metric' in its name",
        )


def _transformers() -> Any:
    return require("transformers", extra="rsa", purpose="to load networks of relative depth")
