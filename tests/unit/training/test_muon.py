"""StackedMuon against torch.optim.Muon, which goes matrix by matrix, and against the singular value decomposition."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from edgedepth.training.muon import StackedMuon, orthogonal

SHAPES = ((24, 72), (72, 24), (32, 32), (24, 72), (1, 7), (7, 1), (24, 72), (1, 1))
"""Wide, tall, square, vectors; three of one shape, not side by side."""

LR, DECAY = 0.02, 0.1


def matrices_of(shapes: Sequence[tuple[int, int]]) -> list[nn.Parameter]:
    random = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=random)) for shape in shapes]


def slope(matrices: Sequence[nn.Parameter], step: int) -> None:
    """Give each a gradient of its own, the same in all runs; sizes vary as they do in training."""
    random = torch.Generator().manual_seed(100 + step)
    for matrix in matrices:
        matrix.grad = torch.randn(matrix.shape, generator=random) * 10.0 ** (step % 3 - 2)


def trained(optimizer: torch.optim.Optimizer, steps: range = range(6)) -> list[Tensor]:
    (group,) = optimizer.param_groups
    for step in steps:
        slope(group["params"], step)
        optimizer.step()
    return [matrix.detach().clone() for matrix in group["params"]]


def torch_muon(matrices: list[nn.Parameter], weight_decay: float = DECAY) -> torch.optim.Muon:
    return torch.optim.Muon(matrices, lr=LR, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")


def allowed(shape: torch.Size, steps: int) -> float:
    """Both multiply matrices in bfloat16, one at a time or stacked: each step's update, of values up to 1, may be
    rounded to the other side (2**-8)."""
    return steps * 2**-8 * LR * 0.2 * float(max(shape)) ** 0.5


# --- the same as torch's


@pytest.mark.parametrize("lr", [LR, torch.tensor(LR)], ids=["number", "tensor"])
@pytest.mark.parametrize("weight_decay", [0.0, DECAY])
def test_it_learns_as_torch_s_muon_does(lr: float | Tensor, weight_decay: float) -> None:
    theirs = trained(torch_muon(matrices_of(SHAPES), weight_decay))
    mine = trained(StackedMuon(matrices_of(SHAPES), lr, weight_decay))
    for start, my, their in zip(matrices_of(SHAPES), mine, theirs, strict=True):
        assert (my - their).abs().max() < allowed(my.shape, 6)
        # Which is little of what was learnt.
        assert (their - start).abs().max() > 5 * allowed(my.shape, 6)


def test_a_tensor_rate_is_read_at_each_step() -> None:
    rate = torch.tensor(LR)
    one, other = StackedMuon(matrices_of(SHAPES), LR, DECAY), StackedMuon(matrices_of(SHAPES), rate, DECAY)
    for step in range(4):
        one.param_groups[0]["lr"] = LR / (step + 1)
        rate.fill_(LR / (step + 1))
        for mine, theirs in zip(
            trained(one, range(step, step + 1)), trained(other, range(step, step + 1)), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-6)  # float32, of numbers up to 4


def test_groups_have_their_own_rates() -> None:
    fast, slow = matrices_of(SHAPES[:2]), matrices_of(SHAPES[:2])
    slope(fast, 0)
    slope(slow, 0)
    StackedMuon([{"params": fast, "lr": LR}, {"params": slow, "lr": 0.0}], weight_decay=DECAY).step()
    for matrix, still, start in zip(fast, slow, matrices_of(SHAPES[:2]), strict=True):
        assert not torch.equal(matrix, start)
        assert torch.equal(still, start)


# --- what a step is


@pytest.mark.parametrize("shape", [(24, 72), (72, 24), (32, 32)])
def test_a_first_step_goes_along_the_orthogonal_part_of_the_gradient(shape: tuple[int, int]) -> None:
    (matrix,) = matrices_of([shape])
    start = matrix.detach().clone()
    slope([matrix], 0)
    assert matrix.grad is not None
    u, _, v = torch.linalg.svd(matrix.grad, full_matrices=False)
    StackedMuon([matrix], LR, weight_decay=0.0).step()
    moved = (start - matrix.detach()) / (LR * 0.2 * max(shape) ** 0.5)
    # The quintic leaves singular values in 0.7..1.2 (Jordan et al.), bfloat16 a little outside.
    values = torch.linalg.svdvals(moved)
    assert 0.6 < float(values.min())
    assert float(values.max()) < 1.3
    assert float((moved * (u @ v)).sum() / (moved.norm() * (u @ v).norm())) > 0.97
    # Hence a mean square of AdamW's size, whatever the shape.
    assert float((start - matrix.detach()).square().mean().sqrt()) == pytest.approx(0.2 * LR, rel=0.3)


def test_updates_are_scaled_in_the_matrices_precision() -> None:
    (matrix,) = matrices_of([(24, 72)])
    start = matrix.detach().clone()
    slope([matrix], 0)
    assert matrix.grad is not None
    # Of the first step's Nesterov momentum: 0.05 of the gradient, mixed 0.95 to 0.05 with it.
    update = orthogonal((matrix.grad * (0.95 * 0.05 + 0.05))[None])[0]
    StackedMuon([matrix], LR, weight_decay=DECAY).step()
    expected = start.double() * (1 - LR * DECAY) - update.double() * LR * 0.2 * 72**0.5
    # Rounding lr * update to bfloat16 would be off by 2**-9 of 0.03, which is 6e-5.
    torch.testing.assert_close(matrix.detach().double(), expected, rtol=0, atol=1e-6)


def test_weight_decay_alone_shrinks() -> None:
    matrices = matrices_of(SHAPES)
    for matrix in matrices:
        matrix.grad = torch.zeros_like(matrix)
    StackedMuon(matrices, LR, DECAY).step()
    for matrix, start in zip(matrices, matrices_of(SHAPES), strict=True):
        torch.testing.assert_close(matrix.detach(), start.detach() * (1 - LR * DECAY))


# --- gradients that are missing, zero or singular


def test_a_matrix_without_a_gradient_stays_and_its_neighbours_in_the_stack_don_t_change() -> None:
    all_of_them, some = matrices_of(SHAPES), matrices_of(SHAPES)
    optimizers = StackedMuon(all_of_them, LR, DECAY), StackedMuon(some, LR, DECAY)
    slope(all_of_them, 0)
    slope(some, 0)
    some[3].grad = None
    for optimizer in optimizers:
        optimizer.step()
    assert torch.equal(some[3], matrices_of(SHAPES)[3])
    assert some[3] not in optimizers[1].state
    for index in {*range(len(SHAPES))} - {3}:
        # A stack of two may be multiplied in another order than one of three.
        assert (some[index] - all_of_them[index]).abs().max() < allowed(some[index].shape, 1)


def test_nothing_to_do_is_no_error() -> None:
    matrices = matrices_of(SHAPES)
    StackedMuon(matrices, LR, DECAY).step()
    assert all(torch.equal(a, b) for a, b in zip(matrices, matrices_of(SHAPES), strict=True))


def test_zero_singular_tiny_and_huge_gradients_leave_finite_weights() -> None:
    matrices = matrices_of([(24, 72)] * 5)
    random = torch.Generator().manual_seed(1)
    full = torch.randn(24, 72, generator=random)
    gradients = (torch.zeros(24, 72), full[:, :1] @ full[:1], full * 1e-30, full * 1e10, full)
    for matrix, gradient in zip(matrices, gradients, strict=True):
        matrix.grad = gradient
    starts = [matrix.detach().clone() for matrix in matrices]
    StackedMuon(matrices, LR, weight_decay=0.0).step()
    moved = [float((m.detach() - start).norm()) for m, start in zip(matrices, starts, strict=True)]
    scale = LR * 0.2 * 72**0.5
    assert moved[0] == 0
    assert 0.6 * scale < moved[1] < 1.3 * scale  # rank 1: one singular value
    assert moved[2] == pytest.approx(0, abs=1e-6)  # below the least norm that is made 1
    # Of all 24 singular values, whatever the gradient's size.
    assert moved[3] == pytest.approx(moved[4], rel=0.02)  # bfloat16's rounding is scaled, too
    assert moved[4] == pytest.approx(scale * 24**0.5, rel=0.3)


# --- going on


@pytest.mark.parametrize("lr", [LR, torch.tensor(LR)], ids=["number", "tensor"])
def test_a_state_goes_on_where_it_was(lr: float | Tensor) -> None:
    whole = trained(StackedMuon(matrices_of(SHAPES), copy.copy(lr), DECAY))
    first = StackedMuon(matrices_of(SHAPES), copy.copy(lr), DECAY)
    halfway = trained(first, range(3))
    second = StackedMuon([nn.Parameter(matrix) for matrix in halfway], 1.0, 0.5)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for mine, theirs in zip(trained(second, range(3, 6)), whole, strict=True):
        assert torch.equal(mine, theirs)


def test_it_goes_on_with_the_momentum_of_torch_s() -> None:
    """Runs that torch.optim.Muon began are finished with this one."""
    whole = trained(torch_muon(matrices_of(SHAPES)))
    theirs = torch_muon(matrices_of(SHAPES))
    halfway = trained(theirs, range(3))
    mine = StackedMuon([nn.Parameter(matrix) for matrix in halfway], LR, DECAY)
    mine.load_state_dict(theirs.state_dict())
    for my, their in zip(trained(mine, range(3, 6)), whole, strict=True):
        assert (my - their).abs().max() < allowed(my.shape, 3)


def test_a_closure_is_called_with_gradients_on() -> None:
    (matrix,) = matrices_of([(3, 5)])
    optimizer = StackedMuon([matrix], LR, DECAY)

    def closure() -> float:
        loss = matrix.square().sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == pytest.approx(float(matrices_of([(3, 5)])[0].square().sum().detach()))
    assert not torch.equal(matrix, matrices_of([(3, 5)])[0])
