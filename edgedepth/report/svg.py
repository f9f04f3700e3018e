"""matplotlib's figures as SVG that lives in a page: colours are the page's, by light and by dark, and text is text."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from typing import Any

from edgedepth.core.optional import require

__all__ = ["CATEGORIES", "INK", "LINE", "MUTED", "PAPER", "chart_style", "new_figure", "printable", "to_svg"]

# Colours that stand for the page's own; matplotlib writes them as they are, and to_svg() puts the variables in.
INK, MUTED, LINE, PAPER = "#0000a0", "#0000a1", "#0000a2", "#0000a3"
CATEGORIES = tuple(f"#0000b{number}" for number in range(6))
_VARIABLES = {INK: "--ink", MUTED: "--muted", LINE: "--line", PAPER: "--card"} | {
    color: f"--series-{number}" for number, color in enumerate(CATEGORIES)
}


_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def printable(text: str) -> str:
    """Without the characters that XML doesn't have."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


@contextmanager
def chart_style(name: str) -> Iterator[None]:
    """matplotlib's settings for everything within.

    Args:
        name: of the chart; its ids are the same each time.
    """
    matplotlib = require("matplotlib", extra="report", purpose="to draw charts")
    settings = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "text.parse_math": False,  # a dollar in somebody's name is a dollar
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 10.5,
        "text.color": INK,
        "axes.edgecolor": LINE,
        "axes.labelcolor": MUTED,
        "axes.labelsize": 10.5,
        "axes.facecolor": "none",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "figure.facecolor": "none",
        "grid.color": LINE,
        "grid.linewidth": 0.8,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A name in a script that DejaVu lacks: the browser has fonts of its own.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def new_figure(width_in: float, height_in: float) -> Any:
    """An empty matplotlib Figure, without pyplot's state."""
    figure = require("matplotlib.figure", extra="report", purpose="to draw charts")
    return figure.Figure(figsize=(width_in, height_in), layout="constrained")


def to_svg(figure: Any, *, name: str, title: str, tips: Mapping[str, str]) -> str:
    """An <svg> element.

    Args:
        figure: a matplotlib Figure that was drawn within chart_style().
        name: begins the ids, so that several charts can live in one page.
        title: read out for the whole.
        tips: what is shown over an artist, by its gid.
    """
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, count=1, flags=re.DOTALL)
    view = re.search(r'viewBox="([^"]*)"', text)
    opening = (
        f'<svg class="chart" role="img" viewBox="{view[1] if view else ""}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    text = opening + f"<title>{escape(title)}</title>" + text[text.index(">") + 1 :]
    for gid, tip in tips.items():
        text = text.replace(f'<g id="{gid}">', f'<g id="{gid}"><title>{escape(printable(tip))}</title>', 1)
    text = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub("|".join(_VARIABLES), lambda found: f"var({_VARIABLES[found[0]]})", text)
    return re.sub(r"\n\s*", "\n", text)
