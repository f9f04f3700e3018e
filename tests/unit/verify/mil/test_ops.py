"""Each operation against torch, which computes it in another way, on shapes that hypothesis draws."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from edgedepth.verify.mil.ops import OPS

# float32 sums in another order than torch's: its step (1.2e-7) times a few tens, of the largest value.
CLOSE = 4e-6

sizes = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)
pytestmark = pytest.mark.filterwarnings("error")


def draw(seed: int, *shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(name: str, **arguments: object) -> Any:
    operation = OPS[name]
    assert operation.problem_with(arguments) is None
    return operation.compute(**arguments)


def ints(*values: int) -> np.ndarray[Any, Any]:
    return np.array(values, np.int32)


def t(array: np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def assert_close(got: np.ndarray[Any, Any], expected: Tensor) -> None:
    assert got.shape == tuple(expected.shape)
    size = float(expected.abs().max()) if expected.is_floating_point() and expected.numel() else 1.0
    np.testing.assert_allclose(got, expected.numpy(), rtol=CLOSE, atol=CLOSE * max(1.0, size))


# --- convolutions ---------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.data(), seeds, st.integers(1, 3))
def test_conv(data: st.DataObject, seed: int, axes: int) -> None:
    groups = data.draw(st.sampled_from([1, 2]))
    kernel = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    strides = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    spread = [data.draw(st.integers(1, 2)) for _ in range(axes)]
    pad = [data.draw(st.integers(0, 2)) for _ in range(2 * axes)]  # before and after differ
    spatial = [data.draw(st.integers(5, 8)) for _ in range(axes)]
    x = draw(seed, data.draw(st.integers(1, 2)), 2 * groups, *spatial)
    weight, bias = draw(seed + 1, 3 * groups, 2, *kernel), draw(seed + 2, 3 * groups)
    got = run(
        "conv",
        x=x,
        weight=weight,
        bias=bias,
        strides=ints(*strides),
        pad_type="custom",
        pad=ints(*pad),
        dilations=ints(*spread),
        groups=np.int32(groups),
    )
    # torch counts padding from the last axis.
    backwards = [width for axis in reversed(range(axes)) for width in pad[2 * axis : 2 * axis + 2]]
    function = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    padded = F.pad(t(x), backwards)
    assert_close(got, function(padded, t(weight), t(bias), stride=strides, dilation=spread, groups=groups))


@given(seeds, st.integers(1, 5), st.integers(4, 9), st.integers(1, 3))
def test_conv_pads_so_that_nothing_is_lost(seed: int, kernel: int, side: int, step: int) -> None:
    """An odd pixel of padding goes after the picture (same, as in TensorFlow), or before it (same_lower)."""
    x, weight = draw(seed, 1, 2, side, side), draw(seed + 1, 3, 2, kernel, kernel)
    total = max(0, (math.ceil(side / step) - 1) * step + kernel - side)
    for pad_type, before in (("same", total // 2), ("same_lower", math.ceil(total / 2))):
        got = run("conv", x=x, weight=weight, pad_type=pad_type, strides=ints(step, step))
        padded = F.pad(t(x), [before, total - before] * 2)
        assert_close(got, F.conv2d(padded, t(weight), stride=step))
        assert got.shape[2:] == (math.ceil(side / step),) * 2


def test_a_large_conv_is_computed_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgedepth.verify.mil.ops import conv

    monkeypatch.setattr(conv, "_STRIP_BYTES", 1)  # a strip a row
    x, weight = draw(0, 2, 3, 9, 7), draw(1, 4, 3, 3, 3)
    got = run("conv", x=x, weight=weight, pad_type="custom", pad=ints(1, 1, 1, 1), strides=ints(2, 1))
    assert_close(got, F.conv2d(t(x), t(weight), padding=1, stride=(2, 1)))


@settings(deadline=None, max_examples=60)
@given(st.data(), seeds, st.integers(1, 3))
def test_conv_transpose(data: st.DataObject, seed: int, axes: int) -> None:
    groups = data.draw(st.sampled_from([1, 2]))
    kernel = [data.draw(st.integers(1, 4)) for _ in range(axes)]
    strides = [data.draw(st.integers(1, 3)) for _ in range(axes)]
    spread = [data.draw(st.integers(1, 2)) for _ in range(axes)]
    pad = [data.draw(st.integers(0, (size - 1) * gap)) for size, gap in zip(kernel, spread, strict=True)]
    more = [data.draw(st.integers(0, max(step, gap) - 1)) for step, gap in zip(strides, spread, strict=True)]
    x = draw(seed, 2, 2 * groups, *[data.draw(st.integers(4, 6)) for _ in range(axes)])
    weight, bias = draw(seed + 1, 2 * groups, 3, *kernel), draw(seed + 2, 3 * groups)
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
    expected = function(
        t(x), t(weight), t(bias), stride=strides, padding=pad, output_padding=more, groups=groups, dilation=spread
    )
    got = run(
        "conv_transpose",
        x=x,
        weight=weight,
        bias=bias,
        pad_type="custom",
        pad=ints(*[width for size in pad for width in (size, size)]),
        output_shape=ints(*expected.shape),
        strides=ints(*strides),
        dilations=ints(*spread),
        groups=np.int32(groups),
    )
    assert_close(got, expected)


@given(seeds, st.integers(2, 4), st.integers(1, 4))
def test_conv_transpose_conventions(seed: int, step: int, kernel: int) -> None:
    """Valid keeps everything, same keeps in * stride."""
    x, weight = draw(seed, 1, 2, 4, 4), draw(seed + 1, 2, 3, kernel, kernel)
    whole = F.conv_transpose2d(t(x), t(weight), stride=step)
    assert_close(run("conv_transpose", x=x, weight=weight, strides=ints(step, step)), whole)
    same = run("conv_transpose", x=x, weight=weight, strides=ints(step, step), pad_type="same")
    assert same.shape[2:] == (4 * step, 4 * step)
    if kernel == step:
        assert_close(same, whole)


def test_conv_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="3 channels"):
        run("conv", x=draw(0, 1, 3, 4, 4), weight=draw(1, 2, 2, 1, 1))


@given(seeds, st.integers(1, 3), st.integers(1, 3), st.booleans())
def test_pools(seed: int, kernel: int, step: int, exclude: bool) -> None:
    x, pad = draw(seed, 2, 3, 7, 8), kernel // 2
    shared = {
        "x": x,
        "kernel_sizes": ints(kernel, kernel),
        "strides": ints(step, step),
        "pad_type": "custom",
        "pad": ints(pad, pad, pad, pad),
    }
    assert_close(run("max_pool", **shared), F.max_pool2d(t(x), kernel, step, pad))
    got = run("avg_pool", **shared, exclude_padding_from_average=exclude)
    assert_close(got, F.avg_pool2d(t(x), kernel, step, pad, count_include_pad=not exclude))


# --- resizing -------------------------------------------------------------------------------------------------------


@given(seeds, st.integers(2, 6), st.integers(2, 6), st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_upsampling(seed: int, height: int, width: int, up: int, wider: int, align: bool) -> None:
    x = draw(seed, 2, 3, height, width)
    factors = {"scale_factor_height": np.float32(up), "scale_factor_width": np.float32(wider)}
    size = (height * up, width * wider)
    got = run("upsample_bilinear", x=x, align_corners=align, **factors)
    assert_close(got, F.interpolate(t(x), size, mode="bilinear", align_corners=align))
    near = run("upsample_nearest_neighbor", x=x, **factors)
    assert_close(near, F.interpolate(t(x), size, mode="nearest"))


@given(seeds, st.integers(2, 9), st.integers(2, 9), st.integers(2, 9), st.integers(2, 9))
def test_resizing_up_and_down(seed: int, height: int, width: int, rows: int, columns: int) -> None:
    x = draw(seed, 1, 2, height, width)
    sides = {"target_size_height": rows, "target_size_width": columns}
    for mode, align in (("STRICT_ALIGN_CORNERS", True), ("UNALIGN_CORNERS", False)):
        got = run("resize_bilinear", x=x, sampling_mode=mode, **sides)
        assert_close(got, F.interpolate(t(x), (rows, columns), mode="bilinear", align_corners=align))
    assert_close(run("resize_nearest_neighbor", x=x, **sides), F.interpolate(t(x), (rows, columns), mode="nearest"))


# Positions of two pixels' samples, as MIL's documentation of resize_bilinear writes them out.
@pytest.mark.parametrize(
    ("mode", "positions"),
    [
        ("UNALIGN_CORNERS", [0.0, 0.1, 0.5, 0.9, 1.0]),
        ("STRICT_ALIGN_CORNERS", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("ALIGN_CORNERS", [0.0, 0.25, 0.5, 0.75, 1.0]),
        ("DEFAULT", [0.0, 0.4, 0.8, 1.0, 1.0]),
        ("OFFSET_CORNERS", [0.1, 0.3, 0.5, 0.7, 0.9]),
    ],
)
def test_sampling_modes_are_the_documented_ones(mode: str, positions: list[float]) -> None:
    ramp = np.array([[[0.0, 1.0]]], np.float32)
    got = run("resize_bilinear", x=ramp, target_size_height=1, target_size_width=5, sampling_mode=mode)
    np.testing.assert_allclose(got[0, 0], positions, atol=1e-6)


def test_a_factor_that_was_rounded_does_not_show() -> None:
    """1.2345 of 10 is 12 rows, and the step is 10 / 12: torch's recompute_scale_factor."""
    x = draw(0, 1, 1, 10, 10)
    factor = np.float32(1.2345)
    got = run("upsample_bilinear", x=x, scale_factor_height=factor, scale_factor_width=factor, align_corners=False)
    assert_close(got, F.interpolate(t(x), (12, 12), mode="bilinear", align_corners=False))


# --- products, attention, norms -------------------------------------------------------------------------------------


@given(seeds, sizes, sizes, sizes, sizes)
def test_products(seed: int, batch: int, rows: int, inner: int, columns: int) -> None:
    x, y = draw(seed, batch, 1, rows, inner), draw(seed + 1, 3, inner, columns)
    assert_close(run("matmul", x=x, y=y), t(x) @ t(y))
    flipped = run("matmul", x=x.swapaxes(-1, -2), y=y.swapaxes(-1, -2), transpose_x=True, transpose_y=True)
    assert_close(flipped, t(x) @ t(y))
    weight, bias = draw(seed + 2, columns, inner), draw(seed + 3, columns)
    assert_close(run("linear", x=x, weight=weight, bias=bias), F.linear(t(x), t(weight), t(bias)))
    heads, others = draw(seed, batch, rows, 2, inner), draw(seed, batch, inner, 2, columns)
    equation = "nchw, nwhu -> nchu"
    assert_close(run("einsum", values=[heads, others], equation=equation), torch.einsum(equation, t(heads), t(others)))


@given(seeds, sizes, sizes, sizes, st.sampled_from(["none", "bool", "float"]))
def test_attention(seed: int, queries: int, keys: int, width: int, kind: str) -> None:
    query, key, value = (
        draw(seed, 2, 3, queries, width),
        draw(seed + 1, 2, 3, keys, width),
        draw(seed + 2, 2, 3, keys, 4),
    )
    mask = None if kind == "none" else draw(seed + 3, queries, keys)
    if kind == "bool":
        assert mask is not None
        mask = mask > 0
        mask[:, 0] = True  # a row that sees nothing is NaN everywhere
    got = run("scaled_dot_product_attention", query=query, key=key, value=value, attn_mask=mask)
    masked = None if mask is None else t(mask)
    assert_close(got, F.scaled_dot_product_attention(t(query), t(key), t(value), attn_mask=masked))


@given(seeds, sizes, sizes, st.integers(2, 6))
def test_norms(seed: int, batch: int, channels: int, width: int) -> None:
    x = draw(seed, batch, channels, 5, width) * 3 + 1
    gamma, beta = draw(seed + 1, 5, width), draw(seed + 2, 5, width)
    got = run("layer_norm", x=x, axes=ints(-2, -1), gamma=gamma, beta=beta, epsilon=np.float32(1e-6))
    assert_close(got, F.layer_norm(t(x), (5, width), t(gamma), t(beta), 1e-6))
    scale, shift, mean, spread = (draw(seed + index, channels) for index in range(4))
    assert_close(
        run("instance_norm", x=x, gamma=scale, beta=shift, epsilon=np.float32(1e-5)),
        F.instance_norm(t(x), weight=t(scale), bias=t(shift)),
    )
    assert_close(
        run("batch_norm", x=x, mean=mean, variance=spread**2 + 1, gamma=scale, beta=shift, epsilon=np.float32(1e-3)),
        F.batch_norm(t(x), t(mean), t(spread**2 + 1), t(scale), t(shift), eps=1e-3),
    )
    length = t(x).square().sum((-3, -2, -1), keepdim=True).add(1e-6).sqrt()
    assert_close(run("l2_norm", x=x, epsilon=np.float32(1e-6)), t(x) / length)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("EXACT", F.gelu),
        ("TANH_APPROXIMATION", lambda x: F.gelu(x, approximate="tanh")),
        ("SIGMOID_APPROXIMATION", lambda x: x * torch.sigmoid(1.702 * x)),
    ],
)
def test_gelu(mode: str, expected: Callable[[Tensor], Tensor]) -> None:
    x = np.linspace(-12, 12, 10001, dtype=np.float32)
    assert_close(run("gelu", x=x, mode=mode), expected(t(x)))


def test_erf_is_exact_to_the_last_bits() -> None:
    x = np.concatenate([np.linspace(-7, 7, 20001), [1e-30, -1e-30, 0, 100, -100, np.inf, -np.inf]]).astype(np.float32)
    expected = np.array([math.erf(value) for value in x])
    assert np.abs(run("erf", x=x) - expected).max() <= 6e-8  # half a step of float32 below one


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": lambda x: F.softplus(x, threshold=1000),
    "erf": torch.erf,
    **{name: getattr(torch, name) for name in ("abs", "atan", "ceil", "cos", "exp", "exp2", "floor", "round", "sign")},
    **{name: getattr(torch, name) for name in ("cosh", "sin", "sinh", "square", "tanh", "tan")},
}


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_unary(name: str) -> None:
    x = np.concatenate([draw(0, 500) * 3, np.arange(-4, 5) / 2]).astype(np.float32)
    assert_close(run(name, x=x), ACTIVATIONS[name](t(x)))


@pytest.mark.parametrize("name", ["acos", "asin", "atanh"])
def test_unary_within_one(name: str) -> None:
    x = np.linspace(-0.99, 0.99, 101, dtype=np.float32)
    assert_close(run(name, x=x), getattr(torch, name)(t(x)))


def test_unary_of_positive_numbers() -> None:
    x, little = np.abs(draw(0, 100)) + 0.1, np.float32(1e-4)
    assert_close(run("sqrt", x=x), torch.sqrt(t(x)))
    assert_close(run("rsqrt", x=x, epsilon=little), torch.rsqrt(t(x) + 1e-4))
    assert_close(run("log", x=x, epsilon=little), torch.log(t(x) + 1e-4))
    assert_close(run("inverse", x=x, epsilon=little), 1 / (t(x) + 1e-4))


def test_activations_with_parameters() -> None:
    x, alpha = draw(0, 2, 3, 5), np.float32(0.3)
    assert_close(run("leaky_relu", x=x, alpha=alpha), F.leaky_relu(t(x), 0.3))
    assert_close(run("elu", x=x, alpha=alpha), F.elu(t(x), 0.3))
    slopes = draw(1, 3)
    assert_close(run("prelu", x=x, alpha=slopes), F.prelu(t(x), t(slopes)))
    assert_close(run("clip", x=x, alpha=np.float32(-0.5), beta=alpha), t(x).clamp(-0.5, 0.3))
    assert_close(run("threshold", x=x, alpha=alpha), t(x).clamp(min=0.3))


@given(seeds, sizes, sizes, st.integers(-2, 1))
def test_softmax(seed: int, rows: int, columns: int, axis: int) -> None:
    x = draw(seed, rows, columns) * 100  # exp() of it overflows
    assert_close(run("softmax", x=x, axis=axis), torch.softmax(t(x), axis))


BINARY = {"add": "add", "sub": "sub", "mul": "mul", "real_div": "div", "maximum": "maximum", "minimum": "minimum"}
COMPARE = {"equal": "eq", "not_equal": "ne", "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le"}
LOGICAL = ("logical_and", "logical_or", "logical_xor")


@given(seeds, st.booleans())
def test_binary(seed: int, integers: bool) -> None:
    x, y = draw(seed, 4, 1, 3) * 3, draw(seed + 1, 5, 3) * 3  # broadcast
    if integers:
        x, y = x.astype(np.int32), np.where(y.astype(np.int32) == 0, 1, y.astype(np.int32))
    for name, theirs in BINARY.items():
        expected = getattr(torch, theirs)(
            t(x), t(y), **({"rounding_mode": "trunc"} if integers and theirs == "div" else {})
        )
        got = run(name, x=x, y=y)
        assert got.dtype == x.dtype
        assert_close(got, expected)
    for name, theirs in COMPARE.items():
        assert_close(run(name, x=np.round(x), y=np.round(y)), getattr(torch, theirs)(t(x).round(), t(y).round()))
    for name in LOGICAL:
        assert_close(run(name, x=x > 0, y=y > 0), getattr(torch, name)(t(x) > 0, t(y) > 0))
    assert_close(run("logical_not", x=x > 0), ~(t(x) > 0))
    assert_close(run("floor_div", x=x, y=y), torch.floor_divide(t(x), t(y)))
    assert_close(run("mod", x=np.abs(x), y=np.abs(y)), torch.remainder(t(x).abs(), t(y).abs()))
    assert_close(run("select", cond=x > 0, a=x, b=x * 2), torch.where(t(x) > 0, t(x), t(x) * 2))


def test_powers() -> None:
    x, y = np.abs(draw(0, 4, 3)) + 0.1, draw(1, 3)
    assert_close(run("pow", x=x, y=y), torch.pow(t(x), t(y)))


@pytest.mark.parametrize(("name", "dtype"), [("int32", torch.int32), ("fp16", torch.float16), ("bool", torch.bool)])
def test_cast(name: str, dtype: torch.dtype) -> None:
    x = np.array([-1.9, -0.5, 0.0, 0.5, 1.9, 1.0009], np.float32)
    assert np.array_equal(run("cast", x=x, dtype=name), t(x).to(dtype).numpy())


REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    "reduce_sum": torch.sum,
    "reduce_mean": torch.mean,
    "reduce_max": torch.amax,
    "reduce_min": torch.amin,
    "reduce_l1_norm": lambda x, dim, keepdim: torch.linalg.vector_norm(x, 1, dim, keepdim),
    "reduce_l2_norm": lambda x, dim, keepdim: torch.linalg.vector_norm(x, 2, dim, keepdim),
    "reduce_sum_square": lambda x, dim, keepdim: x.square().sum(dim, keepdim),
    "reduce_log_sum": lambda x, dim, keepdim: x.sum(dim, keepdim).log(),
    "reduce_log_sum_exp": torch.logsumexp,
}


@given(seeds, st.lists(st.integers(-3, -1), min_size=1, max_size=3, unique=True), st.booleans())
def test_reductions(seed: int, axes: list[int], keep: bool) -> None:
    x = np.abs(draw(seed, 3, 4, 5)) + 0.1  # a logarithm is among them
    for name, theirs in REDUCTIONS.items():
        assert_close(run(name, x=x, axes=ints(*axes), keep_dims=keep), theirs(t(x), dim=axes, keepdim=keep))


@given(seeds, st.integers(-3, 2), st.booleans(), st.booleans())
def test_reductions_of_one_axis(seed: int, axis: int, keep: bool, flag: bool) -> None:
    x = draw(seed, 3, 4, 5)
    assert_close(run("reduce_argmax", x=x, axis=axis, keep_dims=keep), torch.argmax(t(x), axis, keep).int())
    assert_close(run("reduce_argmin", x=x, axis=axis, keep_dims=keep), torch.argmin(t(x), axis, keep).int())
    assert_close(run("reduce_prod", x=x, axes=ints(axis), keep_dims=keep), torch.prod(t(x), axis, keep))
    assert_close(run("cumsum", x=x, axis=axis), torch.cumsum(t(x), axis))
    back = torch.cumsum(t(x).flip(axis), axis).flip(axis)
    assert_close(run("cumsum", x=x, axis=axis, reverse=True, exclusive=flag), back - (t(x) if flag else 0))
    assert run("reduce_sum", x=x).shape == ()


# --- layout ---------------------------------------------------------------------------------------------------------


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


# --- gather ---------------------------------------------------------------------------------------------------------


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


# --- compression ----------------------------------------------------------------------------------------------------


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


# --- the registry itself --------------------------------------------------------------------------------------------


def test_parameters_that_are_not_known_are_told() -> None:
    relu = OPS["relu"]
    assert relu.problem_with({"x": 0}) is None
    assert "'slope'" in str(relu.problem_with({"x": 0, "slope": 1}))
    assert "'x'" in str(relu.problem_with({}))


def test_every_op_is_tested_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    packaged = {"constexpr_blockwise_shift_scale", "constexpr_cast"}  # in test_packages.py
    assert {name for name in OPS if f'"{name}"' not in source} <= packaged
