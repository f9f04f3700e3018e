"""Operations that lay values out anew: no arithmetic, so nothing is rounded."""

from __future__ import annotations

import numpy as np

from edgedepth.verify.mil.ops.registry import Array, op

__all__ = [
    "concat",
    "expand_dims",
    "fill",
    "fill_like",
    "identity",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "range_1d",
    "reshape",
    "reverse",
    "shape",
    "slice_by_index",
    "slice_by_size",
    "split",
    "squeeze",
    "stack",
    "tile",
    "transpose",
]


@op("identity", moves=True)
def identity(x: Array) -> Array:
    """The same."""
    return x


@op("reshape", moves=True)
def reshape(x: Array, shape: Array) -> Array:
    """In row-major order. -1 is what is left over; 0 is the input's size there, counted from the last axis."""
    sizes = [int(size) for size in shape]
    for back, size in enumerate(reversed(sizes), start=1):
        if size == 0:
            sizes[-back] = x.shape[-back] if back <= x.ndim else 1
    return x.reshape(sizes)


@op("transpose", moves=True)
def transpose(x: Array, perm: Array) -> Array:
    """Axis i of the result is axis perm[i]."""
    return x.transpose([int(axis) for axis in perm])


@op("expand_dims", moves=True)
def expand_dims(x: Array, axes: Array) -> Array:
    """Axes of size 1, where they are in the result."""
    return np.expand_dims(x, tuple(int(axis) for axis in np.atleast_1d(axes)))


@op("squeeze", moves=True)
def squeeze(x: Array, axes: Array | None = None) -> Array:
    """Without axes of size 1."""
    return np.squeeze(x, None if axes is None else tuple(int(axis) for axis in np.atleast_1d(axes)))


@op("concat", like="values", moves=True)
def concat(values: list[Array], axis: int, interleave: bool = False) -> Array:
    """One after the other along an axis; interleaved, one slice of each in turn."""
    if not interleave:
        return np.concatenate(values, int(axis))
    place = int(axis) % values[0].ndim
    stacked = np.stack(values, place + 1)
    return stacked.reshape(*stacked.shape[:place], -1, *stacked.shape[place + 2 :])


@op("stack", like="values", moves=True)
def stack(values: list[Array], axis: int) -> Array:
    """Along a new axis."""
    return np.stack(values, int(axis))


@op("split", moves=True)
def split(x: Array, axis: int, num_splits: int | None = None, split_sizes: Array | None = None) -> tuple[Array, ...]:
    """Into parts of given sizes, or into so many equal ones."""
    if split_sizes is None:
        if num_splits is None:
            raise ValueError("neither num_splits nor split_sizes")
        return tuple(np.split(x, int(num_splits), int(axis)))
    if int(np.sum(split_sizes)) != x.shape[int(axis)]:
        raise ValueError(f"parts of {list(split_sizes)} of an axis of {x.shape[int(axis)]}")
    return tuple(np.split(x, np.cumsum(split_sizes)[:-1], int(axis)))


@op("slice_by_index", moves=True)
def slice_by_index(
    x: Array,
    begin: Array,
    end: Array,
    *,
    stride: Array | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Array:
    """Numpy's slicing; a mask leaves a bound open, or takes one index and drops the axis."""
    index: list[slice | int] = []
    for axis in range(len(begin)):
        if squeeze_mask is not None and squeeze_mask[axis]:
            index.append(int(begin[axis]))
            continue
        first = None if begin_mask is not None and begin_mask[axis] else int(begin[axis])
        last = None if end_mask is not None and end_mask[axis] else int(end[axis])
        index.append(slice(first, last, 1 if stride is None else int(stride[axis])))
    return x[tuple(index)]


@op("slice_by_size", moves=True)
def slice_by_size(x: Array, begin: Array, size: Array) -> Array:
    """So many from a beginning; -1 is all that is left."""
    index = []
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        start = int(first) % x.shape[axis] if first < 0 else int(first)
        index.append(slice(start, None if count == -1 else start + int(count)))
    return x[tuple(index)]


@op("tile", moves=True)
def tile(x: Array, reps: Array) -> Array:
    """Repeated so many times along each axis."""
    return np.tile(x, [int(count) for count in reps])


@op("reverse", moves=True)
def reverse(x: Array, axes: Array | None = None) -> Array:
    """Back to front."""
    return np.flip(x, None if axes is None else tuple(int(axis) for axis in axes))


@op("pad", moves=True)
def pad(x: Array, pad: Array, mode: str = "constant", constant_val: Array | float = 0) -> Array:
    """Before and after each of the last axes: with a constant, mirrored without the edge, or with the edge."""
    widths = [(int(before), int(after)) for before, after in np.reshape(pad, (-1, 2))]
    widths = [(0, 0)] * (x.ndim - len(widths)) + widths
    if mode == "constant":
        return np.pad(x, widths, constant_values=constant_val)
    if mode == "reflect":
        return np.pad(x, widths, mode="reflect")
    if mode == "replicate":
        return np.pad(x, widths, mode="edge")
    raise ValueError(f"mode {mode!r}")


@op("pixel_shuffle", moves=True)
def pixel_shuffle(x: Array, upscale_factor: int) -> Array:
    """(N, C f², H, W) to (N, C, H f, W f)."""
    count, channels, height, width = x.shape
    factor = int(upscale_factor)
    blocks = x.reshape(count, channels // factor**2, factor, factor, height, width)
    return blocks.transpose(0, 1, 4, 2, 5, 3).reshape(count, -1, height * factor, width * factor)


@op("pixel_unshuffle", moves=True)
def pixel_unshuffle(x: Array, downscale_factor: int) -> Array:
    """(N, C, H f, W f) to (N, C f², H, W)."""
    count, channels, height, width = x.shape
    factor = int(downscale_factor)
    blocks = x.reshape(count, channels, height // factor, factor, width // factor, factor)
    return blocks.transpose(0, 1, 3, 5, 2, 4).reshape(count, -1, height // factor, width // factor)


@op("shape", like="")
def shape(x: Array) -> Array:
    """The sizes."""
    return np.array(x.shape, np.int32)


@op("fill", like="value", moves=True)
def fill(shape: Array, value: Array) -> Array:
    """One value everywhere."""
    return np.full([int(size) for size in shape], value)


@op("fill_like", like="value", moves=True)
def fill_like(ref_tensor: Array, value: Array) -> Array:
    """One value in the shape of another tensor."""
    return np.full(ref_tensor.shape, value)


@op("range_1d", like="end")
def range_1d(end: Array, start: Array, step: Array) -> Array:
    """From start, by step, to before end."""
    return np.arange(start.item(), end.item(), step.item()).astype(np.asarray(end).dtype)
