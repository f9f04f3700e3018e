"""RSA's head: a caption's features to the scale and the shift of inverse depth.

Source: RSA (arXiv 2410.02924), section 3, and its published code. Both are exponentials, so both are positive, and
depth = 1 / (scale * relative + shift). Two layouts are published: three linear layers everywhere, which the released
heads have, and five.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from edgedepth.core.errors import WeightsMismatchError
from edgedepth.models.checkpoint_files import CheckpointFile, open_checkpoint
from edgedepth.models.checkpoint_names import NameLayout
from edgedepth.models.checkpoints import load_into
from edgedepth.models.precision import Fp32Linear
from edgedepth.models.rsa_head_config import HeadConfig

__all__ = ["FIGURES", "ScaleShiftHead", "head_figures", "load_head"]

FIGURES = ("silog", "abs_rel", "log10", "rmse", "sq_rel", "log_rmse", "delta1", "delta2", "delta3")
"""What the nine numbers in a released head are, in their order."""

_LAYOUTS = (NameLayout("RSA's", lambda name: (name,), ignored=r"(?!)"),)


class ScaleShiftHead(nn.Module):
    """Features to scale and shift. An error of the logarithm is one of all metres, so the reference is float64.

    Exported it is float32 at every precision (`in_float32`), which not every runtime goes beyond.
    """

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        self.scene_feat_net = _layers(config.text, config.scene)
        self.scale_net = _layers(config.scene[-1], config.own)
        self.shift_net = _layers(config.scene[-1], config.own)

    def forward(self, text_features: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift, each (N, 1) in 1/m (per unit of the relative model), from (N, text)."""
        scene = _in_float64(self.scene_feat_net, text_features.double())
        scale, shift = (torch.exp(_in_float64(net, scene)) for net in (self.scale_net, self.shift_net))
        return scale.float(), shift.float()

    def in_float32(self, text_features: Tensor) -> tuple[Tensor, Tensor]:
        """The same as artefacts compute it: 1e-6 off, relatively."""
        scene = self.scene_feat_net(text_features)
        return torch.exp(self.scale_net(scene)), torch.exp(self.shift_net(scene))


def _layers(inputs: int, widths: Sequence[int]) -> nn.Sequential:
    """Linear layers with LeakyReLU(0.01) between them, and none after the last."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [Fp32Linear(inputs, width), nn.LeakyReLU(0.01)]
        inputs = width
    return nn.Sequential(*layers[:-1])


def _in_float64(net: nn.Sequential, values: Tensor) -> Tensor:
    for layer in net:
        if isinstance(layer, nn.Linear):
            values = nn.functional.linear(values, layer.weight.double(), layer.bias.double())
        else:
            values = layer(values)
    return values


def load_head(path: Path, text: int | None = None) -> ScaleShiftHead:
    """A head of either layout, or of any widths, in eval mode and without gradients.

    Args:
        path: a released head, or a state_dict; torch file or safetensors.
        text: channels of the features that it will get; None: whatever it takes.

    Raises:
        WeightsMismatchError: not a head, or one for features of another width.
        WeightsError: nothing there, or damaged.
    """
    file = open_checkpoint(path)
    config = _config_of(file, path)
    if text is not None and config.text != text:
        raise WeightsMismatchError(
            f"{path} is a head for text features of {config.text} channels; this text encoder gives {text}",
            remedy="the released heads belong to CLIP RN50's text encoder, which gives 1024",
        )
    with torch.device("meta"):
        model = ScaleShiftHead(config)
    return load_into(model, path, _LAYOUTS, title="an RSA head")


def head_figures(path: Path) -> dict[str, dict[str, float]]:
    """What a released head says of itself: the best figures on each data set, by data set and name; else nothing.

    Raises:
        WeightsError: nothing there, or damaged.
    """
    found = {}
    for key, value in open_checkpoint(path).extras.items():
        if (match := re.fullmatch(r"best_eval_measures_(\w+)", key)) and len(value) == len(FIGURES):
            found[match[1]] = dict(zip(FIGURES, map(float, value), strict=True))
    return found


def _config_of(file: CheckpointFile, path: Path) -> HeadConfig:
    """The widths, read off the weights' shapes."""
    nets = {net: _shapes_of(file, net) for net in ("scene_feat_net", "scale_net", "shift_net")}
    if not all(nets.values()) or any(shape is None for shapes in nets.values() for shape in shapes):
        raise WeightsMismatchError(
            f"{path} is not an RSA head: it has no linear layers scene_feat_net, scale_net and shift_net",
            remedy="name a head, such as the released da_lanscale",
        )
    scene, own = ([shape[0] for shape in nets[net]] for net in ("scene_feat_net", "scale_net"))
    return HeadConfig(text=nets["scene_feat_net"][0][1], scene=tuple(scene), own=tuple(own))


def _shapes_of(file: CheckpointFile, net: str) -> list[tuple[int, ...]]:
    numbers = sorted(
        int(match[1]) for name in file.shapes if (match := re.fullmatch(rf"{net}\.(\d+)\.weight", name)) is not None
    )
    return [file.shapes[f"{net}.{number}.weight"] for number in numbers]
