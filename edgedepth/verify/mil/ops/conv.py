"""Convolution, transposed convolution and pooling, in 1, 2 or 3 spatial dimensions, channels first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edgedepth.verify.mil.ops.registry import Array, op

__all__ = ["avg_pool", "conv", "conv_transpose", "max_pool"]

_STRIP_BYTES = 1 << 25
"""Unrolled windows are gathered in strips of about 32 MB: a 3x3 convolution unrolled whole is nine times its input."""


@op("conv")
def conv(
    x: Array,
    weight: Array,
    *,
    bias: Array | None = None,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    dilations: Array | None = None,
    groups: int = 1,
) -> Array:
    """Cross-correlation of (N, C, *D) with (O, C / groups, *K)."""
    kernel = weight.shape[2:]
    steps, spread = _per_axis(strides, kernel), _per_axis(dilations, kernel)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, spread, strict=True)]
    padded = np.pad(x, [(0, 0), (0, 0), *_padding(pad_type, pad, x.shape[2:], reach, steps)])
    windows = _windows(padded, reach, steps, spread)
    groups = int(groups)
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(f"{x.shape[1]} channels and weights of {weight.shape} in {groups} groups")
    convolved = _correlate(windows, weight, groups)
    return convolved if bias is None else convolved + _by_channel(bias, x.ndim)


def _correlate(windows: Array, weight: Array, groups: int) -> Array:
    """Sum over (N, C, *K, *D) windows, in strips of the first spatial axis."""
    axes = weight.ndim - 2
    count, channels = windows.shape[:2]
    sizes = windows.shape[-axes:]
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    result = np.empty((count, weight.shape[0], *sizes), np.float32)
    row_bytes = 4 * channels * math.prod(weight.shape[2:]) * math.prod(sizes[1:])
    rows = max(1, _STRIP_BYTES // max(row_bytes, 1))
    for item in range(count):
        for first in range(0, sizes[0], rows):
            strip = windows[item][(slice(None),) * (axes + 1) + (slice(first, first + rows),)]
            columns = strip.reshape(groups, matrix.shape[2], -1)
            target = result[item, :, first : first + rows]
            target[...] = (matrix @ columns).reshape(target.shape)
    return result


def _windows(padded: Array, reach: Sequence[int], steps: Sequence[int], spread: Sequence[int]) -> Array:
    """A view of (N, C, *K, *D): what each output pixel sees."""
    axes = len(reach)
    windows = sliding_window_view(padded, tuple(reach), axis=tuple(range(2, 2 + axes)))
    every = [slice(None, None, step) for step in (1, 1, *steps, *spread)]
    picked: Array = windows[tuple(every)]
    return np.moveaxis(picked, range(-axes, 0), range(2, 2 + axes))


def _padding(
    pad_type: str, pad: Array | None, sizes: Sequence[int], reach: Sequence[int], steps: Sequence[int]
) -> list[tuple[int, int]]:
    """Rows before and after, for each spatial axis."""
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        if pad is None or len(pad) != 2 * len(sizes):
            raise ValueError(f"custom padding of {pad} for {len(sizes)} axes")
        return [(int(before), int(after)) for before, after in np.reshape(pad, (-1, 2))]
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"pad_type {pad_type!r}")
    total = [
        max(0, (math.ceil(size / step) - 1) * step + far - size)
        for size, far, step in zip(sizes, reach, steps, strict=True)
    ]
    split = [(both // 2, both - both // 2) for both in total]
    return split if pad_type == "same" else [(after, before) for before, after in split]


@op("conv_transpose")
def conv_transpose(
    x: Array,
    weight: Array,
    *,
    bias: Array | None = None,
    pad: Array | None = None,
    output_shape: Array | None = None,
    pad_type: str = "valid",
    strides: Array | None = None,
    dilations: Array | None = None,
    groups: int = 1,
) -> Array:
    """The gradient of a convolution: (N, C, *D) with (C, O / groups, *K); pad is cut off the result."""
    kernel, sizes, groups = weight.shape[2:], x.shape[2:], int(groups)
    steps, spread = _per_axis(strides, kernel), _per_axis(dilations, kernel)
    reach = [(size - 1) * step + 1 for size, step in zip(kernel, spread, strict=True)]
    full = [(size - 1) * step + far for size, step, far in zip(sizes, steps, reach, strict=True)]
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    pixels = x.reshape(x.shape[0], groups, x.shape[1] // groups, -1)
    spreadout = (matrix.transpose(0, 2, 1) @ pixels).reshape(x.shape[0], -1, math.prod(kernel), *sizes)
    result = np.zeros((x.shape[0], spreadout.shape[1], *full), np.float32)
    for tap, position in enumerate(np.ndindex(*kernel)):
        where = tuple(
            slice(index * gap, index * gap + (size - 1) * step + 1, step)
            for index, gap, size, step in zip(position, spread, sizes, steps, strict=True)
        )
        result[(slice(None), slice(None), *where)] += spreadout[:, :, tap]
    result = _cut(result, _cuts(pad_type, pad, reach, steps), output_shape)
    return result if bias is None else result + _by_channel(bias, x.ndim)


def _cuts(pad_type: str, pad: Array | None, reach: Sequence[int], steps: Sequence[int]) -> list[tuple[int, int]]:
    if pad_type in ("same", "same_lower"):
        # The full result is (in - 1) * step + reach long, and in * step of it is kept.
        surplus = [far - step for far, step in zip(reach, steps, strict=True)]
        split = [(max(both, 0) // 2, both - max(both, 0) // 2) for both in surplus]
        return (
            split
            if pad_type == "same"
            else [(both - before, before) for both, (before, _) in zip(surplus, split, strict=True)]
        )
    return _padding(pad_type, pad, [0] * len(reach), reach, steps)


def _cut(result: Array, cuts: list[tuple[int, int]], output_shape: Array | None) -> Array:
    """Cut the padding off; a result that is declared longer than what is left goes on with zeros."""
    for axis, (before, after) in enumerate(cuts, start=2):
        size = result.shape[axis] - before - after if output_shape is None else int(output_shape[axis])
        missing = max(0, before + size - result.shape[axis])
        result = np.pad(result, [(0, missing if index == axis else 0) for index in range(result.ndim)])
        result = result[(slice(None),) * axis + (slice(before, before + size),)]
    return result


@op("max_pool")
def max_pool(
    x: Array,
    kernel_sizes: Array,
    *,
    pad_type: str,
    strides: Array | None = None,
    pad: Array | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The largest of each window; padding never is."""
    windows, axes = _pooled(x, kernel_sizes, strides, pad_type, pad, ceil_mode=ceil_mode, fill=-np.inf)
    largest: Array = windows.max(axes)
    return largest


@op("avg_pool")
def avg_pool(
    x: Array,
    kernel_sizes: Array,
    *,
    pad_type: str,
    strides: Array | None = None,
    pad: Array | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Array:
    """The mean of each window."""
    windows, axes = _pooled(x, kernel_sizes, strides, pad_type, pad, ceil_mode=ceil_mode, fill=0)
    total: Array = windows.sum(axes)
    if not exclude_padding_from_average:
        return total / np.float32(np.prod(kernel_sizes))
    inside, _ = _pooled(np.ones_like(x), kernel_sizes, strides, pad_type, pad, ceil_mode=ceil_mode, fill=0)
    mean: Array = total / inside.sum(axes)
    return mean


def _pooled(
    x: Array,
    kernel_sizes: Array,
    strides: Array | None,
    pad_type: str,
    pad: Array | None,
    *,
    ceil_mode: bool,
    fill: float,
) -> tuple[Array, tuple[int, ...]]:
    """The windows, and the axes that lie within one."""
    if ceil_mode:
        raise ValueError("ceil_mode is not known here")
    reach = [int(size) for size in kernel_sizes]
    steps = _per_axis(strides, reach)
    padding = _padding(pad_type, pad, x.shape[2:], reach, steps)
    padded = np.pad(x, [(0, 0), (0, 0), *padding], constant_values=fill)
    return _windows(padded, reach, steps, [1] * len(reach)), tuple(range(2, 2 + len(reach)))


def _per_axis(values: Array | None, kernel: Sequence[int]) -> list[int]:
    return [1] * len(kernel) if values is None else [int(value) for value in values]


def _by_channel(bias: Array, rank: int) -> Array:
    return bias.reshape(1, -1, *[1] * (rank - 2))
