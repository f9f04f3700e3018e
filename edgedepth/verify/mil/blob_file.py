"""A weight file of a package: records of a constant's metadata and its values.

The layout is MILBlob's StorageFormat.hpp (coremltools, BSD-3-Clause, Apple): a header of 64 bytes, then records that
each start with 64 bytes of metadata. Everything is little-endian.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgedepth.verify.mil.dtypes import BLOB_DTYPES, unpack_bits
from edgedepth.verify.mil.graph import TensorType

__all__ = ["BlobError", "BlobFile"]

_HEADER = struct.Struct("<II")  # records, version
_RECORD = struct.Struct("<IIQQ")  # sentinel, dtype, bytes of values, where they start
_RECORD_SIZE = 64
_SENTINEL = 0xDEADBEEF
_VERSION = 2


class BlobError(ValueError):
    """A weight file, or a record in it, that is not what the program says."""


class BlobFile:
    """An opened weight file. Values are mapped, not read: an array costs memory when it is used.

    Args:
        path: of the file.

    Raises:
        BlobError: it is too short for a header, or of another version.
        OSError: it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        size = path.stat().st_size
        if size < _RECORD_SIZE:
            raise BlobError(f"{path.name} has {size} bytes, less than its header")
        self._name = path.name
        self._bytes: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, mode="r")
        _, version = _HEADER.unpack_from(self._bytes[: _HEADER.size].tobytes())
        if version != _VERSION:
            raise BlobError(f"{path.name} is of storage version {version}; {_VERSION} is the one that is known")

    def read(self, offset: int, declared: TensorType) -> npt.NDArray[np.generic]:
        """One constant.

        Args:
            offset: of its record.
            declared: the type that the program gives it.

        Returns:
            An array of the declared shape that can't be written to.

        Raises:
            BlobError: there is no record, or it holds another type, or the file ends before it does.
        """
        if offset < 0 or offset + _RECORD_SIZE > len(self._bytes):
            raise BlobError(f"{self._name} has {len(self._bytes)} bytes and no record at {offset}: it is truncated")
        record = self._bytes[offset : offset + _RECORD.size].tobytes()
        sentinel, number, size, start = _RECORD.unpack(record)
        if sentinel != _SENTINEL:
            raise BlobError(f"{self._name} has no record at {offset}: it is damaged, or another program's")
        dtype = BLOB_DTYPES.get(number)
        if dtype is None or dtype.name != declared.dtype.name.replace("bool", "uint8"):
            stored = dtype.name if dtype else f"the unknown type {number}"
            raise BlobError(f"{self._name} holds {stored} at {offset}, and the program says {declared}")
        expected = math.ceil(declared.size * dtype.bits / 8)
        if size != expected:
            raise BlobError(f"{self._name} holds {size} bytes at {offset}; {declared} needs {expected}")
        if start + size > len(self._bytes):
            raise BlobError(
                f"{self._name} has {len(self._bytes)} bytes, and {start + size} are needed: it is truncated"
            )
        packed = self._bytes[start : start + size]
        storage = declared.dtype.storage.newbyteorder("<")
        values = unpack_bits(packed, declared.size, dtype) if dtype.bits < 8 else packed.view(storage)
        return values.reshape([size or 0 for size in declared.shape])
