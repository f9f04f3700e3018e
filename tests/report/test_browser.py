"""The page in a real browser: it loads, sorts, slides and draws points; by light, by dark, narrow, without scripts."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgedepth.report.page import write_report

from .drawn_runs import drawn_run
from .test_page import hostile, keep_anything

LARGEST_BYTES = 6_000_000
INTERACTIVE_MS = 3000
"""Ten times what an idle machine takes: the suite runs on two processes of two cores."""

Look = Callable[..., Any]


def pixels(screenshot: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(screenshot)).convert("RGB"))


@pytest.mark.parametrize("options", [{}, {"dark": True}, {"width": 390}], ids=["light", "dark", "narrow"])
def test_it_loads_without_a_complaint_and_fits(drawn_page: Path, look: Look, options: dict[str, Any]) -> None:
    with look(drawn_page, **options) as seen:
        seen.page.locator("#provenance").scroll_into_view_if_needed()
        assert seen.page.title() == "depth-pro-mini: edgedepth report"
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
        background = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        lightness = sum(map(int, background.removeprefix("rgb(").removesuffix(")").split(",")))
        assert (lightness < 150) == bool(options.get("dark"))
        broken = "[...document.images].filter(i => i.offsetParent && i.complete && !i.naturalWidth).length"
        assert seen.page.evaluate(broken) == 0
        assert seen.complaints == []


def test_the_theme_button_turns_the_page_and_its_charts(drawn_page: Path, look: Look) -> None:
    ink = "getComputedStyle(document.querySelector('svg.chart text')).fill"
    with look(drawn_page) as seen:
        before = seen.page.evaluate(ink)
        seen.page.click("#theme")
        assert seen.page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert seen.page.evaluate(ink) != before


def test_a_column_sorts_both_ways_and_what_is_missing_stays_last(drawn_page: Path, look: Look) -> None:
    values = """[...document.querySelectorAll('#overview tbody tr')].map(row =>
        [...row.cells].find(cell => cell.cellIndex === 3).dataset.sort)"""
    with look(drawn_page) as seen:
        head = seen.page.locator("#overview thead button", has_text="p50")
        for wanted, rising in (("ascending", True), ("descending", False)):
            head.click()
            assert seen.page.locator("#overview thead th[aria-sort]").get_attribute("aria-sort") == wanted
            shown = seen.page.evaluate(values)
            known = [float(value) for value in shown if value]
            assert "" in shown
            assert shown[: len(known)] == [value for value in shown if value]
            assert known == sorted(known, reverse=not rising)
        seen.page.locator("#overview thead button", has_text="entry").click()
        names = seen.page.locator("#overview tbody th strong").all_inner_texts()
        assert names == sorted(names)


def test_the_slider_moves_between_the_edges_of_reference_and_candidate(drawn_page: Path, look: Look) -> None:
    with look(drawn_page) as seen:
        panel = seen.page.locator(".compare:visible").first
        panel.scroll_into_view_if_needed()
        half = pixels(panel.screenshot())
        box = panel.bounding_box()
        seen.page.mouse.click(box["x"] + box["width"] * 0.95, box["y"] + box["height"] / 2)
        assert float(panel.evaluate("p => getComputedStyle(p).getPropertyValue('--split')").rstrip("%")) > 85
        nearly_all = pixels(panel.screenshot())
        assert teal(nearly_all) > teal(half) > 0
        panel.locator("input").focus()
        seen.page.keyboard.press("Home")
        assert teal(pixels(panel.screenshot())) == 0


def teal(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> int:
    """Pixels in the colour of the reference's edges."""
    red, green, blue = (picture[..., channel].astype(int) for channel in range(3))
    return int(np.count_nonzero((green > red + 60) & (blue > red + 40)))


def test_entries_are_chosen_without_a_script(drawn_page: Path, look: Look) -> None:
    for javascript in (True, False):
        with look(drawn_page, javascript=javascript) as seen:
            assert seen.page.locator(".made:visible").count() == 2  # one entry, two photographs
            seen.page.locator(".picker label", has_text="onnx fp32 0").click()
            assert seen.page.locator(".made:visible figcaption").first.inner_text().startswith("onnx fp32 0")
            seen.page.locator(".picker label", has_text="all").click()
            assert seen.page.locator(".made:visible").count() == 14


def test_without_scripts_tables_charts_and_pictures_are_there(drawn_page: Path, look: Look) -> None:
    with look(drawn_page, javascript=False) as seen:
        assert seen.page.locator("#overview tbody tr:visible").count() == 8
        assert seen.page.locator("svg.chart:visible").count() == 3
        assert seen.page.locator("#photo-0").is_visible()
        assert seen.page.locator(".compare input").first.is_hidden()
        assert seen.page.locator("#theme").is_hidden()
        assert "needs JavaScript" in seen.page.locator("#cloud").inner_text()
        assert seen.complaints == []


def test_the_point_cloud_draws_and_turns(drawn_page: Path, look: Look) -> None:
    with look(drawn_page) as seen:
        canvas = seen.page.locator("#cloud-canvas")
        canvas.scroll_into_view_if_needed()
        drawn(seen, 0)
        first = pixels(canvas.screenshot())
        empty = np.array([11, 14, 19])  # the canvas's own colour
        assert np.mean(np.abs(first.astype(int) - empty).max(axis=2) > 12) > 0.15
        box = canvas.bounding_box()
        middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        seen.page.mouse.move(*middle)
        seen.page.mouse.down()
        seen.page.mouse.move(middle[0] + 150, middle[1] + 40, steps=4)
        seen.page.mouse.up()
        drawn(seen, 1)
        turned = pixels(canvas.screenshot())
        assert np.mean(np.any(turned != first, axis=2)) > 0.05
        before = drawn(seen, 1)
        seen.page.click("#cloud-reset")
        drawn(seen, before)
        assert np.mean(np.any(pixels(canvas.screenshot()) != first, axis=2)) < 0.001
        before = drawn(seen, 1)
        seen.page.select_option("#cloud-picture", "1")
        seen.page.select_option("#cloud-depth", "1")
        drawn(seen, before)
        assert np.mean(np.any(pixels(canvas.screenshot()) != first, axis=2)) > 0.05
        assert seen.complaints == []


def drawn(seen: Any, before: int) -> int:
    """Waits until points were drawn more than `before` times and nothing more is queued; tells how often."""
    count = "Number(document.getElementById('cloud-canvas').dataset.drawn || 0)"
    for _ in range(400):  # wait_for_function() evaluates strings, which the page's policy forbids
        if seen.page.evaluate(count) > before:
            break
        seen.page.wait_for_timeout(50)
    seen.page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return int(seen.page.evaluate(count))


def test_what_a_run_says_is_text_and_nothing_else(copied: Any, look: Look, tmp_path: Path) -> None:
    folder, run = copied()
    keep_anything(folder, hostile(run))
    page = write_report([folder], tmp_path / "report.html")
    with look(page) as seen:
        seen.page.locator("#cloud-canvas").scroll_into_view_if_needed()
        drawn(seen, 0)
        assert seen.page.evaluate("window.harmed === undefined")
        assert seen.page.evaluate("document.querySelectorAll('[src=x], [onerror], body > b').length") == 0
        assert seen.complaints == []


def test_a_page_of_the_mini_matrix_is_small_and_quick(look: Look, tmp_path: Path) -> None:
    """Twelve entries and three photographs at full size; drawn noise, which takes more bytes than a network's depth."""
    drawn_run(tmp_path / "run")
    page = write_report([tmp_path / "run"], tmp_path / "report.html")
    assert page.stat().st_size <= LARGEST_BYTES
    times = []
    for _ in range(2):
        with look(page) as seen:
            times.append(seen.page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
    assert min(times) <= INTERACTIVE_MS
