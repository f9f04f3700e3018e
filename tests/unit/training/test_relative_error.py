"""The logarithmic error: by hand, and blind to what isn't valid."""

import math

import pytest
import torch

from edgedepth.training.relative_error import log_loss


def test_it_is_the_mean_of_logarithms_over_valid_pixels() -> None:
    predicted = torch.tensor([0.1, 0.2, 0.4, 9.0]).reshape(1, 1, 2, 2)
    true = torch.tensor([0.2, 0.2, 0.1, 0.1]).reshape(1, 1, 2, 2)
    valid = torch.tensor([True, True, True, False]).reshape(1, 1, 2, 2)
    by_hand = (math.log(0.205 / 0.105) + 0.0 + math.log(0.405 / 0.105)) / 3
    assert float(log_loss(predicted, true, valid)) == pytest.approx(by_hand, rel=1e-6)  # float32


def test_images_of_a_batch_count_by_their_valid_pixels() -> None:
    random = torch.Generator().manual_seed(0)
    predicted, true = torch.rand(3, 1, 8, 8, generator=random), torch.rand(3, 1, 8, 8, generator=random)
    valid = torch.rand(3, 1, 8, 8, generator=random) < 0.5
    chosen = torch.log(predicted[valid] + 0.005) - torch.log(true[valid] + 0.005)
    # The same sum in float32, in another order.
    torch.testing.assert_close(log_loss(predicted, true, valid), chosen.abs().mean(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -1.0])
def test_truth_that_is_not_valid_reaches_neither_loss_nor_gradient(nonsense: float) -> None:
    random = torch.Generator().manual_seed(1)
    start, true = torch.rand(2, 1, 8, 8, generator=random), torch.rand(2, 1, 8, 8, generator=random)
    valid = torch.rand(2, 1, 8, 8, generator=random) < 0.7
    losses, gradients = [], []
    for filling in (0.0, nonsense):
        predicted = start.clone().requires_grad_()
        loss = log_loss(predicted, true.masked_fill(~valid, filling), valid)
        torch.autograd.backward(loss)
        assert predicted.grad is not None
        losses.append(loss.detach())
        gradients.append(predicted.grad)
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(gradients[0], gradients[1])
    assert (gradients[0][~valid] == 0).all()
    assert (gradients[0][valid] != 0).all()


def test_it_is_computed_in_float32_under_autocast() -> None:
    predicted, true = torch.full((1, 1, 4, 4), 0.5, dtype=torch.bfloat16), torch.full((1, 1, 4, 4), 0.51)
    with torch.autocast("cpu", torch.bfloat16):
        loss = log_loss(predicted, true, torch.ones(1, 1, 4, 4, dtype=torch.bool))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(math.log(0.515 / 0.505), rel=1e-5)  # bfloat16 would be off by a third
