"""The search, as it travels in the bundle: int8/report.json and int8/frontier.svg; and as lines for a terminal."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgedepth.calibration.budget import Budget, Mixture, Outcome
from edgedepth.calibration.frontier import draw_frontier
from edgedepth.calibration.sets import CalibrationSet
from edgedepth.core.environment import describe_machine
from edgedepth.quantizing.options import HELD_BACK, Int8Options
from edgedepth.quantizing.speed import Speed

__all__ = ["frontier_lines", "write_report"]


def write_report(
    folder: Path,
    outcome: Outcome,
    best: Mixture,
    *,
    target: str,
    int8: Int8Options,
    calibration: CalibrationSet,
    speed: Speed | None,
) -> None:
    """Write the report and the plot into a new folder."""
    folder.mkdir()
    report = {
        "calibration": {"fingerprint": calibration.fingerprint, "frames": len(calibration), "held_back": HELD_BACK},
        "target": target,
        "method": {"openvino": "nncf", "coreml": "coremltools"}.get(target, int8.method),
        "smooth": int8.smooth,
        "decoder": int8.decoder,
        "weights_only": int8.weights_only or (target == "coreml" and not int8.activations),
        "budget": asdict(int8.budget) if int8.budget else None,
        "chosen": _plain(best),
        "ranking": [{"block": block, "budget_used": _number(used)} for block, used in outcome.ranking],
        "frontier": [_plain(mixture) for mixture in outcome.frontier],
        "speed": {"machine": describe_machine()} | speed.to_manifest() if speed else None,
    }
    text = json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "report.json").write_text(text, encoding="utf-8", newline="\n")
    (folder / "frontier.svg").write_text(draw_frontier(outcome.frontier, best, int8.budget), encoding="utf-8")


def frontier_lines(outcome: Outcome, budget: Budget | None) -> list[str]:
    """The frontier as a table: error against how much is INT8."""
    lines = [f"{'INT8':>5}  {'MB':>8}  {'kept':>4}  {'AbsRel':>8}  {'δ1':>7}  {'edge F1':>7}  {'FOV °':>7}  of budget"]
    for mixture in outcome.frontier:
        figures = mixture.figures
        use = f"{budget.use(figures):9.2f}" if budget else ""
        lines.append(
            f"{100 * mixture.int8_share:4.0f}%  {mixture.size / 1e6:8.1f}  {len(mixture.kept):4}  "
            f"{figures.abs_rel:8.2g}  {figures.delta1:7.4f}  {figures.boundary_f1:7.3f}  {figures.fov_deg:7.2g}  {use}"
        )
    return lines


def _plain(mixture: Mixture) -> dict[str, Any]:
    plain = asdict(mixture)
    plain["figures"] = {name: _number(value) for name, value in plain["figures"].items()}
    return plain


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
