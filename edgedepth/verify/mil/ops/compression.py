"""Weights that are stored compressed (constexpr_ ops), and 8-bit activations.

Of several ops iOS 16's form and iOS 18's differ in their parameters; both are taken.
"""

from __future__ import annotations

import numpy as np

from edgedepth.verify.mil.dtypes import DTYPES, unpack_bits
from edgedepth.verify.mil.ops.registry import Array, op

__all__ = [
    "constexpr_affine_dequantize",
    "constexpr_blockwise_shift_scale",
    "constexpr_cast",
    "constexpr_lut_to_dense",
    "constexpr_lut_to_sparse",
    "constexpr_sparse_blockwise_shift_scale",
    "constexpr_sparse_to_dense",
    "dequantize",
    "quantize",
]


@op("constexpr_cast", like="")
def constexpr_cast(source_val: Array, output_dtype: str) -> Array:
    """Half precision on disk."""
    return source_val.astype(DTYPES[output_dtype].storage)


@op("constexpr_affine_dequantize", like="scale")
def constexpr_affine_dequantize(quantized_data: Array, zero_point: Array, scale: Array, axis: Array) -> Array:
    """scale (q - zero_point), each one a tensor or one a channel of an axis (iOS 16)."""
    return _dequantized(quantized_data, scale, zero_point, axis)


@op("dequantize", like="scale")
def dequantize(input: Array, scale: Array, zero_point: Array | None = None, axis: Array | None = None) -> Array:  # noqa: A002  (MIL's name)
    """scale (q - zero_point) of activations (iOS 17)."""
    return _dequantized(input, scale, zero_point, axis)


@op("quantize", like="")
def quantize(
    input: Array,  # noqa: A002  (MIL's name)
    scale: Array,
    output_dtype: str,
    zero_point: Array | None = None,
    axis: Array | None = None,
) -> Array:
    """round(x / scale) + zero_point, clipped to the integer's range."""
    limits = np.iinfo(output_dtype)
    shifted = np.rint(input / _along(scale, input, axis))
    if zero_point is not None:
        shifted = shifted + _along(zero_point.astype(np.float32), input, axis)
    clipped: Array = np.clip(shifted, limits.min, limits.max)
    return clipped.astype(output_dtype)


def _dequantized(data: Array, scale: Array, zero_point: Array | None, axis: Array | None) -> Array:
    values = data.astype(np.float32)
    if zero_point is not None:
        values = values - _along(zero_point.astype(np.float32), data, axis)
    scaled: Array = values * _along(scale, data, axis)
    return scaled


def _along(values: Array, data: Array, axis: Array | None) -> Array:
    """A scalar as it is; a vector along an axis of the data."""
    if values.ndim == 0:
        return values
    if axis is None:
        raise ValueError("a vector of scales without an axis")
    sizes = [1] * data.ndim
    sizes[int(axis)] = -1
    return values.reshape(sizes)


@op("constexpr_blockwise_shift_scale", like="scale")
def constexpr_blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """scale (q - offset), one of each for a block (iOS 18)."""
    values = data.astype(np.float32)
    if offset is not None:
        values = values - _blockwise(offset.astype(np.float32), data.shape)
    scaled: Array = values * _blockwise(scale, data.shape)
    return scaled


def _blockwise(values: Array, shape: tuple[int, ...]) -> Array:
    """Repeat each value over its block."""
    if values.ndim != len(shape) or any(size % blocks for size, blocks in zip(shape, values.shape, strict=True)):
        raise ValueError(f"blocks of {values.shape} for data of {shape}")
    for axis, size in enumerate(shape):
        values = np.repeat(values, size // values.shape[axis], axis)
    return values


@op("constexpr_lut_to_dense", like="lut")
def constexpr_lut_to_dense(
    indices: Array, lut: Array, shape: Array | None = None, vector_axis: Array | None = None
) -> Array:
    """Values from a table: of packed indices and one table (iOS 16), or of a table a group (iOS 18)."""
    if shape is None:
        return _looked_up(indices, lut, vector_axis)
    bits = len(lut).bit_length() - 1
    count = int(np.prod(shape))
    unpacked = unpack_bits(indices, count, DTYPES[f"uint{bits}"])
    dense: Array = lut[unpacked]
    return dense.reshape([int(size) for size in shape])


def _looked_up(indices: Array, lut: Array, vector_axis: Array | None) -> Array:
    """indices (*D), lut (*groups, entries, vector): each group of indices has its own table."""
    if lut.ndim != indices.ndim + 2:
        raise ValueError(f"a table of {lut.shape} for indices of {indices.shape}")
    groups, entries, vector = lut.shape[:-2], lut.shape[-2], lut.shape[-1]
    numbers = np.arange(int(np.prod(groups))).reshape(groups)
    table = _blockwise(numbers, indices.shape) * entries + indices
    values: Array = lut.reshape(-1, vector)[table]
    if vector == 1:
        return values.reshape(indices.shape)
    if vector_axis is None:
        raise ValueError("vectors in a table without an axis for them")
    axis = int(vector_axis) % indices.ndim
    sizes = [size * vector if place == axis else size for place, size in enumerate(indices.shape)]
    return np.moveaxis(values, -1, axis + 1).reshape(sizes)


@op("constexpr_sparse_to_dense", like="nonzero_data")
def constexpr_sparse_to_dense(nonzero_data: Array, mask: Array, shape: Array | None = None) -> Array:
    """Values where a mask of bits is set, zeros elsewhere."""
    if shape is not None:
        count = int(np.prod(shape))
        mask = unpack_bits(mask, count, DTYPES["uint1"]).reshape([int(size) for size in shape])
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    dense[mask != 0] = nonzero_data
    return dense


@op("constexpr_lut_to_sparse", like="")
def constexpr_lut_to_sparse(
    indices_mask: Array, indices_nonzero_data: Array, lut: Array, vector_axis: Array | None = None
) -> tuple[Array, Array]:
    """A table's values where a mask is set: the mask, and the values."""
    values = _looked_up(constexpr_sparse_to_dense(indices_nonzero_data, indices_mask), lut, vector_axis)
    vector = lut.shape[-1]
    mask = indices_mask if vector == 1 or vector_axis is None else np.repeat(indices_mask, vector, int(vector_axis))
    return mask, values[mask != 0]


@op("constexpr_sparse_blockwise_shift_scale", like="")
def constexpr_sparse_blockwise_shift_scale(
    data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    """Dequantized values where a mask is set: the mask, and the values."""
    dense = constexpr_sparse_to_dense(nonzero_data, data_mask)
    return data_mask, constexpr_blockwise_shift_scale(dense, scale, offset)[data_mask != 0]
