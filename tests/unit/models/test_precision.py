"""What stays fp32 when a model is halved, and what the halving refuses."""

import pytest
import torch
from torch import nn

from edgedepth.core.errors import UnsupportedError
from edgedepth.models.precision import Fp32Conv2d, Fp32LayerNorm, all_finite, cast_weight, half_precision_


def test_layer_norm_survives_values_whose_squares_overflow_fp16() -> None:
    tokens = torch.tensor([[1000.0, -3000.0, 500.0, 1500.0]], dtype=torch.float16)

    normed = Fp32LayerNorm(4)(tokens)

    assert normed.dtype == torch.float16
    expected = nn.functional.layer_norm(tokens.double(), (4,))
    # fp16 has 11 bits: half a step at values below 2
    torch.testing.assert_close(normed.double(), expected, rtol=0, atol=2**-11)


def test_the_last_convolution_returns_float32() -> None:
    convolution = Fp32Conv2d(2, 1, kernel_size=1)

    output = convolution(torch.rand(1, 2, 3, 3).half())

    assert output.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halving_spares_the_islands(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(4, 4), Fp32LayerNorm(4), Fp32Conv2d(1, 1, kernel_size=1))

    assert half_precision_(model, dtype) is model

    assert [p.dtype for p in model.parameters()] == [dtype] * 2 + [torch.float32] * 4


def test_a_weight_beyond_fp16_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with torch.no_grad():
        model[0].bias.fill_(70000.0)

    with pytest.raises(UnsupportedError, match=r"0\.bias reaches 7e\+04"):
        half_precision_(model)
    half_precision_(model, torch.bfloat16)  # whose range is that of fp32


def test_cast_weight_detaches() -> None:
    assert not cast_weight("w", nn.Parameter(torch.ones(2)), torch.float16).requires_grad


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_one_bad_value_is_found(bad: float, dtype: torch.dtype) -> None:
    tensor = torch.zeros(1000, dtype=dtype)
    assert all_finite(tensor)
    tensor[617] = bad
    assert not all_finite(tensor)
