"""Products, attention, norms, activations, elementwise operations and reductions against torch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from .against_torch import assert_close, draw, ints, run, seeds, sizes, t


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
    assert_close(run("argsort", x=x, axis=axis, ascending=flag), torch.argsort(t(x), axis, descending=not flag).int())
    assert_close(run("cumsum", x=x, axis=axis), torch.cumsum(t(x), axis))
    back = torch.cumsum(t(x).flip(axis), axis).flip(axis)
    assert_close(run("cumsum", x=x, axis=axis, reverse=True, exclusive=flag), back - (t(x) if flag else 0))
    assert run("reduce_sum", x=x).shape == ()
