"""A training run's curves: as points, as a file and as a picture."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgedepth.core.files import write_file
from edgedepth.core.optional import require

__all__ = ["CurvePoint", "plot_curves", "read_curves", "render_curves"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One logged number.

    Args:
        phase: that was running.
        step: of the phase.
        name: of the loss term or the validation figure.
        value: of it.
    """

    phase: str
    step: int
    name: str
    value: float


def read_curves(file: Path) -> list[CurvePoint]:
    """The points of a curves.csv.

    Raises:
        ValueError, KeyError: it is something else.
    """
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            CurvePoint(phase=row["phase"], step=int(row["step"]), name=row["name"], value=float(row["value"]))
            for row in csv.DictReader(lines)
        ]


def render_curves(points: Iterable[CurvePoint]) -> str:
    """The text of a curves.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("phase", "step", "name", "value"))
    writer.writerows((point.phase, point.step, point.name, f"{point.value:.6g}") for point in points)
    return text.getvalue()


def plot_curves(curves: Path, picture: Path) -> Path:
    """Draw each phase of a curves.csv: losses above, validation figures below.

    Args:
        curves: as a RunFolder writes it.
        picture: PNG to write.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: the picture can't be written.
    """
    require("matplotlib", extra="train", purpose="to plot curves")
    from matplotlib.figure import Figure

    lines: dict[str, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for point in read_curves(curves):
        lines[point.phase][point.name].append((point.step, point.value))
    figure = Figure(figsize=(4 * max(1, len(lines)), 6), layout="constrained")
    axes = figure.subplots(2, max(1, len(lines)), squeeze=False)
    for column, (phase, terms) in enumerate(lines.items()):
        for name, points in terms.items():
            validation = name.startswith("val_")
            # The error in degrees has a scale of its own, and is in the file.
            if not name.endswith("_deg"):
                axes[int(validation)][column].plot(*zip(*points, strict=True), label=name)
        axes[0][column].set(title=phase, yscale="log")
        axes[1][column].set(xlabel="step", ylim=(0, 1))
        for axis in (axes[0][column], axes[1][column]):
            axis.legend(fontsize="x-small")
            axis.grid(alpha=0.3)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return write_file(picture, content.getbuffer())
