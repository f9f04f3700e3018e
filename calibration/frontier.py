"""The plot of a search: error against how much of the work is INT8. SVG text, so that it takes no plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgedepth.calibration.budget import Budget, Mixture

__all__ = ["draw_frontier"]

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 80, 20, 40, 60
_TICKS = 5


def draw_frontier(mixtures: Sequence[Mixture], chosen: Mixture, budget: Budget | None) -> str:
    """An SVG document: a dot a mixture, the chosen one filled, and the budget's AbsRel as a line.

    Args:
        mixtures: those that were measured; errors that aren't finite are left out.
        chosen: one of them.
        budget: what was asked for.
    """
    shown = [mixture for mixture in mixtures if math.isfinite(mixture.figures.abs_rel)]
    limit = budget.abs_rel if budget else None
    highest = 1.1 * max([1e-6, *(mixture.figures.abs_rel for mixture in shown), limit or 0.0])

    def x(share: float) -> float:
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(error: float) -> float:
        return _HEIGHT - _BOTTOM - error / highest * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, 22, "AbsRel against fp32, by how much of the work is INT8"),
        _text(_WIDTH / 2, _HEIGHT - 16, "share of the multiplications in INT8"),
        f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}" fill="none" stroke="black"/>',
    ]
    for tick in range(_TICKS + 1):
        share, error = tick / _TICKS, highest * tick / _TICKS
        parts.append(_text(x(share), _HEIGHT - _BOTTOM + 18, f"{100 * share:.0f} %"))
        parts.append(_text(_LEFT - 8, y(error) + 4, f"{error:.2g}", anchor="end"))
    if limit is not None:
        parts.append(f'<path d="M{_LEFT} {y(limit):.1f}H{_WIDTH - _RIGHT}" stroke="firebrick" stroke-dasharray="6 4"/>')
        parts.append(_text(_WIDTH - _RIGHT, y(limit) - 6, f"budget {limit:g}", anchor="end"))
    for mixture in shown:
        fill = "steelblue" if mixture.kept == chosen.kept else "none"
        parts.append(
            f'<circle cx="{x(mixture.int8_share):.1f}" cy="{y(mixture.figures.abs_rel):.1f}" r="5" fill="{fill}" '
            'stroke="steelblue"/>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'
