"""Opening checkpoint files: what kind a file is, and its tensors by name. Knows no model.

The kind is told by content, never by the extension. Pickles are read with `weights_only=True`: nothing in them
is run. Tensors stay in the file, mapped into memory, until they are read.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgedepth.core.errors import WeightsError
from edgedepth.core.optional import require
from edgedepth.core.reading import check_plain
from edgedepth.models.torchscript_files import is_torchscript, open_torchscript

__all__ = ["CheckpointFile", "open_checkpoint"]

FOLDER_ENTRIES = ("model.safetensors.index.json", "model.safetensors", "depth_pro.pt", "pytorch_model.bin")
"""What a folder is searched for, in this order."""

_MAX_HEADER_BYTES = 100_000_000  # of a safetensors file, by its specification
_MAX_INDEX_BYTES = 10_000_000
_FETCH_AGAIN = "fetch the file again, or name another with --weights"


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """The tensors of an opened checkpoint.

    Args:
        shapes: by name.
        read: gives one tensor by name, in the file's dtype. It may be mapped from the file: copy it.
        extras: what stands beside the tensors: of a trainer's checkpoint, its step and its figures.
    """

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    extras: Mapping[str, Any] = field(default_factory=dict)


def open_checkpoint(path: Path, *, index: bool = True) -> CheckpointFile:
    """Open a checkpoint: a torch file, a safetensors file, an index of shards, or a folder that holds one.

    Args:
        path: of it.
        index: whether it may be an index; a shard may not.

    Raises:
        WeightsError: nothing there, not a checkpoint, damaged, or a pickle that is more than tensors.
    """
    if path.is_dir():
        path = _entry(path)
    try:
        size = check_plain(path).st_size
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError:
        raise WeightsError(f"there is no checkpoint at {path}", remedy="check the path of --weights") from None
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror}", remedy="check its permissions") from error
    if head[:4] == b"PK\x03\x04":
        if is_torchscript(path):
            shapes, declared, read = open_torchscript(path)
            _check_declared(path, declared)
            return CheckpointFile(shapes, read)
        return _open_torch(path, mapped=True)
    # before the pickle: the length that a safetensors file begins with may look like a pickle's first bytes
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MAX_HEADER_BYTES:
        return _open_safetensors(path)
    if head[:1] == b"\x80":
        return _open_torch(path, mapped=False)
    if index and head.lstrip()[:1] == b"{" and size <= _MAX_INDEX_BYTES:
        return _open_index(path)
    raise _not_a_checkpoint(path, head)


def _entry(folder: Path) -> Path:
    for name in FOLDER_ENTRIES:
        if (folder / name).exists():
            return folder / name
    raise WeightsError(
        f"the folder {folder} holds no checkpoint: none of {', '.join(FOLDER_ENTRIES)}",
        remedy="name the file itself with --weights",
    )


def _not_a_checkpoint(path: Path, head: bytes) -> WeightsError:
    if not head:
        return WeightsError(f"{path} is empty", remedy=_FETCH_AGAIN)
    if head.startswith(b"version https://git-lfs"):
        return WeightsError(
            f"{path} is a Git LFS pointer, not the checkpoint itself", remedy="git lfs pull, then try again"
        )
    return WeightsError(
        f"{path} is not a checkpoint: it begins with {head[:16]!r}; a torch .pt or a safetensors file is meant",
        remedy=_FETCH_AGAIN,
    )


def _open_torch(path: Path, *, mapped: bool) -> CheckpointFile:
    try:
        content = _torch_load(path, mapped=mapped)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is a pickle that holds more than tensors, or is damaged; nothing in it was run",
            remedy="use a file of plain tensors: the published depth_pro.pt, or safetensors",
        ) from error
    except Exception as error:  # damaged files make torch.load raise half a dozen unrelated types
        raise WeightsError(
            f"{path} is a damaged or truncated torch file ({type(error).__name__})", remedy=_FETCH_AGAIN
        ) from error
    extras: dict[str, Any] = {}
    if isinstance(content, dict) and isinstance(content.get("model"), dict):  # a trainer's: {"model": ..., "step": ...}
        extras = {str(name): value for name, value in content.items() if name != "model"}
        content = content["model"]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        inside = (
            f"a dict of {', '.join(map(str, list(content)[:3]))}, …" if isinstance(content, dict) else type(content)
        )
        raise WeightsError(
            f"{path} holds {inside}; a dict of tensors by name (a state_dict) is meant",
            remedy="save the model's state_dict() alone",
        )
    if odd := [str(name) for name, tensor in content.items() if not _is_plain(tensor)]:
        raise WeightsError(
            f"{odd[0]} in {path} is sparse, quantised, or without data; plain tensors are meant",
            remedy="save the model's state_dict() of plain tensors",
        )
    _check_declared(path, sum(tensor.numel() * tensor.element_size() for tensor in content.values()))
    tensors = {str(name): tensor for name, tensor in content.items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return CheckpointFile(shapes, tensors.__getitem__, extras)


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized


def _check_declared(path: Path, declared: int) -> None:
    """Refuse a file whose tensors are larger than it: one number that is told to stand everywhere, or shared ones.

    Weights that are tied share their numbers too, but never all of them.
    """
    held = path.stat().st_size
    if declared > 2 * held:
        raise WeightsError(
            f"{path} has {held} bytes and declares tensors of {declared}", remedy="save copies: tensor.clone()"
        )


def _torch_load(path: Path, *, mapped: bool) -> Any:
    if mapped and path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    # torch goes by this extension, too, when it is given a path; and only paths can be mapped
    with path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=True)


def _open_safetensors(path: Path) -> CheckpointFile:
    safetensors = require("safetensors", extra="export", purpose="to read safetensors checkpoints")

    def read(name: str) -> Tensor:
        # Opened anew each time: the mapping, and with it the pages that were read, goes with its last tensor.
        with safetensors.safe_open(path, framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
            return tensor

    try:
        with safetensors.safe_open(path, framework="pt") as file:
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is a damaged or truncated safetensors file ({error})", remedy=_FETCH_AGAIN
        ) from error
    return CheckpointFile(shapes, read)


def _open_index(path: Path) -> CheckpointFile:
    """Open the shards that an index names, as Hugging Face writes them beside it."""
    try:
        weight_map: dict[str, str] = json.loads(path.read_bytes())["weight_map"]
        names = {str(Path(file).name) for file in weight_map.values()}
        if names != set(weight_map.values()):
            raise ValueError("a shard outside the index's folder")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is not an index of shards ({error})", remedy=_FETCH_AGAIN) from error
    shards = {name: open_checkpoint(path.parent / name, index=False) for name in sorted(names)}
    absent = [name for name, file in weight_map.items() if name not in shards[file].shapes]
    if absent:
        raise WeightsError(
            f"{len(absent)} tensors that {path} names are not in its shards, {absent[0]} the first",
            remedy=_FETCH_AGAIN,
        )
    return CheckpointFile(
        {name: shards[file].shapes[name] for name, file in weight_map.items()},
        lambda name: shards[weight_map[name]].read(name),
    )
