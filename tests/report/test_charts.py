"""Charts: what lies on the front, what text and ids come out, and values at the ends of what can be drawn."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.core.runs import Quantiles, Timing
from edgedepth.report.cells import Column, error_text, plain, table_of
from edgedepth.report.charts import Point, TimedRow, latency_chart, pareto_front, stage_chart, trade_off_chart

POINTS = st.lists(
    st.builds(
        lambda p50, error, passed: Point(
            name="a", target="onnx", precision="fp16", p50_ms=p50, abs_rel=error, passed=passed
        ),
        st.floats(0.1, 1e4),
        st.floats(0, 1),
        st.booleans(),
    ),
    max_size=12,
)


def beats(one: Point, other: Point) -> bool:
    no_worse = one.p50_ms <= other.p50_ms and one.abs_rel <= other.abs_rel
    return no_worse and (one.p50_ms < other.p50_ms or one.abs_rel < other.abs_rel)


@given(POINTS)
def test_the_front_is_what_nothing_beats(points: list[Point]) -> None:
    """By the definition, point against point."""
    front = pareto_front(points)
    passed = [point for point in points if point.passed]
    best = [point for point in passed if not any(beats(other, point) for other in passed)]
    assert {(p.p50_ms, p.abs_rel) for p in front} == {(p.p50_ms, p.abs_rel) for p in best}
    assert [p.p50_ms for p in front] == sorted(p.p50_ms for p in front)


def point(name: str = "onnx fp16", p50_ms: float = 40, abs_rel: float = 1e-4, *, passed: bool = True) -> Point:
    return Point(name=name, target="onnx", precision="fp16", p50_ms=p50_ms, abs_rel=abs_rel, passed=passed)


def timed(name: str, *samples: float) -> TimedRow:
    median = samples[0] if samples else 20.0
    frame = Quantiles(p50_ms=median, p90_ms=median, p99_ms=median, mean_ms=median)
    timing = Timing(frame=frame, stages={"decoder": frame}, samples_ms=samples)
    return TimedRow(name=name, target="onnx", timing=timing)


def test_charts_are_svg_of_the_page_s_colours_with_units_on_both_axes() -> None:
    svg = trade_off_chart([point(), point("openvino bf16", 20, 3e-3), point("bad", 10, 0.5, passed=False)])
    ET.fromstring(svg)  # well-formed
    assert "(ms, log scale)" in svg
    assert "AbsRel against the reference" in svg
    assert "bad (failed)" in svg
    assert "openvino bf16: p50 20 ms, AbsRel 0.003 on the Pareto front" in svg
    assert "mathdefault" not in svg
    colors = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", svg))
    assert colors <= {"#000000"}, "a colour that doesn't follow the page's"  # of text paths that are never drawn


@pytest.mark.parametrize(
    "points",
    [
        [point()],
        [point(abs_rel=0)],
        [point(abs_rel=0), point("b", 40, 0)],
        [point(f"entry number {number}", 40 + number / 100) for number in range(12)],
        [point("slow", 1e5, 1), point("fast", 1e-2, 1e-9)],
        [point("名前 $x_{$ & <b>\x00\ud800")],
    ],
    ids=["one", "no error", "equal", "crowded", "far apart", "odd name"],
)
def test_any_points_can_be_drawn(points: list[Point]) -> None:
    ET.fromstring(trade_off_chart(points))


@pytest.mark.parametrize(
    "rows",
    [
        [timed("one", 10)],
        [timed("none")],
        [timed("zero", 0.0)],
        [timed("slow", 5000, 6000), timed("fast", 2, 3)],
        [timed("x" * 300, 5, 6)],
        [timed("many", *range(1, 2000))],
    ],
    ids=["one sample", "no samples", "zero", "wide", "long name", "many"],
)
def test_any_timings_can_be_drawn(rows: list[TimedRow]) -> None:
    for svg in (latency_chart(rows), stage_chart(rows)):
        ET.fromstring(svg)
        assert len(svg) < 60_000


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.34e-4, "2.3×10⁻⁴"), (0, "0"), (1, "1.0×10⁰"), (-3e12, "-3.0×10¹²"), (float("nan"), "not finite")],
)
def test_errors_are_powers_of_ten(value: float, text: str) -> None:
    assert error_text(value) == text


@pytest.mark.parametrize(("value", "text"), [(0.01234, "0.0123"), (43.21, "43.2"), (1234.5, "1,234"), (0, "0")])
def test_numbers_in_sentences(value: float, text: str) -> None:
    assert plain(value) == text


def test_a_column_has_as_many_digits_as_its_smallest_value_needs_and_an_empty_one_is_only_named() -> None:
    table = table_of(
        [
            Column(label="a", values=[1234.5, 12.345, None]),
            Column(label="b", values=[None, None, None]),
            Column(label="c", values=[2.0, 1.0, float("inf")], bar=True),
        ],
        [4, 5, 6],
    )
    assert table.unmeasured == ("b",)
    assert [[cell.text for cell in cells] for _, cells in table.rows] == [
        ["1,234.5", "2.00"],
        ["12.3", "1.00"],
        ["not measured", "not finite"],
    ]
    assert [cells[1].part for _, cells in table.rows] == [1, 0.5, None]
    assert [number for number, _ in table.rows] == [4, 5, 6]
