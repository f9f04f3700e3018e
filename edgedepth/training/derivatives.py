"""Derivatives of inverse depth maps at many scales: what Depth Pro's losses on edges are made of.

Source: Depth Pro (arXiv 2410.02073), section 3.2; what it leaves open is settled in edgedepth/training/losses.py. Maps
are (N, 1, H, W) float; everything here is linear in them, so the derivative of a difference is taken once.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

__all__ = ["derivative_pyramid", "laplace", "scharr"]

_KERNEL_SIDE = 3


def derivative_pyramid(error: Tensor, valid: Tensor, scales: int) -> tuple[list[Tensor], list[Tensor]]:
    """Blur and halve a map, `scales` maps in all, the first of them itself.

    Args:
        error: (N, 1, H, W), zero where invalid.
        valid: (N, 1, H, W) bool.
        scales: 1 or more.

    Returns:
        Each scale's map, (N, 1, h, w), and where the 3×3 windows around its inner pixels are valid,
        (N, 1, h - 2, w - 2) bool.

    Raises:
        ValueError: fewer than one scale, or a coarsest scale smaller than 3×3.
    """
    _check_scales(error.shape[2], error.shape[3], scales)
    errors, valids = [error], [valid]
    for _ in range(scales - 1):
        errors.append(_blur_and_halve(errors[-1]))
        # The weights are whole sixteenths and sum to one, so a blurred mask is exactly 1 where all of its pixels were.
        valids.append(_blur_and_halve(valids[-1].float()) == 1.0)
    return errors, [_whole_windows(mask) for mask in valids]


def _check_scales(height: int, width: int, scales: int) -> None:
    if scales < 1:
        raise ValueError(f"scales is {scales}: 1 or more is needed")
    possible, side = 0, min(height, width)
    while side >= _KERNEL_SIDE:
        possible, side = possible + 1, math.ceil(side / 2)
    if scales > possible:
        raise ValueError(
            f"{scales} scales of a {height}x{width} map: the coarsest would be smaller than the "
            f"{_KERNEL_SIDE}x{_KERNEL_SIDE} kernel; at most {possible} fit, pass fewer scales or larger maps"
        )


def _blur_and_halve(maps: Tensor) -> Tensor:
    # Slices and sums: on a CPU several times faster, backward too, than a convolution of one channel.
    padded = F.pad(maps, (1, 1, 1, 1), mode="reflect")
    rows = (padded[..., :-2:2, :] + padded[..., 2::2, :]).add(padded[..., 1:-1:2, :], alpha=2.0)
    blurred = (rows[..., :-2:2] + rows[..., 2::2]).add(rows[..., 1:-1:2], alpha=2.0)
    return blurred * (1.0 / 16.0)


def _whole_windows(valid: Tensor) -> Tensor:
    rows = valid[..., :-2, :] & valid[..., 1:-1, :] & valid[..., 2:, :]
    return rows[..., :-2] & rows[..., 1:-1] & rows[..., 2:]


def scharr(maps: Tensor) -> tuple[Tensor, ...]:
    """∂x and ∂y of (N, 1, h, w) per pixel, (N, 1, h - 2, w - 2) each: a slope of one gives one."""
    down = ((maps[..., :-2, :] + maps[..., 2:, :]) * (3 / 32)).add(maps[..., 1:-1, :], alpha=10 / 32)
    across = ((maps[..., :-2] + maps[..., 2:]) * (3 / 32)).add(maps[..., 1:-1], alpha=10 / 32)
    return down[..., 2:] - down[..., :-2], across[..., 2:, :] - across[..., :-2, :]


def laplace(maps: Tensor) -> tuple[Tensor, ...]:
    """The sum of the four neighbours less four times the pixel, (N, 1, h, w) to (N, 1, h - 2, w - 2)."""
    middle, rows = maps[..., 1:-1, :], maps[..., 1:-1]
    return (
        (middle[..., :-2] + middle[..., 2:] + rows[..., :-2, :] + rows[..., 2:, :]).sub(middle[..., 1:-1], alpha=4),
    )
