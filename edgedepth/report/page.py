"""One self-contained page of runs: HTML, styles, charts, pictures and a little script in one file, with no network.

A content security policy in it lets a browser load nothing from anywhere and run no script but its own, whatever a
name in a run holds; names are escaped all the same.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgedepth import __version__
from edgedepth.core.errors import OptionError
from edgedepth.core.files import write_file
from edgedepth.core.optional import require
from edgedepth.core.progress import Progress, silent
from edgedepth.report.cells import error_text, number_at, plain
from edgedepth.report.charts import Point, TimedRow, latency_chart, pareto_front, stage_chart, trade_off_chart
from edgedepth.report.gathering import Row, Source, gather, machine_differences
from edgedepth.report.panels import EDGE_RATIO, depth_stops, error_stops
from edgedepth.report.strips import Strips, draw_strips
from edgedepth.report.summary import OFF_DEVICE, cards_of, off_device_rows, status_counts
from edgedepth.report.tables import accuracy_table, overview_table, quality_tables, speed_table, stage_error_table

__all__ = ["DEFAULT_PICTURES", "render_page", "write_report"]

DEFAULT_PICTURES = 6

_MOST_PICTURES = 100
_SOURCES = files("edgedepth.report") / "assets"


def write_report(
    runs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    cross_device: bool = False,
    pictures: int = DEFAULT_PICTURES,
    progress: Progress = silent,
) -> Path:
    """Make a page of runs.

    Args:
        runs: folders that verify, bench or matrix wrote.
        out: the page, .html.
        cross_device: put runs of different machines into one page; every row then says which run it is of.
        pictures: at most so many photographs, those with the largest errors; 0 for none.
        progress: told of each step.

    Returns:
        The page's path.

    Raises:
        OptionError: a number of pictures out of range, or another suffix.
        RunError: a run or a file of it that can't be read or isn't to be trusted, or runs that don't go together.
        OutputError: the page can't be written.
        MissingExtraError: the `report` extra isn't installed.
    """
    if not 0 <= pictures <= _MOST_PICTURES:
        raise OptionError(f"pictures is {pictures}; allowed are 0 to {_MOST_PICTURES}", remedy="--pictures 6")
    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"the page's name is {Path(out).name!r}; it has to end in .html", remedy="--out report.html")
    sources, rows = gather(runs, cross_device=cross_device)
    for module in ("jinja2", "matplotlib"):
        require(module, extra="report", purpose="to make a report")
    strips = draw_strips(rows, most=pictures, progress=progress)
    progress("writing", 1, 1)
    html = render_page(sources, rows, strips)
    return write_file(out, html.encode(errors="replace"))  # a name from JSON can hold half a character


def render_page(sources: Sequence[Source], rows: Sequence[Row], strips: Strips) -> str:
    """The page's HTML.

    Args:
        sources: the runs.
        rows: their entries.
        strips: their pictures, drawn.
    """
    jinja2 = require("jinja2", extra="report", purpose="to make a report")
    environment = jinja2.Environment(
        loader=jinja2.DictLoader({"report.html": _text("report.html.j2"), "macros.html": _text("macros.html.j2")}),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"error": error_text, "plain": plain}
    script = _text("report.js") + _text("cloud.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = environment.get_template("report.html")
    html: str = template.render(
        version=__version__,
        script=script,
        script_sha256=digest,
        style=_text("report.css"),
        sources=sources,
        mixed=_mixed(sources),
        rows=rows,
        compared=sorted({made.row for strip in strips.strips for made in strip.comparisons}),
        worst=_worst(strips),
        models=list(dict.fromkeys(row.entry.model for row in rows)),
        cards=cards_of(rows),
        statuses=status_counts(rows),
        off_device=off_device_rows(rows),
        OFF_DEVICE=OFF_DEVICE,
        overview=overview_table(rows),
        accuracy=accuracy_table(rows),
        stage_errors=stage_error_table(rows),
        speed=speed_table(rows),
        quality=quality_tables(rows),
        charts=_charts(rows),
        strips=strips,
        edge_percent=round((EDGE_RATIO - 1) * 100),
        depth_stops=depth_stops(),
        error_legend=_error_legend(strips.limit),
        clouds=_clouds(rows, strips),
    )
    return html


def _mixed(sources: Sequence[Source]) -> list[tuple[str, str, str, str]]:
    """What differs between the first run's machine and the others': run, fact, there, here."""
    first = sources[0].run
    return [(other.label, *found) for other in sources[1:] for found in machine_differences(first, other.run)]


def _worst(strips: Strips) -> int | None:
    """The row with the largest error on any picture: what is looked at first is what differs most."""
    made = [made for strip in strips.strips for made in strip.comparisons]
    return max(made, key=lambda each: math.inf if each.abs_rel is None else each.abs_rel).row if made else None


def _text(name: str) -> str:
    return (_SOURCES / name).read_text(encoding="utf-8")


def _charts(rows: Sequence[Row]) -> Mapping[str, Any]:
    """SVG by chart, None where there is nothing to draw; and what the first one couldn't show."""
    timed = [
        TimedRow(name=row.name, target=row.entry.target, timing=row.entry.timing) for row in rows if row.entry.timing
    ]
    points, absent = [], []
    for row in rows:
        error = number_at(row.entry.parity, "end_to_end", "abs_rel")
        if error is None or row.entry.timing is None or not row.entry.timing.frame.p50_ms > 0:
            absent.append((row.name, "no error" if row.entry.timing else "no latency"))
            continue
        points.append(
            Point(
                name=row.name,
                target=row.entry.target,
                precision=row.entry.precision,
                p50_ms=row.entry.timing.frame.p50_ms,
                abs_rel=error,
                passed=row.entry.status == "passed",
            )
        )
    staged = [row for row in timed if row.timing.stages]
    return {
        "trade_off": trade_off_chart(points) if points else None,
        "front": [point.name for point in pareto_front(points)],
        "absent": absent,
        "latency": latency_chart(timed) if timed else None,
        "stages": stage_chart(staged) if staged else None,
    }


def _error_legend(limit: float) -> Mapping[str, Any]:
    """Colours and ticks in percent of the reference's depth."""
    sizes = (limit, limit / 100)
    ticks = [-sizes[0], -sizes[1], 0.0, sizes[1], sizes[0]]
    colors, places = error_stops(limit, ticks)
    words = [f"{'−' if tick < 0 else '+' if tick > 0 else ''}{abs(tick) * 100:.3g} %" for tick in ticks]
    return {"colors": colors, "ticks": list(zip(words, places, strict=True))}


def _clouds(rows: Sequence[Row], strips: Strips) -> list[dict[str, Any]]:
    """What the script draws: a picture each, with its depths."""
    found = []
    for number, strip in enumerate(strips.strips):
        if strip.reference_cloud is None or strip.drawn is None:
            continue
        depths = [{"name": "reference", "codes": strip.reference_cloud.codes}]
        depths += [{"name": rows[c.row].name, "codes": c.cloud.codes} for c in strip.comparisons if c.cloud]
        found.append(
            {
                "name": strip.name,
                "photo": f"photo-{number}",
                "width": strip.reference_cloud.width,
                "height": strip.reference_cloud.height,
                "focal": strip.focal_px,
                "near": strip.drawn.near_m,
                "far": strip.drawn.far_m,
                "middle": strip.drawn.middle_m,
                "depths": depths,
            }
        )
    return found
