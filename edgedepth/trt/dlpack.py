"""DLPack's capsules, read: where an array of another library lies, and what it is. numpy reads those of the host alone.

Source: dlpack.h, versions 0.8 and 1.0 (github.com/dmlc/dlpack).
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["CUDA", "CUDA_MANAGED", "Borrowed", "ManagedTensor", "borrow_capsule", "export_capsule"]

CUDA, CUDA_MANAGED = 2, 13
"""DLPack's kinds of memory that kernels read: a GPU's own, and what CUDA moves between it and the host."""

_LEGACY, _VERSIONED = b"dltensor", b"dltensor_versioned"
_VERSION = (1, 0)
_KINDS = {0: "i", 1: "u", 2: "f"}


class _Device(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("index", ctypes.c_int32))


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class ManagedTensor(ctypes.Structure):
    """DLManagedTensor, of the versions before 1.0."""

    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))


class _VersionedTensor(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_uint32 * 2),
        ("context", ctypes.c_void_p),
        ("deleter", _Deleter),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    )


_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, (ctypes.py_object, ctypes.c_char_p)
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype, _pointer_of.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


@dataclass(frozen=True, slots=True)
class Borrowed:
    """An array of another library, where it lies.

    Args:
        address: of its first value.
        shape: sizes.
        strides: bytes from one value to the next along each axis.
        dtype: numpy's.
        owner: keeps it alive.
    """

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    owner: object

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return self.dtype.itemsize * math.prod(self.shape)


def borrow_capsule(array: Any, *, stream: int | None) -> Borrowed:
    """Ask a library for its array.

    Args:
        array: it has `__dlpack__`.
        stream: of CUDA, that shall wait for what the library still does with the array; None: the host's memory.

    Raises:
        ValueError: a dtype that numpy doesn't have.
        BufferError, RuntimeError, TypeError: the library's own refusals.
    """
    try:
        capsule = array.__dlpack__(stream=stream, max_version=_VERSION)
    except TypeError:  # libraries older than DLPack 1.0
        capsule = array.__dlpack__(stream=stream)
    # The capsule is kept and not consumed: its own destructor gives the array back.
    if _is_valid(capsule, _VERSIONED):
        tensor = _VersionedTensor.from_address(_pointer_of(capsule, _VERSIONED)).tensor
    elif _is_valid(capsule, _LEGACY):
        tensor = ManagedTensor.from_address(_pointer_of(capsule, _LEGACY)).tensor
    else:
        raise TypeError(f"__dlpack__ of {type(array).__name__} gives no DLPack capsule")
    kind, bits, lanes = tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes
    if kind not in _KINDS or lanes != 1 or bits % 8:
        raise ValueError(f"numpy has no dtype for DLPack's code {kind} of {bits} bits")
    dtype = np.dtype(f"{_KINDS[kind]}{bits // 8}")
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    steps = [tensor.strides[axis] for axis in range(tensor.ndim)] if tensor.strides else _contiguous(shape)
    strides = tuple(dtype.itemsize * step for step in steps)
    return Borrowed(int(tensor.data or 0) + tensor.byte_offset, shape, strides, dtype, capsule)


def _contiguous(shape: tuple[int, ...]) -> list[int]:
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def export_capsule(
    address: int, shape: tuple[int, ...], dtype: npt.DTypeLike, *, kind: int, index: int
) -> tuple[object, object]:
    """A capsule of C-contiguous memory, for the fake arrays of tests.

    Returns:
        The capsule, and what has to live as long as it.
    """
    of = np.dtype(dtype)
    sizes = (ctypes.c_int64 * len(shape))(*shape)
    code = next(number for number, letter in _KINDS.items() if letter == of.kind)
    tensor = _Tensor(
        data=address,
        device=_Device(kind, index),
        ndim=len(shape),
        dtype=_DataType(code, 8 * of.itemsize, 1),
        shape=ctypes.cast(sizes, ctypes.POINTER(ctypes.c_int64)),
    )
    managed = ManagedTensor(tensor=tensor)
    return _new_capsule(ctypes.addressof(managed), _LEGACY, None), (managed, sizes)
