"""Random weights are reproducible, and the model on them behaves like one that sees."""

import pytest
import torch
import torch.nn.functional as F

from edgedepth.models.checkpoints import weights_sha256
from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import DEPTH_PRO_MINI, DepthProConfig
from edgedepth.models.random_init import random_depth_pro, randomise_

NARROW = DepthProConfig(
    width=32,
    depth=24,
    heads=2,
    patch=16,
    tile=128,
    hooks=(5, 11),
    feature_dims=(32, 48, 64, 64),
    decoder_width=32,
)


def pictures(side: int) -> torch.Tensor:
    """Something like a photograph, noise, black and white."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 12, 12, generator=generator)
    photo = F.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1) * 2 - 1
    noise = torch.rand(1, 3, side, side, generator=generator) * 2 - 1
    return torch.cat((photo, noise, -torch.ones_like(photo), torch.ones_like(photo)))


def test_a_seed_gives_the_same_weights_again_and_another_gives_others() -> None:
    first, again, other = (weights_sha256(random_depth_pro(NARROW, seed)) for seed in (3, 3, 4))

    assert first == again
    assert first != other


def test_weights_are_filled_in_place_whatever_was_there() -> None:
    model = DepthPro(NARROW)
    storage = {name: weight.data_ptr() for name, weight in model.named_parameters()}

    randomise_(model, seed=3)

    assert weights_sha256(model) == weights_sha256(random_depth_pro(NARROW, seed=3))
    assert {name: weight.data_ptr() for name, weight in model.named_parameters()} == storage


def test_no_weight_is_left_as_the_constructor_made_it() -> None:
    model = random_depth_pro(NARROW, seed=0)

    constant = [name for name, w in model.named_parameters() if w.numel() > 1 and w.std() < 1e-3]

    assert constant == []
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("config", [DEPTH_PRO_MINI, NARROW], ids=["mini", "deep-narrow"])
@torch.no_grad()
def test_outputs_are_neither_zero_nor_clamped_nor_flat(config: DepthProConfig, seed: int) -> None:
    inverse_depth, fov_deg = random_depth_pro(config, seed)(pictures(config.input_size))

    photo_and_noise = inverse_depth[:2]
    assert (photo_and_noise > 0.02).float().mean() > 0.999
    low, high = photo_and_noise.flatten().sort().values[[10, -10]]
    assert high < 5
    assert low >= 0
    assert 0.5 < photo_and_noise.mean() < 2
    for one in inverse_depth:
        assert one.std() / one.mean() >= 0.1
    # and it depends on the picture, not on the place alone
    assert (inverse_depth[0] - inverse_depth[1]).abs().mean() > 0.05
    assert ((fov_deg > 40) & (fov_deg < 75)).all()
