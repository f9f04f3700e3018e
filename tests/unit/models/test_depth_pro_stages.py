"""Stages against their declarations, against the reference they are cut from, and halved."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedepth.core.spec import PyramidLevel
from edgedepth.models.depth_pro import DepthPro
from edgedepth.models.depth_pro_config import (
    DEPTH_PRO_MINI,
    DepthProConfig,
    decoder_window_stages,
    depth_pro_stages,
    depth_pro_tiling,
    whole_stage,
)
from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.precision import Fp32Conv2d, Fp32LayerNorm, half_precision_
from edgedepth.models.random_init import random_depth_pro

CONFIG = DepthProConfig(
    width=48,
    depth=4,
    heads=3,
    patch=16,
    tile=128,
    hooks=(0, 2),
    feature_dims=(24, 32, 40, 56),
    decoder_width=16,
    head_width=8,
)


@pytest.fixture(scope="module")
def model() -> DepthPro:
    return random_depth_pro(CONFIG, seed=0)


@pytest.fixture(scope="module")
def mini() -> DepthPro:
    return random_depth_pro(DEPTH_PRO_MINI, seed=0)


def picture(config: DepthProConfig, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    side = config.input_size
    coarse = torch.rand(1, 3, 10, 10, generator=generator)
    fine = torch.rand(1, 3, side, side, generator=generator)
    return (0.8 * F.interpolate(coarse, size=(side, side), mode="bicubic") + 0.2 * fine).clamp(0, 1) * 2 - 1


def unfolded(image: Tensor, tile: int, stride: int) -> Tensor:
    """A level's tiles, by torch's own unfolding."""
    columns = F.unfold(image, kernel_size=tile, stride=stride)
    return columns.transpose(1, 2).reshape(-1, 3, tile, tile)


def pasted(features: Tensor, level: PyramidLevel, stride: int, side: int) -> Tensor:
    """Tile features pasted where they came from; inner borders give up their padding."""
    grid, pad = features.shape[1], level.padding
    fused = torch.full((1, side, side, features.shape[-1]), float("nan"))
    for index, tile in enumerate(features):
        y, x = divmod(index, level.steps)
        top, left = (pad if step > 0 else 0 for step in (y, x))
        bottom, right = (grid - pad if step < level.steps - 1 else grid for step in (y, x))
        fused[0, y * stride + top : y * stride + bottom, x * stride + left : x * stride + right] = tile[
            top:bottom, left:right
        ]
    assert not fused.isnan().any()
    return fused


def run_by_hand(config: DepthProConfig, stages: dict[str, nn.Module], image: Tensor) -> tuple[Tensor, Tensor]:
    """The program in a few lines: pyramid, tiles, encoders, fusion, decoder, field of view."""
    levels = depth_pro_tiling(config).levels
    side = config.input_size
    pyramid = [
        image if level.scale == 1 else F.interpolate(image, size=(side // level.scale,) * 2, mode="bilinear")
        for level in levels
    ]
    encoded = [
        stages["patch_encoder"](unfolded(scaled, config.tile, level.stride))
        for scaled, level in zip(pyramid, levels, strict=True)
    ]
    strides = [level.stride // config.patch for level in levels]

    def fused(level: int, output: int) -> Tensor:
        return pasted(encoded[level][output], levels[level], strides[level], config.fused_sides[level])

    (image_features,) = stages["image_encoder"](pyramid[2])
    inverse_depth, lowres_features = stages["decoder"](
        fused(0, 0), fused(0, 1), fused(0, 2), fused(1, 2), fused(2, 2), image_features
    )
    (fov_deg,) = stages["fov"](pyramid[2], lowres_features)
    return inverse_depth, fov_deg


@pytest.mark.parametrize("seed", [0, 1])
@torch.no_grad()
def test_stages_composed_by_hand_are_the_reference(model: DepthPro, seed: int) -> None:
    image = picture(CONFIG, seed)
    expected_depth, expected_fov = model(image)

    inverse_depth, fov_deg = run_by_hand(CONFIG, stage_modules(model), image)

    # the same fp32 arithmetic; matmuls are blocked otherwise for another batch size
    scale = expected_depth.clamp(min=0.1 * expected_depth.mean().item())
    assert ((inverse_depth - expected_depth).abs() / scale).max() <= 1e-5
    torch.testing.assert_close(fov_deg, expected_fov, rtol=1e-5, atol=0)


@torch.no_grad()
def test_every_stage_takes_and_returns_what_it_declares(model: DepthPro) -> None:
    modules = stage_modules(model)
    specs = (*depth_pro_stages(CONFIG), *decoder_window_stages(CONFIG), whole_stage(CONFIG))
    assert set(modules) == {spec.name for spec in specs}

    for spec in specs:
        tiles = {"tiles": 2}
        feeds = [torch.rand([tiles.get(n, n) if isinstance(n, str) else n for n in t.shape]) for t in spec.inputs]
        outputs = modules[spec.name](*feeds)

        assert isinstance(outputs, tuple)
        expected = [tuple(tiles[n] if isinstance(n, str) else n for n in t.shape) for t in spec.outputs]
        assert [tuple(output.shape) for output in outputs] == expected
        assert {output.dtype for output in outputs} == {torch.float32}


def test_stages_share_the_models_weights_and_hold_every_one_once(model: DepthPro) -> None:
    modules = stage_modules(model)
    whole = {id(weight) for weight in modules.pop("whole").parameters()}
    again = [modules.pop(stage.name) for stage in decoder_window_stages(CONFIG)]
    assert {id(weight) for module in again for weight in module.parameters()} <= whole

    held = [id(weight) for module in modules.values() for weight in module.parameters()]

    assert len(held) == len(set(held))
    assert set(held) == whole == {id(weight) for weight in model.parameters()}


def assert_near(outputs: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    """fp16 rounds to 2^-11 = 5e-4, and some dozens of roundings in a row add up as their root."""
    error = (outputs[0] - expected[0]).abs() / expected[0].mean()
    assert 0 < error.mean() < 2e-3
    assert error.max() < 2e-2
    assert (outputs[1] - expected[1]).abs().max() < 0.1
    assert {output.dtype for output in outputs} == {torch.float32}


@torch.no_grad()
def test_halved_stages_stay_close_to_fp32_and_leave_the_reference_alone(model: DepthPro) -> None:
    halved = {name: half_precision_(copy.deepcopy(stage)) for name, stage in stage_modules(model).items()}
    image = picture(CONFIG, seed=2)

    assert_near(run_by_hand(CONFIG, halved, image), model(image))

    assert {weight.dtype for weight in model.parameters()} == {torch.float32}


@torch.no_grad()
def test_the_halved_mini_stays_close_to_fp32(mini: DepthPro) -> None:
    image = picture(DEPTH_PRO_MINI, seed=2)

    assert_near(half_precision_(copy.deepcopy(mini))(image), mini(image))


def test_what_stays_fp32_is_every_layer_norm_and_the_two_last_convolutions(mini: DepthPro) -> None:
    halved = half_precision_(copy.deepcopy(mini))

    kept = {
        name: type(module)
        for name, module in halved.named_modules()
        if any(weight.dtype == torch.float32 for weight in module.parameters(recurse=False))
    }

    assert {name for name, kind in kept.items() if kind is Fp32Conv2d} == {"head.4", "fov.head.4"}
    norms = {name for name, kind in kept.items() if kind is Fp32LayerNorm}
    assert len(norms) == 3 * (2 * DEPTH_PRO_MINI.depth + 1)
    assert len(kept) == len(norms) + 2
