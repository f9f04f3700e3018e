"""A parity report on a terminal: figures beside what is allowed, where the worst is, and the verdict."""

from __future__ import annotations

import math

from edgedepth.cli.console import print_table
from edgedepth.core.tolerances import EIGHT_BIT_PICTURES
from edgedepth.verify.parity import OFF_DEVICE, EndToEnd, ParityReport
from edgedepth.verify.parity_report import EAGER, StageParity
from edgedepth.verify.quality import Quality

__all__ = ["print_report"]

_SHOWN_SKIPS = 10


def print_report(report: ParityReport) -> None:
    """Everything that a person has to know of a report."""
    off = report.where == OFF_DEVICE
    label = f" ({OFF_DEVICE})" if off else ""
    tolerance, whole = report.tolerance, report.end_to_end
    where = (report.where,) if off else ()
    rows = [(*row, *where) for row in _end_to_end(report, whole)] if whole else []
    print_table(("end to end", "measured", "allowed", *("where",) * off), rows)
    if report.rounding:
        rows = [(*row, *where) for row in _rounding(report.rounding)]
        print_table(("rounding to 8 bits", "costs", "allowed", *("where",) * off), rows)
    if report.stages:
        columns = (f"max rel ≤ {tolerance.stage_max_rel:.0e}", f"mean rel ≤ {tolerance.stage_mean_rel:.0e}")
        head = ("stage", *columns, "p50 rel", "p99 rel", "1 - cosine", "NaN, infinite", *("where",) * off)
        print_table(head, [(name, *_stage(stage), *where) for name, stage in report.stages.items()])
    if whole:
        pixel = whole.worst_pixel.worst
        print(f"worst picture: {whole.worst}{label}")
        if pixel is not None:
            print(
                f"worst pixel: row {pixel.row}, column {pixel.column} of {whole.worst_pixel.name}: "
                f"{pixel.depth_m:.4g} m, the reference has {pixel.reference_m:.4g} m{label}"
            )
    if report.quality:
        _print_quality(report.quality)
    if report.reference != EAGER:
        print(f"compared with {report.reference}{label}")
    if report.overridden:
        print(f"limits that were set instead of the precision's: {', '.join(report.overridden)}{label}")
    print(f"tolerance: {tolerance.reason}{label}")
    for line in report.notes:
        print(f"note: {line}{label}")
    for skip in report.skipped[:_SHOWN_SKIPS]:
        print(f"skipped: {skip.name}: {skip.reason}{label}")
    for failure in report.failures:
        print(f"FAILED{label}: {failure}")
    print(f"{'passed' if report.passed else 'FAILED'} on {report.images} pictures{_left_out(report)}{label}")


def _end_to_end(report: ParityReport, whole: EndToEnd) -> list[tuple[str, str, str]]:
    tolerance = report.tolerance
    edges = "no edges" if math.isnan(whole.boundary_f1) else f"{whole.boundary_f1:.4f}"
    shapes = "no shapes" if math.isnan(whole.lost_structure) else f"{whole.lost_structure:.2e}"
    asked = f"≥ {tolerance.boundary_f1:g}" if tolerance.boundary_f1 else ""
    return [
        ("AbsRel", f"{whole.abs_rel:.2e}", f"≤ {tolerance.abs_rel:.0e}"),
        ("max rel", f"{whole.max_rel:.2e}", f"≤ {tolerance.max_rel:.0e}"),
        ("δ1", f"{whole.delta1:.6f}", ""),
        ("lost structure", shapes, f"≤ {tolerance.lost_structure:.0e}"),
        ("boundary F1", edges, asked),
        ("FOV °", f"{whole.fov_deg:.2e}", f"≤ {tolerance.fov_deg:.0e}"),
        ("depth scale", f"{whole.depth_scale:.5f}", f"1 ± {tolerance.depth_scale:.0e}"),
        ("shift 1/m", f"{whole.inverse_shift:.1e}", ""),
        ("correlation", f"{whole.correlation:.6f}", ""),
    ]


def _rounding(cost: EndToEnd) -> list[tuple[str, str, str]]:
    allowed = EIGHT_BIT_PICTURES
    return [
        ("AbsRel", f"{cost.abs_rel:.2e}", f"≤ {allowed.abs_rel:.0e}"),
        ("max rel", f"{cost.max_rel:.2e}", f"≤ {allowed.max_rel:.0e}"),
        ("FOV °", f"{cost.fov_deg:.2e}", f"≤ {allowed.fov_deg:.0e}"),
    ]


def _stage(stage: StageParity) -> tuple[str, ...]:
    return (
        f"{stage.max_rel:.2e}",
        f"{stage.mean_rel:.2e}",
        f"{stage.p50_rel:.1e}",
        f"{stage.p99_rel:.1e}",
        f"{1 - stage.cosine:.1e}",
        f"{stage.nan}, {stage.inf}" if stage.nan or stage.inf else "none",
    )


def _left_out(report: ParityReport) -> str:
    return f", {len(report.skipped)} skipped" if report.skipped else ""


def _print_quality(quality: Quality) -> None:
    rows = []
    for name, value in quality.candidate.items():
        reference = quality.reference.get(name)
        if value is None or reference is None:
            continue
        interval = quality.intervals.get(name)
        spread = f"{interval.difference:+.2g} ({interval.low:+.2g} to {interval.high:+.2g})" if interval else ""
        rows.append((name, f"{value:.4f}", f"{reference:.4f}", spread))
    title = f"against the truth, means over {quality.pictures} pictures"
    print_table(("figure", "this bundle", "reference", "difference (95 % interval)"), rows, title=title)
    for skip in quality.skipped[:_SHOWN_SKIPS]:
        print(f"not scored: {skip.name}: {skip.reason}")
