"""A training run's curves as a picture."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

from edgedepth.core.files import write_file
from edgedepth.core.optional import require

__all__ = ["plot_curves"]


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
    with curves.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            lines[row["phase"]][row["name"]].append((int(row["step"]), float(row["value"])))
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
