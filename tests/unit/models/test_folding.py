"""Folded layers against the layers one by one, in torch's own arithmetic."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DEPTH_PRO_MINI, DepthProConfig
from edgedepth.models.depth_pro_decoding import DecoderStage
from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.folding import BorderedConv, deconv_after_projection, deconv_then_conv, projection_then_conv
from edgedepth.models.precision import half_precision_
from edgedepth.models.random_init import random_depth_pro

# Sums of a few hundred float32 products in another order: 9e-7 of the range was the most that was seen.
ROUNDING = 1e-5

channels = st.integers(1, 9)
sides = st.integers(1, 7)


def differs(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    return float((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


@settings(deadline=None)
@given(channels, channels, channels, sides, sides, st.sampled_from([1, 3]), st.booleans())
def test_a_transposed_convolution_and_one_behind_it(before, between, after, height, width, kernel, biased):
    torch.manual_seed(before)
    deconv = nn.ConvTranspose2d(before, between, 2, 2, bias=False)
    conv = nn.Conv2d(between, after, kernel, padding=kernel // 2, bias=biased)
    picture = torch.randn(2, before, height, width)
    assert differs(deconv_then_conv(deconv, conv)(picture), conv(deconv(picture))) < ROUNDING


@settings(deadline=None)
@given(channels, channels, channels, sides, sides, st.sampled_from([(2, 0), (4, 1)]))
def test_a_projection_before_a_transposed_convolution(before, between, after, height, width, kernel):
    torch.manual_seed(before)
    projection = nn.Conv2d(before, between, 1, bias=False)
    deconv = nn.ConvTranspose2d(between, after, kernel[0], 2, padding=kernel[1])
    picture = torch.randn(1, before, height, width)
    assert differs(deconv_after_projection(projection, deconv)(picture), deconv(projection(picture))) < ROUNDING


def pairs(before: int, between: int, after: int) -> list[tuple[nn.Module, nn.Module, nn.Module]]:
    """Two layers with biases, and what they are folded to."""
    projection, conv = nn.Conv2d(before, between, 1), nn.Conv2d(between, after, 3, padding=1)
    deconv = nn.ConvTranspose2d(before, between, 2, 2)
    return [(projection, conv, projection_then_conv(projection, conv)), (deconv, conv, deconv_then_conv(deconv, conv))]


@settings(deadline=None)
@given(channels, channels, channels, st.integers(2, 7), st.integers(2, 7), st.sampled_from([0, 1]))
def test_biases_end_at_the_border(before, between, after, height, width, which):
    torch.manual_seed(between)
    first, second, folded = pairs(before, between, after)[which]
    bordered = BorderedConv(folded, (first, second), (before, width))
    picture = torch.randn(1, before, height, width)
    assert differs(bordered(picture, at_top=True, at_bottom=True), second(first(picture))) < ROUNDING


@pytest.mark.parametrize("which", [0, 1])
def test_rows_from_the_middle_have_no_border_above_and_below(which):
    torch.manual_seed(0)
    first, second, folded = pairs(4, 5, 6)[which]
    picture = torch.randn(1, 4, 12, 9)
    whole = second(first(picture))
    part = BorderedConv(folded, (first, second), (4, 9))(picture[:, :, 3:9], at_top=False, at_bottom=False)
    scale = whole.shape[2] // 12
    # The outermost row of the part sees zeros instead of its neighbours.
    assert differs(part[:, :, scale:-scale], whole[:, :, 4 * scale : 8 * scale]) < ROUNDING


def test_a_border_that_is_forgotten_shows():
    """A planted fault: the inner bias at the border."""
    torch.manual_seed(0)
    first, second, folded = pairs(4, 5, 6)[1]
    picture = torch.randn(1, 4, 6, 9)
    forgotten = BorderedConv(folded, (first, second), (4, 9))(picture, at_top=False, at_bottom=False)
    assert differs(forgotten, second(first(picture))) > 1e-2


def decoder_inputs(config: DepthProConfig) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(1, times * config.grid, times * config.grid, config.width) for times in (4, 4, 4, 2, 1, 1)]


@pytest.fixture(scope="module")
def model():
    """The mini with biases: random_depth_pro's are zero, and zeros would hide a lost one."""
    torch.manual_seed(2)
    drawn = random_depth_pro(DEPTH_PRO_MINI, 0).eval()
    for name, parameter in drawn.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
    return drawn


def undivided(model: DepthPro, inputs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """The reference's own decoder and head, without strips."""
    names = ("latent0", "latent1", "level0", "level1", "level2", "image_features")
    features, lowres_features = model.decoder(model.encoder.upsample(**dict(zip(names, inputs, strict=True))))
    return model.head(features), lowres_features


@pytest.mark.parametrize("folded", [False, True], ids=["plain", "folded"])
@pytest.mark.parametrize("strip_rows", [4, 8, 16, 32])
def test_a_decoder_in_strips_is_the_references(model, strip_rows, folded):
    inputs = decoder_inputs(DEPTH_PRO_MINI)
    expected = undivided(model, inputs)
    decoded = DecoderStage(model, folded=folded, strip_rows=strip_rows)(*inputs)
    for actual, wanted in zip(decoded, expected, strict=True):
        assert differs(actual, wanted) < ROUNDING
    # Every row, not only the worst: a strip's seam would be one of 512.
    rows = (decoded[0] - expected[0]).abs().amax((0, 1, 3))
    assert float(rows.max()) < ROUNDING * float(expected[0].max())


def test_folding_leaves_the_model_as_it_was(model):
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    DecoderStage(model, folded=True)
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


DECODERS = ["decoder", "decoder_coarse", "decoder_window"]


def test_only_the_decoder_is_another_module(model):
    plain, folded = stage_modules(model), stage_modules(model, folded=True)
    weights = {name: [stage[name].state_dict().keys() for stage in (plain, folded)] for name in plain}
    assert [name for name, (one, other) in weights.items() if one != other] == DECODERS


def test_a_folded_decoder_can_be_halved(model):
    import copy

    inputs = decoder_inputs(DEPTH_PRO_MINI)
    expected = stage_modules(model)["decoder"](*inputs)
    halved = half_precision_(copy.deepcopy(DecoderStage(model, folded=True)))
    for actual, wanted in zip(halved(*inputs), expected, strict=True):
        assert actual.dtype == torch.float32
        # 11 bits, and a few hundred of them added up; folding itself adds no more than that.
        assert differs(actual, wanted) < 1e-2
