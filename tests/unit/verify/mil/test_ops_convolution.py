"""Convolutions, pools and resizing against torch, on shapes that hypothesis draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from .against_torch import assert_close, draw, ints, run, seeds, t


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
    geometry = zip(x.shape[2:], kernel, strides, spread, pad, more, strict=True)
    assume(all((n - 1) * step - 2 * cut + (size - 1) * gap + 1 + end > 0 for n, size, step, gap, cut, end in geometry))
    weight, bias = draw(seed + 1, 2 * groups, 3, *kernel), draw(seed + 2, 3 * groups)
    function = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[axes - 1]
    # oneDNN refuses some in fp32 ("could not construct a memory descriptor"); doubles go to torch's own kernels.
    inputs = (t(x).double(), t(weight).double(), t(bias).double())
    expected = function(
        *inputs, stride=strides, padding=pad, output_padding=more, groups=groups, dilation=spread
    ).float()
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
