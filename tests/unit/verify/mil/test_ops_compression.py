"""Compressed weights against torch and against the examples of MIL's documentation."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from .against_torch import draw, run, seeds, t


@given(seeds, st.integers(-3, 2), st.booleans())
def test_affine_quantization(seed: int, axis: int, per_channel: bool) -> None:
    x = draw(seed, 3, 4, 5)
    channels = x.shape[axis]
    scale = np.abs(draw(seed, channels)) + 0.01 if per_channel else np.float32(0.05)
    zero = np.arange(channels, dtype=np.int8) if per_channel else np.int8(3)
    where = {"axis": np.int32(axis)} if per_channel else {}
    got = run("quantize", input=x, scale=np.asarray(scale), zero_point=np.asarray(zero), output_dtype="int8", **where)
    if per_channel:
        theirs = torch.fake_quantize_per_channel_affine(t(x), t(scale), t(zero).int(), axis % 3, -128, 127)
    else:
        theirs = torch.fake_quantize_per_tensor_affine(t(x), 0.05, 3, -128, 127)
    shared = {"scale": np.asarray(scale), "zero_point": np.asarray(zero)}
    back = run("dequantize", input=got, **shared, **where)
    step = float(np.max(scale))
    # torch multiplies with 1 / scale, so a value at the border of two steps may fall on either side.
    assert np.abs(back - theirs.numpy()).max() <= 1.001 * step
    assert np.abs(back - theirs.numpy()).mean() <= 0.01 * step
    weights = run("constexpr_affine_dequantize", quantized_data=got, axis=np.int32(axis), **shared)
    assert np.array_equal(weights, back)


def test_tables_of_groups_and_vectors() -> None:
    """The two examples of MIL's documentation of constexpr_lut_to_dense (iOS 18)."""
    indices = np.array([2, 3, 3, 0, 1, 0, 3, 0, 2, 1, 0, 3], np.uint8).reshape(6, 2)
    lut = np.array([1, 5, 9, 13, 2, 10, 18, 26], np.float32).reshape(2, 1, 4, 1)
    expected = [[9, 13], [13, 1], [5, 1], [26, 2], [18, 10], [2, 26]]
    assert run("constexpr_lut_to_dense", indices=indices, lut=lut).tolist() == expected
    bits = np.array([0, 0, 1, 0, 1, 1, 0, 0], np.uint8).reshape(2, 2, 2)
    vectors = np.array([[10, 11, 12], [20, 21, 22]], np.float32).reshape(1, 1, 1, 2, 3)
    rows = run("constexpr_lut_to_dense", indices=bits, lut=vectors, vector_axis=np.int32(1))
    assert rows[0].tolist() == [[10, 10], [11, 11], [12, 12], [20, 10], [21, 11], [22, 12]]
    columns = run("constexpr_lut_to_dense", indices=bits, lut=vectors, vector_axis=np.int32(2))
    assert columns[0].tolist() == [[10, 11, 12, 10, 11, 12], [20, 21, 22, 10, 11, 12]]


def test_sparse_weights() -> None:
    """The examples of MIL's documentation of constexpr_lut_to_sparse and constexpr_sparse_blockwise_shift_scale."""
    mask = np.array([[1, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 1], [0, 1, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]], np.uint8)
    indices = np.array([0, 1, 1, 0, 1, 1, 0, 0, 1], np.uint8)
    lut = np.array([2, 3], np.float32).reshape(1, 1, 2, 1)
    same, values = run("constexpr_lut_to_sparse", indices_mask=mask, indices_nonzero_data=indices, lut=lut)
    assert np.array_equal(same, mask)
    assert values.tolist() == [2, 3, 3, 2, 3, 3, 2, 2, 3]
    assert run("constexpr_sparse_to_dense", nonzero_data=values, mask=mask)[3].tolist() == [0, 0, 0, 3, 0, 0]
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1], [1, 1, 0, 0]], np.uint8)
    data = np.array([10, 11, 3, 4, 5, 6, 7, 8, 9], np.int8)
    scale, offset = np.array([[0.1, 0.2, 0.3, 0.4]], np.float32), np.array([[1, 2, 3, 4]], np.int8)
    _, values = run(
        "constexpr_sparse_blockwise_shift_scale", data_mask=mask, nonzero_data=data, scale=scale, offset=offset
    )
    np.testing.assert_allclose(values, [0.9, 1.8, 0.2, 0.4, 0.6, 0.9, 1.2, 0.7, 1.4], rtol=1e-6)
