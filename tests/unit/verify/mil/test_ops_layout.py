"""Operations that move values, and those that pick them, against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from .against_torch import assert_close, draw, ints, run, seeds, sizes, t


@given(seeds, st.permutations(range(4)), sizes, sizes)
def test_layout(seed: int, order: list[int], height: int, width: int) -> None:
    x = draw(seed, 2, 3, height, width)
    assert_close(run("transpose", x=x, perm=ints(*order)), t(x).permute(order))
    assert_close(run("reshape", x=x, shape=ints(3, -1)), t(x).reshape(3, -1))
    assert_close(run("expand_dims", x=x, axes=ints(0, -1)), t(x)[None, ..., None])
    assert_close(run("squeeze", x=x[None, ..., None], axes=ints(0, -1)), t(x))
    assert_close(run("squeeze", x=x[:1, :2, :1]), t(x)[:1, :2, :1].squeeze())
    assert_close(run("stack", values=[x, 2 * x], axis=-1), torch.stack([t(x), 2 * t(x)], -1))
    assert_close(run("concat", values=[x, x[:, :1]], axis=1), torch.cat([t(x), t(x)[:, :1]], 1))
    turns = torch.stack([t(x), 2 * t(x)], 2).flatten(1, 2)
    assert_close(run("concat", values=[x, 2 * x], axis=1, interleave=True), turns)
    assert_close(run("tile", x=x, reps=ints(1, 2, 1, 3)), t(x).repeat(1, 2, 1, 3))
    assert_close(run("reverse", x=x, axes=ints(1, 3)), t(x).flip(1, 3))
    assert_close(run("identity", x=x), t(x))
    assert_close(run("shape", x=x), torch.tensor(x.shape, dtype=torch.int32))


def test_reshape_takes_sizes_from_the_input() -> None:
    """A zero is the input's size, counted from the last axis (the example of MIL's documentation for iOS 17)."""
    assert run("reshape", x=draw(0, 2, 50), shape=ints(1, 0, -1, 0)).shape == (1, 1, 2, 50)
    assert run("reshape", x=draw(0, 2, 3, 4), shape=ints(0, 0, -1)).shape == (2, 3, 4)


@given(seeds, st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_split(seed: int, parts: list[int]) -> None:
    x = draw(seed, 2, sum(parts))
    for got, expected in zip(
        run("split", x=x, axis=-1, split_sizes=ints(*parts)), torch.split(t(x), parts, -1), strict=True
    ):
        assert_close(got, expected)
    with pytest.raises(ValueError, match="an axis of"):
        run("split", x=x, axis=-1, split_sizes=ints(*parts, 1))
    assert len(run("split", x=draw(seed, 6, 2), axis=0, num_splits=3)) == 3


@given(seeds, st.data())
def test_slices(seed: int, data: st.DataObject) -> None:
    x = draw(seed, 5, 6, 7)
    begin = [data.draw(st.integers(-size, size - 1)) for size in x.shape]
    end = [data.draw(st.integers(-size, size)) for size in x.shape]
    stride = [data.draw(st.integers(1, 3)) for _ in x.shape]
    open_start, open_end, squeezed = (np.array(data.draw(st.tuples(*[st.booleans()] * 3))) for _ in range(3))
    index = tuple(
        begin[axis]
        if squeezed[axis]
        else slice(None if open_start[axis] else begin[axis], None if open_end[axis] else end[axis], stride[axis])
        for axis in range(3)
    )
    got = run(
        "slice_by_index",
        x=x,
        begin=ints(*begin),
        end=ints(*end),
        stride=ints(*stride),
        begin_mask=open_start,
        end_mask=open_end,
        squeeze_mask=squeezed,
    )
    assert_close(np.asarray(got), t(x)[index])


def test_slice_by_size() -> None:
    x = draw(0, 5, 6)
    assert_close(run("slice_by_size", x=x, begin=ints(1, -4), size=ints(-1, 2)), t(x)[1:, 2:4])


@given(seeds, st.integers(0, 2), st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))
def test_pad(seed: int, left: int, right: int, top: int, bottom: int) -> None:
    x = draw(seed, 1, 2, 4, 5)
    widths = ints(0, 0, top, bottom, left, right)
    for mode in ("constant", "reflect", "replicate"):
        got = run("pad", x=x, pad=widths, mode=mode, constant_val=np.float32(0))
        assert_close(got, F.pad(t(x), (left, right, top, bottom), mode=mode))


@given(seeds, st.integers(1, 3), sizes, sizes)
def test_pixel_shuffles(seed: int, factor: int, height: int, width: int) -> None:
    x = draw(seed, 2, 2 * factor**2, height, width)
    got = run("pixel_shuffle", x=x, upscale_factor=factor)
    assert_close(got, F.pixel_shuffle(t(x), factor))
    assert_close(run("pixel_unshuffle", x=got, downscale_factor=factor), t(x))


def test_fills() -> None:
    assert_close(run("fill", shape=ints(2, 3), value=np.float32(7)), torch.full((2, 3), 7.0))
    assert_close(run("fill_like", ref_tensor=draw(0, 4), value=np.float32(1)), torch.ones(4))
    assert_close(run("range_1d", start=ints(2)[0], end=ints(11)[0], step=ints(3)[0]), torch.arange(2, 11, 3).int())


@given(seeds, st.integers(-3, 2))
def test_gather(seed: int, axis: int) -> None:
    x = draw(seed, 4, 5, 6)
    rng = np.random.default_rng(seed)
    indices = rng.integers(0, x.shape[axis], (2, 3)).astype(np.int32)
    flat = torch.index_select(t(x), axis, t(indices).flatten())
    place = axis % 3
    got = run("gather", x=x, indices=indices, axis=axis, validate_indices=False)
    assert_close(got, flat.unflatten(place, (2, 3)))
    along = rng.integers(0, x.shape[axis], x.shape).astype(np.int32)
    got = run("gather_along_axis", x=x, indices=along, axis=axis, validate_indices=False)
    assert_close(got, torch.gather(t(x), axis, t(along).long()))


@given(seeds)
def test_gather_in_batches(seed: int) -> None:
    x, rng = draw(seed, 3, 5, 2), np.random.default_rng(seed)
    indices = rng.integers(0, 5, (3, 4)).astype(np.int32)
    expected = torch.stack([t(x)[item][t(indices)[item].long()] for item in range(3)])
    assert_close(run("gather", x=x, indices=indices, axis=1, batch_dims=1), expected)
    assert_close(run("gather_nd", x=x, indices=indices[..., None], batch_dims=1), expected)
    points = np.stack([rng.integers(0, 3, 7), rng.integers(0, 5, 7)], -1).astype(np.int32)
    first, second = t(points).long().unbind(-1)
    assert_close(run("gather_nd", x=x, indices=points), t(x)[first, second])


def test_an_index_that_is_undefined_since_ios17_is_refused() -> None:
    x = draw(0, 4, 2)
    assert_close(run("gather", x=x, indices=ints(-1)), t(x)[-1:])  # iOS 16 counts from the end
    for wrong in (-1, 4):
        with pytest.raises(IndexError):
            run("gather", x=x, indices=ints(wrong), validate_indices=False)


def test_one_hot() -> None:
    indices = ints(2, 0, 1)
    hot = {"one_hot_vector_size": 4, "on_value": np.float32(1), "off_value": np.float32(0)}
    expected = F.one_hot(t(indices).long(), 4).float()
    assert_close(run("one_hot", indices=indices, **hot), expected)
    assert_close(run("one_hot", indices=indices, axis=0, **hot), expected.T)
