"""The report's charts: error against speed, how latencies are spread, and where a frame's time goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from edgedepth.core.runs import Timing
from edgedepth.report.cells import error_text
from edgedepth.report.svg import CATEGORIES, INK, LINE, MUTED, PAPER, chart_style, new_figure, printable, to_svg

__all__ = ["Point", "TimedRow", "latency_chart", "pareto_front", "stage_chart", "trade_off_chart"]

_WIDTH = 9.6
_DOTS = 60  # drawn of a row: more are a smear and a megabyte
_MARKERS = {"fp32": "o", "fp16": "s", "bf16": "D", "int8": "^"}
_TARGETS = ("onnx", "openvino", "tensorrt", "coreml", "torch")
_LONGEST = 34


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRow:
    """A row that has a timing."""

    name: str
    target: str
    timing: Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A row that has both an error and a timing.

    Args:
        p50_ms: of a frame.
        abs_rel: against the reference.
        passed: whether its parity holds.
    """

    name: str
    target: str
    precision: str
    p50_ms: float
    abs_rel: float
    passed: bool


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points than which no other is faster and at least as near, or nearer and at least as fast; by latency.

    A point that failed its parity is no choice, and is left out.
    """
    front: list[Point] = []
    for point in sorted((p for p in points if p.passed), key=lambda p: (p.p50_ms, p.abs_rel)):
        if not front or point.abs_rel < front[-1].abs_rel:
            front.append(point)
    return front


def trade_off_chart(points: Sequence[Point]) -> str:
    """Error over speed, as SVG. Bottom left is best."""
    with chart_style("trade-off"):
        figure = new_figure(_WIDTH, 5.0)
        axes = figure.add_subplot()
        floor = _floor([point.abs_rel for point in points])
        axes.set_xscale("log")
        axes.set_yscale("log")
        front = pareto_front(points)
        axes.plot(
            [p.p50_ms for p in front], [max(p.abs_rel, floor) for p in front],
            color=INK, linewidth=1.4, linestyle=(0, (4, 3)), zorder=2, drawstyle="steps-post",
        )  # fmt: skip
        tips = {}
        for number, point in enumerate(points):
            best = point in front
            color = _color(point.target)
            (marker,) = axes.plot(
                point.p50_ms, max(point.abs_rel, floor), _MARKERS.get(point.precision, "P"),
                markersize=11 if best else 9, markerfacecolor=color if point.passed else PAPER,
                markeredgecolor=INK if best else color, markeredgewidth=1.8, zorder=3,
            )  # fmt: skip
            marker.set_gid(f"point-{number}")
            state = "on the Pareto front" if best else "" if point.passed else "parity FAILED"
            tips[f"point-{number}"] = f"{point.name}: p50 {point.p50_ms:.3g} ms, AbsRel {point.abs_rel:.2g} {state}"
        _widen(axes, [p.p50_ms for p in points], [max(p.abs_rel, floor) for p in points])
        _log_ticks(axes.xaxis)
        _power_ticks(axes.yaxis)
        axes.grid(visible=True, which="major")
        axes.set_xlabel("← faster · median latency of a frame, p50 (ms, log scale)")
        axes.set_ylabel("← nearer · AbsRel against the reference (log scale)")
        axes.tick_params(length=0)
        axes.tick_params(axis="y", labelcolor=MUTED)
        figure.draw_without_rendering()
        _label_points(axes, [(_short(_words(p)), p.p50_ms, max(p.abs_rel, floor), p in front) for p in points])
        return to_svg(
            figure, name="trade-off", title="AbsRel against the reference over median latency, by entry", tips=tips
        )


def latency_chart(rows: Sequence[TimedRow]) -> str:
    """Every timed frame of every row, as SVG: dots, the middle half as a box, p50, p90 and p99."""
    with chart_style("latency"):
        figure = new_figure(_WIDTH, 0.9 + 0.42 * len(rows))
        axes = figure.add_subplot()
        tips = {}
        for place, row in enumerate(rows):
            frame, samples = row.timing.frame, np.array(row.timing.samples_ms)
            color = _color(row.target)
            lowest = float(samples.min()) if samples.size else frame.p50_ms
            axes.plot([lowest, frame.p99_ms], [place, place], color=color, linewidth=1.2, alpha=0.55)
            if samples.size:
                low, high = np.percentile(samples, (25, 75)).tolist()
                axes.barh(place, high - low, left=low, height=0.5, color=color, alpha=0.35, linewidth=0)
                shown = samples[np.linspace(0, samples.size - 1, min(_DOTS, samples.size)).astype(int)]
                spread = 0.17 * np.sin(np.arange(shown.size) * 2.4)  # apart, and the same each time
                axes.plot(shown, place + spread, ".", color=color, markersize=3.2, alpha=0.75)
            axes.plot([frame.p90_ms] * 2, [place - 0.16, place + 0.16], color=color, linewidth=1.6)
            axes.plot([frame.p99_ms] * 2, [place - 0.16, place + 0.16], color=color, linewidth=1.6)
            (median,) = axes.plot([frame.p50_ms] * 2, [place - 0.32, place + 0.32], color=INK, linewidth=2.4)
            median.set_gid(f"row-{place}")
            tips[f"row-{place}"] = (
                f"{row.name}: p50 {frame.p50_ms:.3g} ms, p90 {frame.p90_ms:.3g} ms, p99 {frame.p99_ms:.3g} ms"
            )
        ends = [
            end
            for row in rows
            for end in (min(row.timing.samples_ms, default=row.timing.frame.p50_ms), row.timing.frame.p99_ms)
        ]
        if max(ends) > 6 * min(ends) > 0:
            axes.set_xscale("log")
            axes.set_xlim(min(ends) / 1.15, max(ends) * 1.15)
            _log_ticks(axes.xaxis)
            axes.set_xlabel("latency of a frame, from picture to metres (ms, log scale)")
        else:
            axes.set_xlim(0, max(ends) * 1.06 or 1)
            axes.set_xlabel("latency of a frame, from picture to metres (ms)")
        _rows_axis(axes, [row.name for row in rows])
        return to_svg(figure, name="latency", title="Latency of single frames by entry", tips=tips)


def stage_chart(rows: Sequence[TimedRow]) -> str:
    """Medians of stages, end to end, as SVG; and what of the frame's own median is none of theirs."""
    spent: dict[str, float] = {}
    for row in rows:
        for name, stage in row.timing.stages.items():
            spent[name] = spent.get(name, 0.0) + stage.p50_ms
    names = sorted(spent, key=lambda name: -spent[name])
    with chart_style("stages"):
        figure = new_figure(_WIDTH, 1.3 + 0.36 * len(rows))
        axes = figure.add_subplot()
        tips = {}
        lefts = [0.0] * len(rows)
        for number, name in enumerate(names):
            widths = [row.timing.stages[name].p50_ms if name in row.timing.stages else 0.0 for row in rows]
            # Six colours; hatched from the seventh stage on.
            look = {"color": CATEGORIES[number % 6], "hatch": "///" if number > 5 else None}
            bars = axes.barh(
                range(len(rows)), widths, left=lefts, height=0.62, label=_short(name), edgecolor=PAPER, **look
            )
            for place, (bar, width) in enumerate(zip(bars, widths, strict=True)):
                bar.set_gid(f"bar-{number}-{place}")
                tips[f"bar-{number}-{place}"] = f"{rows[place].name}, {name}: p50 {width:.3g} ms"
            lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
        rest = [max(0.0, row.timing.frame.p50_ms - left) for row, left in zip(rows, lefts, strict=True)]
        bars = axes.barh(
            range(len(rows)), rest, left=lefts, height=0.62, label="rest of the frame", color=LINE, edgecolor=PAPER
        )
        for place, (bar, width) in enumerate(zip(bars, rest, strict=True)):
            bar.set_gid(f"rest-{place}")
            tips[f"rest-{place}"] = f"{rows[place].name}, outside of the stages: {width:.3g} ms"
        axes.set_xlabel("median of each stage (ms)")
        _rows_axis(axes, [row.name for row in rows])
        figure.legend(
            loc="outside upper left", ncols=min(6, len(names) + 1), handlelength=1, handleheight=1, columnspacing=1.4
        )
        return to_svg(figure, name="stages", title="Median of each stage by entry", tips=tips)


def _color(target: str) -> str:
    return CATEGORIES[_TARGETS.index(target) if target in _TARGETS else 5]


def _words(point: Point) -> str:
    return point.name if point.passed else f"{point.name} (failed)"


def _short(text: str) -> str:
    """Printable, and no longer than an axis bears."""
    text = printable(text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _rows_axis(axes: Any, names: Sequence[str]) -> None:
    """Entries from the top down, each on a line of its own."""
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=True, axis="x")
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)


def _floor(values: Sequence[float]) -> float:
    """Where an error of exactly 0 is drawn on a logarithmic axis: a decade below the smallest of the others."""
    return min((value for value in values if value > 0), default=1e-6) / 10


def _widen(axes: Any, xs: Sequence[float], ys: Sequence[float]) -> None:
    """Room for labels around the points."""
    axes.set_xlim(min(xs) / 1.25, max(xs) * 1.5)
    axes.set_ylim(min(ys) / 3, max(ys) * 3)


def _log_ticks(axis: Any) -> None:
    """Numbers as people write them, six to a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _power_ticks(axis: Any) -> None:
    """Powers of ten in plain text: matplotlib's own are set as formulas."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: error_text(value).removeprefix("1.0×")))
    axis.set_minor_formatter(NullFormatter())


def _label_points(axes: Any, labels: Sequence[tuple[str, float, float, bool]]) -> None:
    """Names beside their points, each at the first place around it that is free. The strong ones lie on the front."""
    spots = [axes.transData.transform((x, y)) for _, x, y, _ in labels]
    taken = [_around(spot[0], spot[1], 7, 7) for spot in spots]
    front = sorted((spot[0], spot[1]) for spot, label in zip(spots, labels, strict=True) if label[3])
    for (x0, y0), (x1, y1) in pairwise(front):  # the steps of the line
        taken += [(x0, y0 - 1, x1, y0 + 1), (x1 - 1, min(y0, y1), x1 + 1, max(y0, y1))]
    inside = axes.get_window_extent()
    points = axes.figure.dpi / 72  # pixels of one
    for (text, x, y, strong), at in zip(labels, spots, strict=True):
        width, height = 5.9 * len(text) * points, 11 * points
        for dx, dy, align in _PLACES:
            left = at[0] + dx * points - {"left": 0, "center": width / 2, "right": width}[align]
            box = _around(left + width / 2, at[1] + dy * points, width / 2, height / 2)
            if inside.x0 <= box[0] and box[2] <= inside.x1 and not any(_overlap(box, other) for other in taken):
                break
        else:
            dx, dy, align = _PLACES[0]
        taken.append(box)
        far = math.hypot(dx, dy) > 20
        axes.annotate(
            text, (x, y), (dx, dy), textcoords="offset points", ha=align, va="center", fontsize=10,
            color=INK, weight="bold" if strong else "normal",
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.7} if far else None,
        )  # fmt: skip


_PLACES = [
    (11, 0, "left"), (0, 14, "center"), (0, -14, "center"), (-11, 0, "right"),
    (14, 18, "left"), (14, -18, "left"), (-14, 18, "right"), (-14, -18, "right"),
    (18, 34, "left"), (18, -34, "left"), (-18, 34, "right"), (-18, -34, "right"),
    (20, 50, "left"), (20, -50, "left"), (-20, 50, "right"), (-20, -50, "right"),
]  # fmt: skip

Box = tuple[float, float, float, float]


def _around(x: float, y: float, half_width: float, half_height: float) -> Box:
    return x - half_width, y - half_height, x + half_width, y + half_height


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
