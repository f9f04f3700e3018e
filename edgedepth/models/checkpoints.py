"""Depth Pro from a checkpoint and back, and what identifies weights."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from edgedepth.core.errors import OutputError, WeightsError, WeightsMismatchError
from edgedepth.core.optional import require
from edgedepth.models.checkpoint_files import CheckpointFile, open_checkpoint
from edgedepth.models.checkpoint_names import LAYOUTS, NameLayout, best_layout
from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DepthProConfig
from edgedepth.models.precision import all_finite, cast_weight

__all__ = ["load_checkpoint", "load_into", "save_checkpoint", "weights_sha256"]

_SHOWN = 3
_OTHER_MODEL = 0.1
"""Share of our tensors' names below which a checkpoint is taken for another model's."""


def load_checkpoint(path: Path, config: DepthProConfig) -> DepthPro:
    """Load Depth Pro in fp32, in eval mode and without gradients.

    Tensors are converted one by one into a model without storage, so the peak is the fp32 size of the model
    (3.8 GB for the published one) and one tensor, beside the pages of the mapped file.

    Args:
        path: published depth_pro.pt; DepthPro-hf's safetensors, one file, an index or its folder; or what
            `save_checkpoint` wrote. Any float dtype.
        config: the sizes that the checkpoint must have.

    Raises:
        WeightsMismatchError: tensors missing, unexpected or of another shape or kind, or another model's.
        WeightsError: nothing there, not a checkpoint, damaged, values that are not finite, or a pickle that
            holds more than tensors (which is not run).
    """
    with torch.device("meta"):
        model = DepthPro(config)
    return load_into(model, Path(path), LAYOUTS, title="Depth Pro")


_M = TypeVar("_M", bound=nn.Module)


def load_into(model: _M, path: Path, layouts: tuple[NameLayout, ...], *, title: str) -> _M:
    """Give a model without storage (made on the "meta" device) its weights, as load_checkpoint does.

    Args:
        model: all of its tensors are replaced.
        path: a checkpoint, as open_checkpoint takes it.
        layouts: the ways in which the file may name them.
        title: of the model, for messages.

    Raises:
        WeightsMismatchError, WeightsError: as load_checkpoint.
    """
    file = open_checkpoint(path)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    layout, hits = best_layout(expected, file.shapes, layouts)
    if hits < _OTHER_MODEL * len(expected):
        raise _another_model(path, file, hits, len(expected), title)
    _check_tensors(path, file, layout, expected)
    for name, shape in expected.items():
        parts = [_read(path, file, source) for source in layout.sources(name)]
        weight = torch.empty(shape, dtype=torch.float32)
        for target, part in zip(weight.chunk(len(parts)), parts, strict=True):
            target.copy_(part.T if name in layout.transposed else part)
        owner, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(owner), leaf, nn.Parameter(weight, requires_grad=False))
    return model.eval()


def _read(path: Path, file: CheckpointFile, name: str) -> Tensor:
    tensor = file.read(name)
    if not tensor.is_floating_point():
        raise WeightsMismatchError(
            f"{name} in {path} is {tensor.dtype}; a float dtype is meant",
            remedy="use a checkpoint that is not quantised",
        )
    if not all_finite(tensor):
        raise WeightsError(f"{name} in {path} holds NaN or infinity", remedy="fetch the checkpoint again")
    return tensor


def _another_model(path: Path, file: CheckpointFile, hits: int, wanted: int, title: str) -> WeightsMismatchError:
    return WeightsMismatchError(
        f"{path} is a checkpoint of another model: it has {hits} of {title}'s {wanted} tensors; "
        f"its own are {_listed(file.shapes)}",
        remedy=f"name a {title} checkpoint with --weights, or the right --model",
    )


def _check_tensors(
    path: Path, file: CheckpointFile, layout: NameLayout, expected: Mapping[str, tuple[int, ...]]
) -> None:
    """Compare names and shapes, all of them, so that one message tells everything."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in expected.items():
        sources = layout.sources(name)
        stored = shape[::-1] if name in layout.transposed else (shape[0] // len(sources), *shape[1:])
        shapes.update(dict.fromkeys(sources, stored))
    missing = [name for name in shapes if name not in file.shapes]
    unexpected = [n for n in file.shapes if n not in shapes and not re.fullmatch(layout.ignored, n)]
    wrong = [
        f"{name} (expected {shape}, got {file.shapes[name]})"
        for name, shape in shapes.items()
        if name in file.shapes and file.shapes[name] != shape
    ]
    counts = (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
    problems = [f"{len(names)} {kind}: {_listed(names)}" for kind, names in counts if names]
    if problems:
        raise WeightsMismatchError(
            f"{path} ({layout.title} names) doesn't fit the model; tensors " + "; ".join(problems),
            remedy="name a checkpoint of this very model with --weights, or the --model that it belongs to",
        )


def _listed(names: Collection[str]) -> str:
    return ", ".join(list(names)[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")


def save_checkpoint(model: nn.Module, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a model's weights as safetensors under their own names; the file appears whole or not at all.

    Raises:
        OutputError: the place can't be written, or the disk is full.
        UnsupportedError: a weight is beyond the dtype's range.
    """
    path = Path(path)
    safetensors = require("safetensors", extra="export", purpose="to write checkpoints")
    save_file: Callable[..., None] = require(
        "safetensors.torch", extra="export", purpose="to write checkpoints"
    ).save_file
    tensors = {name: cast_weight(name, t, dtype).contiguous() for name, t in model.state_dict().items()}
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, unfinished, metadata={"format": "pt"})
        unfinished.replace(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise OutputError(f"{path} can't be written: {error}", remedy="free space or choose another path") from error
    finally:
        if unfinished.exists():
            unfinished.unlink()


def weights_sha256(model: nn.Module) -> str:
    """Hex SHA-256 that identifies weights without a file: of names, dtypes, shapes and bytes, by sorted name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
