"""Rows of RSA's tables that have to be fitted: one scale for all pictures, and one read off each picture.

Source: RSA (arXiv 2410.02924), section 4: "Global" and "Image". The picture's features are ours, a thumbnail of
picture and relative depth: the networks of a bundle need not give theirs away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from edgedepth.core.errors import WeightsMismatchError
from edgedepth.core.files import write_file
from edgedepth.core.optional import require
from edgedepth.core.progress import Progress, silent
from edgedepth.models.checkpoint_files import open_checkpoint
from edgedepth.models.rsa_head import ScaleShiftHead
from edgedepth.models.rsa_head_config import HeadConfig
from edgedepth.training.head_fitting import FitPairs, FitSettings, fit_head, kept_back, loss_of

__all__ = ["RsaBaselines", "fit_baselines", "load_baselines", "save_baselines"]

_SCENE, _OWN = (64, 32), (16, 1)
_STEPS = 600
_PIXELS = 256  # of each picture: plenty for two numbers
_RATE = 0.03


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RsaBaselines:
    """What was fitted to the same pictures as a head.

    Args:
        scale: of all pictures, in 1/m per unit of the network.
        shift: of all pictures, in 1/m.
        mean: (F,) of the pictures' descriptors.
        std: (F,) of them.
        head: reads a normalised descriptor.
    """

    scale: float
    shift: float
    mean: Tensor
    std: Tensor
    head: ScaleShiftHead

    def of_picture(self, descriptor: Tensor | npt.NDArray[np.floating]) -> tuple[float, float]:
        """Scale and shift that the picture's own head gives for its (F,) descriptor."""
        with torch.inference_mode():
            scale, shift = self.head(((torch.as_tensor(descriptor) - self.mean) / self.std)[None])
        return float(scale), float(shift)


def fit_baselines(
    pairs: FitPairs,
    descriptors: Tensor | npt.NDArray[np.floating],
    settings: FitSettings,
    *,
    progress: Progress = silent,
) -> RsaBaselines:
    """Fit both with the head's own loss.

    Args:
        pairs: as of fit_head; the captions in it are not looked at.
        descriptors: (N, F) of the pictures.
        settings: as of fit_head. The picture's head learns at ten times the rate: it starts from raw numbers.
        progress: is told each epoch.
    """
    train, _ = kept_back(len(pairs), settings)
    descriptors = torch.as_tensor(descriptors)
    scale, shift = _fit_global(pairs, train, settings)
    mean, std = descriptors[train].mean(0), descriptors[train].std(0, correction=0) + 1e-3
    seen = replace(pairs, features=(descriptors - mean) / std, owners=torch.arange(len(pairs)))
    rates = replace(settings, first_lr=max(settings.first_lr, 3e-4), last_lr=max(settings.last_lr, 3e-5))
    config = HeadConfig(text=descriptors.shape[1], scene=_SCENE, own=_OWN)
    fitted = fit_head(seen, config, rates, phase="image", progress=progress)
    return RsaBaselines(scale=scale, shift=shift, mean=mean, std=std, head=fitted.head)


def _fit_global(pairs: FitPairs, train: Tensor, settings: FitSettings) -> tuple[float, float]:
    """One scale and shift, by Adam on their logarithms; both begin with half of the truth's median inverse depth."""
    relative, true = pairs.relative[train, :_PIXELS], pairs.depth_m[train, :_PIXELS]
    typical = (1 / true).median()
    start = torch.stack((typical / 2 / relative.mean().clamp(min=1e-6), typical / 2)).log()
    logarithms = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([logarithms], lr=_RATE)
    for step in range(_STEPS):
        optimizer.param_groups[0]["lr"] = _RATE * (1 - step / _STEPS)
        optimizer.zero_grad(set_to_none=True)
        scale, shift = logarithms.exp()
        torch.autograd.backward(loss_of(scale, shift, relative, true, settings))
        optimizer.step()
    scale, shift = logarithms.detach().exp().tolist()
    return scale, shift


def save_baselines(baselines: RsaBaselines, path: Path) -> None:
    """Keep them as safetensors.

    Raises:
        OutputError: a full disk.
    """
    safetensors = require("safetensors.torch", extra="train", purpose="keep weights")
    tensors = {
        "global": torch.tensor((baselines.scale, baselines.shift)),
        "mean": baselines.mean,
        "std": baselines.std,
        **{f"image.{name}": tensor.contiguous() for name, tensor in baselines.head.state_dict().items()},
    }
    write_file(path, safetensors.save(tensors))


def load_baselines(path: Path) -> RsaBaselines:
    """What save_baselines kept.

    Raises:
        WeightsMismatchError: the file holds something else.
        WeightsError: nothing there, or damaged.
    """
    file = open_checkpoint(path)
    tensors = {name: file.read(name).float() for name in file.shapes}
    try:
        head = ScaleShiftHead(HeadConfig(text=len(tensors["mean"]), scene=_SCENE, own=_OWN))
        head.load_state_dict({name.removeprefix("image."): t for name, t in tensors.items() if "image." in name})
        scale, shift = tensors["global"].tolist()
        mean, std = tensors["mean"], tensors["std"]
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsMismatchError(
            f"{path} holds no baselines: {' '.join(str(error).split())[:120]}",
            remedy="name the folder that 'edgedepth rsa fit' wrote",
        ) from error
    return RsaBaselines(scale=scale, shift=shift, mean=mean, std=std, head=head.eval().requires_grad_(False))
