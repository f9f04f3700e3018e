"""Arrays in a GPU's memory: allocated, sliced and copied as programs need them, and handed on without a copy."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import FrameError, StageError
from edgedepth.core.session import Array
from edgedepth.trt.adapter import Gpu

__all__ = ["DeviceArray", "DeviceArrays", "PinnedArray", "as_device_array", "is_device_array"]

_ITEM = 4  # bytes of a float32, the dtype of every stage's border


@dataclass(frozen=True, slots=True)
class _Flags:
    """What numpy calls an array's flags, as far as stages ask."""

    c_contiguous: bool
    writeable: bool = True
    aligned: bool = True


class _Memory:
    """An allocation that is freed along with the last array in it."""

    def __init__(self, gpu: Gpu, size: int) -> None:
        self.address = gpu.allocate(size)
        weakref.finalize(self, gpu.free, self.address)


class DeviceArray:
    """A float32 array in a GPU's memory.

    It is sliced by integers and by slices of step 1, as views. `__cuda_array_interface__` hands it to CuPy, torch and
    Numba without a copy.

    Args:
        address: of its first value.
        shape: sizes.
        strides: bytes from one value to the next along each axis; None: C-contiguous.
        owner: kept alive as long as the array is.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self, address: int, shape: tuple[int, ...], *, strides: tuple[int, ...] | None = None, owner: object = None
    ) -> None:
        self.address = address
        self.shape = shape
        self.strides = _contiguous(shape) if strides is None else strides
        self._owner = owner

    @property
    def ndim(self) -> int:
        """Axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return _ITEM * math.prod(self.shape)

    @property
    def flags(self) -> _Flags:
        """Whether it is C-contiguous; it can always be written."""
        return _Flags(self.strides == _contiguous(self.shape))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = None if self.flags.c_contiguous else self.strides
        return {"shape": self.shape, "typestr": "<f4", "data": (self.address, False), "strides": strides, "version": 3}

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | slice | tuple[int | slice, ...]) -> DeviceArray:
        """A view, as numpy's."""
        keys = key if isinstance(key, tuple) else (key,)
        if len(keys) > self.ndim:
            raise IndexError(f"{len(keys)} indices for {self.ndim} axes")
        address, shape, strides = self.address, [], []
        for axis, (size, stride) in enumerate(zip(self.shape, self.strides, strict=True)):
            part = keys[axis] if axis < len(keys) else slice(None)
            if isinstance(part, slice):
                start, stop, step = part.indices(size)
                if step != 1:
                    raise IndexError(f"device arrays are sliced with step 1; got {step}")
                shape.append(max(0, stop - start))
                strides.append(stride)
                address += start * stride
            else:
                if not -size <= part < size:
                    raise IndexError(f"index {part} is out of range for {size}")
                address += (part % size) * stride
        return DeviceArray(address, tuple(shape), strides=tuple(strides), owner=self._owner)


class PinnedArray(np.ndarray[Any, np.dtype[np.float32]]):
    """A host array that the GPU copies from and to without a detour; its slices are pinned too."""


class DeviceArrays:
    """core/arrays.Arrays on one GPU."""

    kinds: tuple[type, ...] = (np.ndarray, DeviceArray)

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def staging(self, shape: tuple[int, ...]) -> Array:
        """A pinned host array."""
        return self.gpu.pinned(_ITEM * math.prod(shape)).view(np.float32).reshape(shape).view(PinnedArray)

    def resident(self, shape: tuple[int, ...]) -> DeviceArray:
        """An array in device memory, freed along with its last view."""
        memory = _Memory(self.gpu, _ITEM * math.prod(shape))
        return DeviceArray(memory.address, shape, owner=memory)

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Copy within the device: whole runs of the last axes, a row at a time, in one call for each outer index."""
        if target.shape != source.shape:
            raise ValueError(f"can't copy {source.shape} to {target.shape}")
        for part, of in _blocks(target, source):
            rows, width = part.shape[0], _ITEM * math.prod(part.shape[1:])
            self.gpu.copy_rows(part.address, part.strides[0], of.address, of.strides[0], width=width, rows=rows)

    def fetch(self, frame: object) -> object:
        """A frame in the GPU's memory, of any dtype, as a numpy array; any other as it is."""
        return _fetched(self.gpu, frame) if is_device_array(frame) else frame


def _fetched(gpu: Gpu, frame: Any) -> npt.NDArray[Any]:
    interface: dict[str, Any] = frame.__cuda_array_interface__
    host = np.empty(tuple(interface["shape"]), np.dtype(interface["typestr"]))
    strides = interface.get("strides")
    if strides is not None and tuple(strides) != host.strides:
        raise FrameError(
            f"the frame is a {type(frame).__name__} in a GPU's memory that isn't C-contiguous",
            remedy="make it contiguous first (torch: frame.contiguous())",
        )
    gpu.synchronise(everything=True)  # whoever wrote it had a stream of its own
    gpu.download(host, int(interface["data"][0]))
    gpu.synchronise()
    return host


def as_device_array(array: object) -> DeviceArray:
    """A view of any array that has `__cuda_array_interface__`: CuPy's, torch's, Numba's.

    Raises:
        StageError: it isn't float32.
    """
    if isinstance(array, DeviceArray):
        return array
    interface: dict[str, Any] = array.__cuda_array_interface__  # type: ignore[attr-defined]
    if interface["typestr"] != "<f4":
        raise StageError(
            f"got a device array of {interface['typestr']}; float32 is expected", remedy="convert it first"
        )
    return DeviceArray(
        int(interface["data"][0]), tuple(interface["shape"]), strides=interface.get("strides"), owner=array
    )


def is_device_array(array: object) -> bool:
    """Whether an array lies in a GPU's memory."""
    return hasattr(array, "__cuda_array_interface__")


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_ITEM * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _blocks(target: DeviceArray, source: DeviceArray) -> list[tuple[DeviceArray, DeviceArray]]:
    """Pairs whose rows, all axes but the first, lie in one piece in both."""

    def whole_rows(array: DeviceArray) -> bool:
        return array.strides[1:] == _contiguous(array.shape)[1:]

    if whole_rows(target) and whole_rows(source):
        return [(target, source)]
    return [pair for index in range(len(target)) for pair in _blocks(target[index], source[index])]
