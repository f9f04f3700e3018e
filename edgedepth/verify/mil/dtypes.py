"""MIL's element types: how each is named, stored in numpy, numbered in a spec and in a weight file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BLOB_DTYPES", "DTYPES", "FEATURE_DTYPES", "SPEC_DTYPES", "DType", "unpack_bits"]


@dataclass(frozen=True, slots=True)
class DType:
    """An element type.

    Args:
        name: MIL's: "fp16", "int4".
        storage: the numpy dtype that holds a value: int8 for int4.
        bits: of an element in a weight file.
    """

    name: str
    storage: np.dtype[np.generic]
    bits: int

    @property
    def is_float(self) -> bool:
        """Whether it is computed in float32 and rounded."""
        return self.storage.kind == "f"


_STORAGE = {
    "bool": ("bool", 8),
    "string": ("O", 0),
    "fp16": ("float16", 16),
    "fp32": ("float32", 32),
    "fp64": ("float64", 64),
    "int4": ("int8", 4),
    **{f"int{bits}": (f"int{bits}", bits) for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": ("uint8", bits) for bits in (1, 2, 3, 4, 6)},
    **{f"uint{bits}": (f"uint{bits}", bits) for bits in (8, 16, 32, 64)},
}

DTYPES: dict[str, DType] = {name: DType(name, np.dtype(storage), bits) for name, (storage, bits) in _STORAGE.items()}
"""By MIL's name. bf16 and fp8 are missing: no Core ML op takes them."""

SPEC_DTYPES: dict[int, DType] = {
    number: DTYPES[name]
    for number, name in {
        **{1: "bool", 2: "string", 10: "fp16", 11: "fp32", 12: "fp64"},
        **{21: "int8", 22: "int16", 23: "int32", 24: "int64", 25: "int4"},
        **{31: "uint8", 32: "uint16", 33: "uint32", 34: "uint64"},
        **{35: "uint4", 36: "uint2", 37: "uint1", 38: "uint6", 39: "uint3"},
    }.items()
}
"""By the number in MIL.proto's DataType."""

BLOB_DTYPES: dict[int, DType] = {
    number: DTYPES[name]
    for number, name in {
        **{1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 6: "int16", 7: "uint16", 8: "int4"},
        **{9: "uint1", 10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32"},
    }.items()
}
"""By the number in a weight file (MILBlob's BlobDataType)."""

FEATURE_DTYPES: dict[int, DType] = {
    number: DTYPES[name]
    for number, name in {65552: "fp16", 65568: "fp32", 65600: "fp64", 131080: "int8", 131104: "int32"}.items()
}
"""By the number in FeatureTypes.proto's ArrayDataType."""


def unpack_bits(data: bytes | npt.NDArray[np.uint8], count: int, dtype: DType) -> npt.NDArray[np.generic]:
    """Elements of less than a byte, as MIL packs them: the first in the lowest bits, going on into the next byte.

    Args:
        data: at least count * dtype.bits bits.
        count: elements.
        dtype: theirs.

    Returns:
        (count,) of dtype.storage.
    """
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: count * dtype.bits]
    values = np.packbits(bits.reshape(count, dtype.bits), axis=1, bitorder="little")[:, 0]
    if dtype.storage.kind == "i":
        sign = 1 << (dtype.bits - 1)
        return ((values.astype(np.int16) ^ sign) - sign).astype(dtype.storage)
    return values.astype(dtype.storage, copy=False)
