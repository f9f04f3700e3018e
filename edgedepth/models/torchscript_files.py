"""Tensors out of a TorchScript archive, without running what is in it: OpenAI publishes CLIP in this form.

The archive is a zip of a pickle, data.pkl, which tells the module's attributes, and of raw storages, data/0, data/1, …
The pickle may name the module's own classes, which become plain records here, and torch's tensors; nothing else.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgedepth.core.errors import WeightsError

__all__ = ["is_torchscript", "open_torchscript"]

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_FETCH_AGAIN = "fetch the file again, or name another with --weights"


class _Record:
    """An object of the archive; unpickling fills its __dict__."""


@dataclass(frozen=True, slots=True)
class _Storage:
    """A storage that is read when it is needed."""

    key: str
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class _Stored:
    """A tensor in a storage; sizes, strides and offset in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def is_torchscript(path: Path) -> bool:
    """Whether a zip file is a TorchScript archive: only those have constants.pkl."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # over damaged bytes zipfile raises half a dozen unrelated types; open_torch will tell
        return False


def open_torchscript(path: Path) -> tuple[dict[str, tuple[int, ...]], int, Callable[[str], Tensor]]:
    """The tensors' shapes by name, as the module's state_dict() has them, their bytes, and a function that reads one.

    Raises:
        WeightsError: a damaged archive, or one that holds more than modules and tensors.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.file_size > path.stat().st_size for entry in archive.infolist()):
                raise ValueError("it unpacks to more than it is; torch compresses the source of its modules alone")
            root = archive.namelist()[0].split("/")[0]
            module = _Unpickler(io.BytesIO(archive.read(f"{root}/data.pkl"))).load()
        tensors = dict(_tensors(module, ""))
    except Exception as error:  # a damaged pickle makes Unpickler raise almost any type
        raise WeightsError(
            f"{path} is a TorchScript archive that can't be read ({type(error).__name__}: {error}); "
            "nothing in it was run",
            remedy=_FETCH_AGAIN,
        ) from error

    def read(name: str) -> Tensor:
        stored = tensors[name]
        try:
            with zipfile.ZipFile(path) as archive:
                content = bytearray(archive.read(f"{root}/data/{stored.storage.key}"))  # checks the CRC
            flat = torch.frombuffer(content, dtype=stored.storage.dtype)
            return flat.as_strided(stored.shape, stored.stride, stored.offset)
        except (KeyError, ValueError, RuntimeError, zipfile.BadZipFile, OSError) as error:
            raise WeightsError(f"{name} in {path} can't be read: {error}", remedy=_FETCH_AGAIN) from error

    declared = sum(math.prod(stored.shape) * stored.storage.dtype.itemsize for stored in tensors.values())
    return {name: stored.shape for name, stored in tensors.items()}, declared, read


def _tensors(module: object, prefix: str) -> Iterator[tuple[str, _Stored]]:
    for name, value in vars(module).items():
        if isinstance(value, _Stored):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Record):
            yield from _tensors(value, f"{prefix}{name}.")


class _Unpickler(pickle.Unpickler):  # find_class and persistent_load admit nothing that does anything
    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return type(name, (_Record,), {})
        if module == "torch._utils" and name.startswith("_rebuild_tensor"):
            return _rebuild
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return list
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, *_ = pid
        return _Storage(str(key), dtype)


def _rebuild(storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object) -> _Stored:
    return _Stored(storage, offset, tuple(shape), tuple(stride))
