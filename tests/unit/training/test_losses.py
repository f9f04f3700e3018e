"""The training losses against values worked out by hand, OpenCV's filters, finite differences and planted faults."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgedepth.training import losses
from edgedepth.training.losses import (
    fov_loss,
    mae_loss,
    mage_loss,
    male_loss,
    mse_loss,
    msge_loss,
    multi_scale_derivative_loss,
    normalise,
    sharpening_loss,
    ssi_mage_loss,
    stage_one_loss,
)

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

EVERY_LOSS: dict[str, Loss] = {
    "mae": mae_loss,
    "trimmed_mae": lambda p, t, v: mae_loss(p, t, v, trim=0.2),
    "mse": mse_loss,
    "mage": lambda p, t, v: mage_loss(p, t, v, scales=2),
    "male": lambda p, t, v: male_loss(p, t, v, scales=2),
    "msge": lambda p, t, v: msge_loss(p, t, v, scales=2),
    "ssi_mage": lambda p, t, v: ssi_mage_loss(p, t, v, scales=2),
    "stage_one_synthetic": lambda p, t, v: stage_one_loss(p, t, v, synthetic=True, scales=2),
    "stage_one_real": lambda p, t, v: stage_one_loss(p, t, v, synthetic=False),
    "sharpening": lambda p, t, v: sharpening_loss(p, t, v, scales=2),
}

every_loss = pytest.mark.parametrize("loss", EVERY_LOSS.values(), ids=EVERY_LOSS.keys())


def image(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)[None, None]


def all_valid(maps: Tensor) -> Tensor:
    return torch.ones_like(maps, dtype=torch.bool)


def random_batch(
    seed: int, *, count: int = 2, height: int = 9, width: int = 11, share_valid: float = 0.9
) -> tuple[Tensor, Tensor, Tensor]:
    """Predicted, true (float64, positive) and valid; the first rows are always valid, so no image is empty."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 1, height, width)
    predicted = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
    true = torch.rand(shape, generator=generator, dtype=torch.float64) + 0.1
    valid = torch.rand(shape, generator=generator) < share_valid
    valid[..., :5, :] = True
    return predicted, true, valid


# ---- values worked out by hand ----


def test_mae_and_mse_by_hand() -> None:
    predicted, true = image([[1, 2], [3, 4]]), image([[1, 4], [2, 0]])  # errors 0, 2, 1, 4
    valid = all_valid(true)
    assert mae_loss(predicted, true, valid).item() == 7 / 4  # (0 + 2 + 1 + 4) / 4
    assert mse_loss(predicted, true, valid).item() == 21 / 4  # (0 + 4 + 1 + 16) / 4
    valid[0, 0, 1, 1] = False
    assert mae_loss(predicted, true, valid).item() == 1.0  # (0 + 2 + 1) / 3
    assert mse_loss(predicted, true, valid).item() == 5 / 3  # (0 + 4 + 1) / 3


def test_each_image_weighs_the_same_however_few_its_valid_pixels() -> None:
    predicted = torch.tensor([[1.0, 1.0, 1.0, 1.0], [3.0, 9.0, 9.0, 9.0]]).reshape(2, 1, 2, 2)
    valid = torch.tensor([[True] * 4, [True, False, False, False]]).reshape(2, 1, 2, 2)
    # The images' means are 1 and 3; all five pixels together would give 7 / 5.
    assert mae_loss(predicted, torch.zeros_like(predicted), valid).item() == 2.0


def test_trimmed_mae_by_hand() -> None:
    predicted = image([[3, -10, 1, 8, 5, -2, 9, 4, -7, 6]])  # magnitudes 1 ... 10
    true = torch.zeros_like(predicted)
    valid = all_valid(true)
    assert mae_loss(predicted, true, valid, trim=0.2).item() == 4.5  # 10 and 9 dropped: (1 + ... + 8) / 8
    assert mae_loss(predicted, true, valid).item() == 5.5
    valid[..., 1] = False  # the 10: 20 % of nine pixels is one whole pixel, the 9
    assert mae_loss(predicted, true, valid, trim=0.2).item() == 4.5


def test_a_share_that_binary_rounds_down_still_drops_whole_pixels() -> None:
    predicted = torch.arange(1.0, 101.0).reshape(1, 1, 10, 10)
    # 0.29 * 100 is 28.999999999999996: 29 are dropped, and (1 + ... + 71) / 71 = 36 is left.
    assert mae_loss(predicted, torch.zeros_like(predicted), all_valid(predicted), trim=0.29).item() == 36.0


def test_normalisation_by_hand() -> None:
    odd = image([[10, 1, 3, 2, 4]])  # median 3; deviations 7, 2, 0, 1, 1, their mean 11 / 5
    expected = image([[7, -2, 0, -1, 1]]) / (11 / 5)
    torch.testing.assert_close(normalise(odd, all_valid(odd)), expected, rtol=1e-15, atol=0)  # a rounding or two
    even = image([[4, 1, 2, 9]])  # lower median 2; deviations 2, 1, 0, 7, their mean 10 / 4
    torch.testing.assert_close(normalise(even, all_valid(even)), image([[2, -1, 0, 7]]) / 2.5, rtol=1e-15, atol=0)


def test_normalisation_counts_valid_pixels_only_and_gives_zero_elsewhere() -> None:
    values = image([[10, 1, 3, float("nan"), 2, 4, 1e9]])
    valid = torch.tensor([[True, True, True, False, True, True, False]])[None, None]
    expected = image([[7, -2, 0, 0, -1, 1, 0]]) / (11 / 5)
    torch.testing.assert_close(normalise(values, valid), expected, rtol=1e-15, atol=0)


def test_a_constant_map_normalises_to_zeros() -> None:
    constant = torch.full((1, 1, 4, 4), 0.3)
    assert torch.equal(normalise(constant, all_valid(constant)), torch.zeros(1, 1, 4, 4))


def test_one_window_of_each_derivative_by_hand() -> None:
    error = image([[1, 2, 4], [0, 5, 1], [2, 3, 6]])
    zero, valid = torch.zeros_like(error), all_valid(error)
    # ∂x = (3 (4 - 1) + 10 (1 - 0) + 3 (6 - 2)) / 32 = 31 / 32
    # ∂y = (3 (2 - 1) + 10 (3 - 2) + 3 (6 - 4)) / 32 = 19 / 32
    assert mage_loss(error, zero, valid, scales=1).item() == 50 / 32
    assert msge_loss(error, zero, valid, scales=1).item() == (31**2 + 19**2) / 32**2
    assert male_loss(error, zero, valid, scales=1).item() == 14  # |2 + 0 + 1 + 3 - 4 * 5|
    squared = multi_scale_derivative_loss(error, zero, valid, derivative="laplace", power=2, scales=1)
    assert squared.item() == 14**2


def test_two_scales_of_an_impulse_by_hand() -> None:
    error = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    error[0, 0, 2, 2] = 16
    zero, valid = torch.zeros_like(error), all_valid(error)
    # Scale 1: the impulse meets every weight of the kernel once in the nine windows.
    #   Scharr  sum |w| = 2 * 16 / 32 = 1 an axis:        16 * 1 * 2 axes = 32;     mean 32 / 9
    #           sum w^2 = 2 * (9 + 100 + 9) / 1024:       256 * that * 2 = 118;     mean 118 / 9
    #   Laplace sum |w| = 4 + 4:                          16 * 8 = 128;             mean 128 / 9
    # Scale 2: 3x3, the middle 16 * 4 / 16 = 4, the others two pixels away and 0. Scharr 0, Laplace |-4 * 4| = 16.
    assert mage_loss(error, zero, valid, scales=2).item() == pytest.approx((32 / 9 + 0) / 2, rel=1e-15)
    assert msge_loss(error, zero, valid, scales=2).item() == pytest.approx((118 / 9 + 0) / 2, rel=1e-15)
    assert male_loss(error, zero, valid, scales=2).item() == pytest.approx((128 / 9 + 16) / 2, rel=1e-15)


def test_a_slope_of_one_has_gradient_one_and_the_double_at_each_coarser_scale() -> None:
    slope = torch.arange(33, dtype=torch.float64).expand(1, 1, 33, 33)
    flat, valid = torch.zeros_like(slope), all_valid(slope)
    assert mage_loss(slope, flat, valid, scales=1).item() == pytest.approx(1.0, rel=1e-15)
    # 33 pixels become 17: the mirrored border turns the first pixel 0 into 0.5 and the last 32 into 31.5, so of the 15
    # columns of windows the outermost two see (4 - 0.5) / 2 = 1.75 and the others 2.
    coarse = (13 * 2 + 2 * 1.75) / 15
    assert mage_loss(slope, flat, valid, scales=2).item() == pytest.approx((1 + coarse) / 2, rel=1e-15)


def test_ssi_mage_by_hand() -> None:
    true = image([[1, 2, 3], [1, 2, 3], [1, 2, 3]])  # median 2, mean deviation 6 / 9: slope 1 / (2 / 3) = 1.5
    valid = all_valid(true)
    assert ssi_mage_loss(7 * true + 5, true, valid, scales=1).item() == pytest.approx(0.0, abs=1e-14)  # rounding
    assert ssi_mage_loss(-true, true, valid, scales=1).item() == pytest.approx(3.0, rel=1e-14)  # -1.5 against 1.5


def test_fov_loss_by_hand() -> None:
    predicted, true = torch.tensor([60.0, 70.0]), torch.tensor([63.0, 66.0])
    assert fov_loss(predicted, true).item() == 12.5  # (9 + 16) / 2, square degrees


# ---- an independent computation ----


def opencv_derivative_loss(
    predicted: np.ndarray, true: np.ndarray, valid: np.ndarray, derivative: str, power: int, scales: int
) -> float:
    """One (H, W) image by OpenCV's filters, the predicted and the true map each on its own."""
    means = []
    window = np.ones((3, 3), np.uint8)
    weights = np.array([0.25, 0.5, 0.25])
    for scale in range(scales):
        if scale:
            predicted, true = (
                cv2.sepFilter2D(map_, cv2.CV_64F, weights, weights, borderType=cv2.BORDER_REFLECT_101)[::2, ::2].copy()
                for map_ in (predicted, true)
            )
            valid = cv2.erode(valid.astype(np.uint8), window)[::2, ::2].astype(bool)

        def filtered(map_: np.ndarray) -> list[np.ndarray]:
            if derivative == "laplace":
                return [cv2.Laplacian(map_, cv2.CV_64F, ksize=1)]
            return [cv2.Scharr(map_, cv2.CV_64F, dx, 1 - dx, scale=1 / 32) for dx in (1, 0)]

        cost = sum(np.abs(p - t) ** power for p, t in zip(filtered(predicted), filtered(true), strict=True))
        counted = cv2.erode(valid.astype(np.uint8), window).astype(bool)[1:-1, 1:-1]
        means.append(cost[1:-1, 1:-1][counted].mean() if counted.any() else 0.0)
    return float(np.mean(means))


@pytest.mark.parametrize("share_valid", [1.0, 0.995, 0.7])
@pytest.mark.parametrize(("height", "width"), [(65, 96), (80, 67)])
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("derivative", ["scharr", "laplace"])
def test_derivative_losses_equal_opencvs(
    derivative: str, power: int, height: int, width: int, share_valid: float
) -> None:
    predicted, true, valid = random_batch(5, height=height, width=width, share_valid=share_valid)
    got = multi_scale_derivative_loss(predicted, true, valid, derivative=derivative, power=power).item()  # type: ignore[arg-type]
    expected = np.mean(
        [
            opencv_derivative_loss(*(part[index, 0].numpy() for part in (predicted, true, valid)), derivative, power, 6)
            for index in range(2)
        ]
    )
    assert got == pytest.approx(expected, rel=1e-12)  # float64 sums in another order


def test_the_shorthands_are_the_published_ones() -> None:
    maps = random_batch(6, height=66, width=70)
    for loss, derivative, power in ((mage_loss, "scharr", 1), (male_loss, "laplace", 1), (msge_loss, "scharr", 2)):
        general = multi_scale_derivative_loss(*maps, derivative=derivative, power=power, scales=6)  # type: ignore[arg-type]
        assert loss(*maps).item() == general.item()
    predicted, true, valid = maps
    normalised = mage_loss(normalise(predicted, valid), normalise(true, valid), valid)
    assert ssi_mage_loss(*maps).item() == normalised.item()


def test_the_stages_are_sums_of_their_losses() -> None:
    maps = random_batch(7, height=66, width=70)
    assert stage_one_loss(*maps, synthetic=True).item() == (mae_loss(*maps) + ssi_mage_loss(*maps)).item()
    assert stage_one_loss(*maps, synthetic=False).item() == mae_loss(*maps, trim=0.2).item()
    five = sum(loss(*maps).item() for loss in (mae_loss, mse_loss, mage_loss, male_loss, msge_loss))
    assert sharpening_loss(*maps).item() == pytest.approx(five, rel=1e-15)  # the same numbers, added in float64


# ---- gradients ----


@every_loss
def test_gradients_equal_finite_differences(loss: Loss) -> None:
    predicted, true, valid = random_batch(8, height=7, width=6)
    assert torch.autograd.gradcheck(lambda p: loss(p, true, valid), predicted.requires_grad_())


def test_normalisation_and_fov_gradients_equal_finite_differences() -> None:
    predicted, _, valid = random_batch(9, height=4, width=5)
    assert torch.autograd.gradcheck(lambda p: normalise(p, valid), predicted.requires_grad_())
    fov = torch.tensor([40.0, 66.0, 80.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: fov_loss(p, fov), (fov + 3).requires_grad_())


# ---- invariance ----


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    scale=st.floats(1e-2, 1e2),
    other_scale=st.floats(1e-2, 1e2),
    shift=st.floats(-10, 10),
    other_shift=st.floats(-10, 10),
)
def test_normalised_losses_are_blind_to_each_maps_scale_and_shift(
    seed: int, scale: float, other_scale: float, shift: float, other_shift: float
) -> None:
    predicted, true, valid = random_batch(seed)
    changed = scale * predicted + shift, other_scale * true + other_shift
    # A shift of 10 on a map scaled to a hundredth leaves 1e-16 * 10 / 1e-2 = 1e-13 of relative rounding, and some sums.
    torch.testing.assert_close(normalise(changed[0], valid), normalise(predicted, valid), rtol=0, atol=1e-10)
    assert ssi_mage_loss(*changed, valid, scales=2).item() == pytest.approx(
        ssi_mage_loss(predicted, true, valid, scales=2).item(), rel=1e-10
    )


def test_one_images_normalisation_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    predicted, _, valid = random_batch(10)
    predicted[1] *= 50
    torch.testing.assert_close(normalise(predicted, valid)[:1], normalise(predicted[:1], valid[:1]), rtol=0, atol=0)


# ---- masks ----


@every_loss
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), rubbish=st.sampled_from([float("nan"), float("inf"), -1e30, 7.0]))
def test_what_stands_under_an_invalid_mask_never_matters(loss: Loss, seed: int, rubbish: float) -> None:
    predicted, true, valid = random_batch(seed, share_valid=0.6)

    def value_and_gradient(fill: float) -> tuple[Tensor, Tensor]:
        leaf = predicted.masked_fill(~valid, fill).requires_grad_()
        value = loss(leaf, true.masked_fill(~valid, fill), valid)
        (gradient,) = torch.autograd.grad(value, leaf)
        return value.detach(), gradient

    value, gradient = value_and_gradient(0.0)
    other_value, other_gradient = value_and_gradient(rubbish)
    assert torch.equal(value, other_value)
    assert torch.equal(gradient, other_gradient)
    assert not gradient[~valid].any()


def test_a_derivative_counts_only_where_all_of_its_window_is_valid() -> None:
    error = torch.zeros(1, 1, 3, 7)
    error[..., 1] = 1.0
    valid = all_valid(error)
    zero = torch.zeros_like(error)
    # Windows centred on columns 1 ... 5. The column of ones gives |∂x| 0, 1/2, 0, 0, 0 there: (1/2) / 5.
    assert mage_loss(error, zero, valid, scales=1).item() == pytest.approx(0.1)
    valid[0, 0, 0, 0] = False  # a corner of the first window, which costs nothing: (1/2) / 4
    assert mage_loss(error, zero, valid, scales=1).item() == pytest.approx(0.125)
    valid[0, 0, 2, 1] = False  # and now the second window, and the third: nothing that costs is left
    assert mage_loss(error, zero, valid, scales=1).item() == 0.0


def test_an_image_too_sparse_for_any_derivative_adds_zero_and_no_nan() -> None:
    predicted = torch.rand(1, 1, 8, 8, requires_grad=True)
    valid = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    valid[0, 0, 4, 4] = True
    loss = sharpening_loss(predicted, predicted.detach() + 1, valid, scales=2)
    assert loss.item() == pytest.approx(2.0, rel=1e-6)  # MAE 1 + MSE 1 of the one pixel, in float32
    loss.backward()
    assert predicted.grad is not None
    assert predicted.grad.nonzero().tolist() == [[0, 0, 4, 4]]


@pytest.mark.parametrize("count", [5, 99, 100, 101])
def test_trim_drops_exactly_the_largest_fifth_of_the_valid_errors(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    predicted = (torch.randperm(150, generator=generator) + 1.0).reshape(1, 1, 10, 15).requires_grad_()
    valid = torch.zeros(150, dtype=torch.bool)
    valid[torch.randperm(150, generator=generator)[:count]] = True
    valid = valid.reshape(predicted.shape)
    loss = mae_loss(predicted, torch.zeros_like(predicted), valid, trim=0.2)
    loss.backward()
    kept = predicted.detach()[valid].sort().values[: count - count // 5]
    assert loss.item() == pytest.approx(kept.mean().item(), rel=1e-6)  # float32 sums in another order
    assert predicted.grad is not None
    assert torch.equal(predicted.detach()[predicted.grad != 0].sort().values, kept)


def test_of_equal_errors_no_more_than_the_fifth_is_dropped() -> None:
    predicted = torch.ones(1, 1, 5, 4, requires_grad=True)
    loss = mae_loss(predicted, torch.zeros_like(predicted), all_valid(predicted), trim=0.2)
    loss.backward()
    assert loss.item() == 1.0
    assert predicted.grad is not None
    assert predicted.grad.count_nonzero().item() == 16


# ---- planted faults ----


def step_edge(column: int, *, size: int = 96) -> Tensor:
    edge = torch.full((1, 1, size, size), 0.2)
    edge[..., column:] = 1.0
    return edge


def blurred(maps: Tensor, sigma: float) -> Tensor:
    picture = cv2.GaussianBlur(maps[0, 0].numpy(), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return torch.from_numpy(picture)[None, None]


def test_a_shifted_edge_costs_and_a_blurred_constant_does_not() -> None:
    true, constant = step_edge(48), torch.full((1, 1, 96, 96), 0.4)
    valid = all_valid(true)
    for loss in (mage_loss, male_loss, msge_loss):
        assert loss(blurred(constant, 3.0), constant, valid).item() < 1e-6  # float32 rounding of the blur's weights
        assert loss(true + 0.3, true, valid).item() < 1e-6  # a constant offset is the MAE's to see
        assert loss(step_edge(50), true, valid).item() > 1e-3
        assert loss(step_edge(52), true, valid).item() > loss(step_edge(49), true, valid).item()


def test_a_blurrier_edge_costs_more_in_every_loss_of_the_second_stage() -> None:
    true = step_edge(48)
    for loss in (mae_loss, mse_loss, mage_loss, male_loss, msge_loss, sharpening_loss, ssi_mage_loss):
        costs = [loss(blurred(true, sigma), true, all_valid(true)).item() for sigma in (0.5, 1.0, 2.0)]
        assert costs == sorted(costs), loss.__name__
        assert costs[0] > 0.0


def test_texture_painted_on_a_flat_wall_costs_more_than_the_same_error_spread_evenly() -> None:
    true = torch.full((1, 1, 96, 96), 0.5)
    stripes = true + 0.1 * (-1.0) ** (torch.arange(96) // 2)
    offset, valid = true + 0.1, all_valid(true)
    assert mae_loss(stripes, true, valid).item() == pytest.approx(mae_loss(offset, true, valid).item(), rel=1e-5)
    for loss in (mage_loss, male_loss, msge_loss, sharpening_loss):
        assert loss(stripes, true, valid).item() > 1.05 * loss(offset, true, valid).item()


def test_coarse_scales_see_an_error_that_the_finest_hardly_does() -> None:
    true = torch.zeros(1, 1, 128, 128)
    wave = 0.5 * torch.sin(torch.arange(128) * (2 * torch.pi / 64)).expand(1, 1, 128, 128)
    valid = all_valid(true)
    # Per pixel the wave is twice as steep at each coarser scale: (1 + 2 + 4 + 8 + 16) / 5 = 6.2 times the first, were
    # it not that the blur and the kernel flatten a wave of only 8 and 4 pixels. Half of that is asked for.
    fine, all_scales = (mage_loss(wave, true, valid, scales=scales).item() for scales in (1, 5))
    assert all_scales > 3.1 * fine


# ---- precision ----


@every_loss
def test_autocast_and_half_precision_maps_are_computed_in_float32(loss: Loss) -> None:
    predicted, true, valid = random_batch(11)
    half = predicted.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = loss(half, true.float(), valid)
    outside = loss(half.float(), true.float(), valid)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


def test_fov_loss_is_computed_in_float32() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = fov_loss(torch.tensor([60.0]).bfloat16(), torch.tensor([60.1]))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(0.01, rel=1e-4)  # 60.1 has an error of 2e-6 in float32


# ---- refusals ----


@pytest.mark.parametrize(("size", "possible"), [((64, 64), 5), ((512, 32), 4), ((5, 5), 2), ((2, 64), 0)])
def test_a_scale_smaller_than_the_kernel_is_refused_and_the_possible_number_named(
    size: tuple[int, int], possible: int
) -> None:
    maps = torch.rand(1, 1, *size)
    for loss in (mage_loss, male_loss, msge_loss, ssi_mage_loss, sharpening_loss):
        with pytest.raises(ValueError, match=f"6 scales of a {size[0]}x{size[1]} map.* at most {possible} fit"):
            loss(maps, maps, all_valid(maps))
        if possible:
            loss(maps, maps, all_valid(maps), scales=possible)


def test_sixty_five_pixels_are_the_least_for_six_scales() -> None:
    maps = torch.rand(1, 1, 65, 65)
    assert losses.SCALES == 6
    assert mage_loss(maps, maps, all_valid(maps)).item() == 0.0


@every_loss
def test_maps_and_masks_that_do_not_go_together_are_refused(loss: Loss) -> None:
    maps, mask = torch.rand(2, 1, 8, 8), torch.ones(2, 1, 8, 8, dtype=torch.bool)
    for predicted, true, valid in (
        (maps, maps[:1], mask),
        (maps, maps, mask[:1]),
        (maps[:, 0], maps[:, 0], mask[:, 0]),
        (maps.expand(2, 3, 8, 8), maps.expand(2, 3, 8, 8), mask.expand(2, 3, 8, 8)),
        (maps[:0], maps[:0], mask[:0]),
    ):
        with pytest.raises(ValueError, match="one shape \\(N, 1, H, W\\) is needed"):
            loss(predicted, true, valid)
    with pytest.raises(ValueError, match=r"dtype torch\.float32: torch\.bool is needed"):
        loss(maps, maps, mask.float())
    mask[1] = False
    with pytest.raises(ValueError, match=r"images \[1\] of the batch have no valid pixel"):
        loss(maps, maps, mask)


def test_options_out_of_range_are_refused() -> None:
    maps = torch.rand(1, 1, 8, 8)
    valid = all_valid(maps)
    for trim in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="a share in \\[0, 1\\) is needed"):
            mae_loss(maps, maps, valid, trim=trim)
    with pytest.raises(ValueError, match="'sobel': scharr or laplace is needed"):
        multi_scale_derivative_loss(maps, maps, valid, derivative="sobel", power=1, scales=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="power is 3: 1 or 2 is needed"):
        multi_scale_derivative_loss(maps, maps, valid, derivative="scharr", power=3, scales=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scales is 0: 1 or more is needed"):
        mage_loss(maps, maps, valid, scales=0)
    with pytest.raises(ValueError, match="one shape with one number an image is needed"):
        fov_loss(torch.zeros(2, 1), torch.zeros(2))
