"""Arrays in a GPU's memory: allocated, sliced and copied as programs need them, and handed on without a copy."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedepth.core.arrays import Parcel
from edgedepth.core.errors import StageError
from edgedepth.core.session import Array
from edgedepth.trt.adapter import Gpu
from edgedepth.trt.foreign import borrow, fetch_frame

__all__ = ["DeviceArray", "DeviceArrays", "as_device_array"]

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
    Numba without a copy, with the stream that it is written in.

    Args:
        address: of its first value.
        shape: sizes.
        strides: bytes from one value to the next along each axis; None: C-contiguous.
        owner: kept alive as long as the array is.
        stream: CUDA's handle of the stream in which it is written; None: nothing has to be waited for.
    """

    dtype = np.dtype(np.float32)

    def __init__(
        self,
        address: int,
        shape: tuple[int, ...],
        *,
        strides: tuple[int, ...] | None = None,
        owner: object = None,
        stream: int | None = None,
    ) -> None:
        self.address = address
        self.shape = shape
        self.strides = _contiguous(shape) if strides is None else strides
        self._owner = owner
        self._stream = stream

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
        return {
            "shape": self.shape,
            "typestr": "<f4",
            "data": (self.address, False),
            "strides": strides,
            "stream": self._stream,
            "version": 3,
        }

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
        return DeviceArray(address, tuple(shape), strides=tuple(strides), owner=self._owner, stream=self._stream)


class DeviceArrays:
    """core/arrays.Arrays on one GPU."""

    kinds: tuple[type, ...] = (np.ndarray, DeviceArray)

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu

    def parcel(self, shapes: Sequence[tuple[int, ...]]) -> Parcel:
        """Pinned host arrays and their place in device memory, in one piece each: one upload takes them over."""
        return _DeviceParcel(self, shapes)

    def staging(self, shape: tuple[int, ...]) -> Array:
        """A pinned host array: the GPU copies from it and to it without a detour."""
        return self.gpu.pinned(_ITEM * math.prod(shape)).view(np.float32).reshape(shape)

    def resident(self, shape: tuple[int, ...]) -> DeviceArray:
        """An array in device memory, freed along with its last view."""
        memory = _Memory(self.gpu, _ITEM * math.prod(shape))
        return DeviceArray(memory.address, shape, owner=memory, stream=self.gpu.stream)

    def copy(self, target: DeviceArray, source: DeviceArray) -> None:
        """Copy within the device: whole runs of the last axes, a row at a time, in one call for each outer index."""
        if target.shape != source.shape:
            raise ValueError(f"can't copy {source.shape} to {target.shape}")
        for part, of in _blocks(target, source):
            rows, width = part.shape[0], _ITEM * math.prod(part.shape[1:])
            self.gpu.copy_rows(part.address, part.strides[0], of.address, of.strides[0], width=width, rows=rows)

    def fetch(self, frame: object) -> object:
        """A frame in the GPU's memory, of any dtype, as a numpy array; any other as HostArrays does."""
        return fetch_frame(frame, self.gpu)


class _DeviceParcel:
    """See core/arrays.Parcel."""

    def __init__(self, arrays: DeviceArrays, shapes: Sequence[tuple[int, ...]]) -> None:
        sizes = [math.prod(shape) for shape in shapes]
        starts = [sum(sizes[:number]) for number in range(len(sizes))]
        self._gpu = arrays.gpu
        self._staged = arrays.staging((sum(sizes),))
        self._there = arrays.resident((sum(sizes),))
        self._host = [
            self._staged[start : start + size].reshape(shape)
            for start, size, shape in zip(starts, sizes, shapes, strict=True)
        ]
        self._device = [
            DeviceArray(self._there.address + _ITEM * start, shape, owner=self._there, stream=self._gpu.stream)
            for start, shape in zip(starts, shapes, strict=True)
        ]
        self._has_left: Callable[[], None] | None = None

    def fill(self) -> list[Array]:
        """See Parcel."""
        if self._has_left is not None:
            self._has_left()
            self._has_left = None
        return self._host

    def send(self) -> list[Any]:
        """See Parcel."""
        self._gpu.upload(self._there.address, self._staged)
        self._has_left = self._gpu.mark()
        return list(self._device)


def as_device_array(array: Any, gpu: Gpu) -> DeviceArray:
    """A view of any array in the GPU's memory, CuPy's, torch's, JAX's, Numba's: see foreign.borrow.

    Raises:
        StageError: it isn't float32, or can't be taken.
    """
    if isinstance(array, DeviceArray):
        return array
    there = borrow(array, gpu, StageError)
    if there.dtype != np.float32:
        raise StageError(f"got a device array of {there.dtype}; float32 is expected", remedy="convert it first")
    return DeviceArray(there.address, there.shape, strides=there.strides, owner=there.owner)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(_ITEM * math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _blocks(target: DeviceArray, source: DeviceArray) -> list[tuple[DeviceArray, DeviceArray]]:
    """Pairs whose rows, all axes but the first, lie in one piece in both."""

    def whole_rows(array: DeviceArray) -> bool:
        return array.strides[1:] == _contiguous(array.shape)[1:]

    if whole_rows(target) and whole_rows(source):
        return [(target, source)]
    return [pair for index in range(len(target)) for pair in _blocks(target[index], source[index])]
