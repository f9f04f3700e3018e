"""What a comparison with the reference says, how it is held against a tolerance, and how it becomes JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from edgedepth.core.plain import to_plain
from edgedepth.core.tolerances import LIMITS, Tolerance
from edgedepth.verify.agreement import PictureParity
from edgedepth.verify.pictures import Skip
from edgedepth.verify.quality import Quality
from edgedepth.verify.shadow import StageScore

__all__ = [
    "EAGER",
    "OFF_DEVICE",
    "ON_DEVICE",
    "STORED",
    "EndToEnd",
    "ParityReport",
    "StageParity",
    "judge",
    "stage_parity",
    "with_rounding",
]

ON_DEVICE, OFF_DEVICE = "verified on the device", "verified off-device"
"""What computed a report's candidate: the runtime that its artefacts are for, or an evaluator on this machine."""

EAGER = "the eager fp32 reference"
STORED = "the reference's outputs for the golden frame, stored in the bundle"
"""What a report compares with, where it isn't another bundle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """Metres and degrees against the reference: the worst of the pictures, figure by figure.

    The fields are those of PictureParity; of depth_scale the one farthest from 1, of inverse_shift the largest.
    `worst` is the picture with the largest abs_rel, `worst_pixel` the one whose max_rel this is.
    """

    abs_rel: float
    delta1: float
    max_rel: float
    fov_deg: float
    boundary_f1: float
    lost_structure: float
    depth_scale: float
    inverse_shift: float
    correlation: float
    worst: str
    worst_pixel: PictureParity


@dataclass(frozen=True, slots=True, kw_only=True)
class StageParity:
    """One stage on the reference's own inputs: the worst over outputs, calls and pictures; see TensorError.

    Args:
        max_rel: largest error over the largest value.
        mean_rel: mean error over the mean size.
        p50_rel: median error over the mean size.
        p99_rel: its 99th percentile.
        cosine: the smallest.
        nan: values that are NaN, of all calls.
        inf: values that are infinite.
        frozen: outputs that stayed the same while the reference's changed.
    """

    max_rel: float
    mean_rel: float
    p50_rel: float = 0.0
    p99_rel: float = 0.0
    cosine: float = 1.0
    nan: int = 0
    inf: int = 0
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """The outcome. `failures` says in words what was short; passed means that it is empty.

    `where` is ON_DEVICE, or OFF_DEVICE: then graph, weights, names, shapes and dtypes are proven, and nothing of what
    a device adds: that its runtime loads the artefacts, where it places them, how fast they are.

    Args:
        images: how many pictures were compared.
        end_to_end: the worst of them; None where nothing was compared.
        stages: by stage.
        tolerance: what is allowed.
        failures: what was short.
        where: what computed the candidate.
        pictures: figures of each.
        skipped: pictures that couldn't be read.
        reference: what the candidate was compared with: EAGER, STORED, or another bundle's folder.
        overridden: limits that the caller set instead of the table's, by name.
        notes: what a reader has to know: pictures of one colour, stages that can't be compared.
        quality: both models against the truth, where that is known.
        rounding: what pictures of 8 bits cost a bundle that takes them, from end to end and with the reference's own
            stages; then `end_to_end` is against the reference on rounded pictures. None for all other bundles.
    """

    images: int
    end_to_end: EndToEnd | None
    stages: dict[str, StageParity]
    tolerance: Tolerance
    failures: tuple[str, ...] = field(default=())
    where: str = ON_DEVICE
    pictures: tuple[PictureParity, ...] = ()
    skipped: tuple[Skip, ...] = ()
    reference: str = EAGER
    overridden: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    quality: Quality | None = None
    rounding: EndToEnd | None = None

    @property
    def passed(self) -> bool:
        """Whether everything was compared and nothing was short."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract. A figure that is not finite is null: JSON has no infinity."""
        told: dict[str, Any] = _finite(
            {
                "passed": self.passed,
                "images": self.images,
                "where": self.where,
                "reference": self.reference,
                "end_to_end": _figures(self.end_to_end),
                **({"rounding": _figures(self.rounding)} if self.rounding else {}),
                "stages": {name: to_plain(stage) for name, stage in self.stages.items()},
                "failures": list(self.failures),
                "notes": list(self.notes),
                "tolerance": {name: getattr(self.tolerance, name) for name in LIMITS}
                | {"reason": self.tolerance.reason, "overridden": list(self.overridden)},
                "pictures": [to_plain(picture) for picture in self.pictures],
                "skipped": to_plain(self.skipped),
                "quality": self.quality.to_dict() if self.quality else None,
            }
        )
        return told


def _figures(whole: EndToEnd | None) -> dict[str, Any]:
    if whole is None:
        return dict.fromkeys(field.name for field in fields(EndToEnd))
    pixel = whole.worst_pixel
    return {**to_plain(whole), "worst_pixel": {"picture": pixel.name, **to_plain(pixel)["worst"]}}


def with_rounding(report: ParityReport, pictures: Sequence[PictureParity], allowed: Tolerance) -> ParityReport:
    """Add what pictures of 8 bits cost, held against its own tolerance.

    Args:
        report: against the reference on rounded pictures.
        pictures: the reference on rounded pictures against the reference; one at least.
        allowed: what rounding may cost.
    """
    cost, failures = _worst_of(pictures), list(report.failures)
    for name in ("abs_rel", "max_rel", "fov_deg"):
        _limit(failures, f"rounding to 8 bits {name}", getattr(cost, name), getattr(allowed, name))
    return replace(report, rounding=cost, failures=tuple(failures))


def judge(
    scores: dict[str, StageScore],
    pictures: Sequence[PictureParity],
    *,
    tolerance: Tolerance,
    failures: Sequence[str] = (),
    needs_stages: bool = True,
) -> ParityReport:
    """Hold what was measured against the tolerance. Nothing measured is a failure.

    Args:
        scores: of each stage that must have been compared.
        pictures: what was compared from end to end.
        tolerance: what is still right.
        failures: what went wrong before.
        needs_stages: whether a report without stages fails.
    """
    found = list(failures)
    whole = _worst_of(pictures) if pictures else None
    if whole is None:
        found.append("end to end: nothing was compared")
    else:
        found += _short_of(whole, tolerance)
    if needs_stages and not scores:
        found.append("stages: nothing was compared")
    for name, score in scores.items():
        if score.failure:
            found.append(f"stage {name}: {score.failure}")
        elif score.comparisons == 0:
            found.append(f"stage {name}: nothing was compared")
        else:
            _limit(found, f"stage {name} max_rel", score.max_rel, tolerance.stage_max_rel)
            _limit(found, f"stage {name} mean_rel", score.mean_rel, tolerance.stage_mean_rel)
            if score.frozen:
                found.append(
                    f"stage {name} gives the same {', '.join(score.frozen)} for every input: frozen when it was traced"
                )
    return ParityReport(
        images=len(pictures),
        end_to_end=whole,
        stages={name: stage_parity(score) for name, score in scores.items() if score.comparisons},
        tolerance=tolerance,
        failures=tuple(found),
        pictures=tuple(pictures),
    )


def stage_parity(score: StageScore) -> StageParity:
    """A score as it is reported."""
    return StageParity(
        max_rel=score.max_rel,
        mean_rel=score.mean_rel,
        p50_rel=score.p50_rel,
        p99_rel=score.p99_rel,
        cosine=score.cosine,
        nan=score.nan,
        inf=score.inf,
        frozen=score.frozen,
    )


def _worst_of(pictures: Sequence[PictureParity]) -> EndToEnd:
    def column(name: str) -> Any:
        return np.array([getattr(picture, name) for picture in pictures], np.float64)

    def largest(values: Any) -> int:
        # What is not a number is the worst there is.
        return int(np.where(np.isnan(values), np.inf, values).argmax())

    scales = column("depth_scale")
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.abs(np.log(scales))
    shares = column("boundary_f1")
    losses = column("lost_structure")
    correlations = column("correlation")
    return EndToEnd(
        # numpy's max and min keep a NaN, which Python's drop.
        abs_rel=float(column("abs_rel").max()),
        delta1=float(column("delta1").min()),
        max_rel=float(column("max_rel").max()),
        fov_deg=float(column("fov_deg").max()),
        boundary_f1=math.nan if np.isnan(shares).all() else float(np.nanmin(shares)),
        lost_structure=math.nan if np.isnan(losses).all() else float(np.nanmax(losses)),
        depth_scale=float(scales[largest(off)]),
        inverse_shift=float(column("inverse_shift")[largest(np.abs(column("inverse_shift")))]),
        correlation=math.nan if np.isnan(correlations).all() else float(np.nanmin(correlations)),
        worst=pictures[largest(column("abs_rel"))].name,
        worst_pixel=pictures[largest(column("max_rel"))],
    )


def _short_of(whole: EndToEnd, tolerance: Tolerance) -> list[str]:
    found: list[str] = []
    for name in ("abs_rel", "max_rel", "fov_deg"):
        _limit(found, f"end to end {name}", getattr(whole, name), getattr(tolerance, name))
    if not abs(whole.depth_scale - 1) <= tolerance.depth_scale:
        found.append(
            f"end to end depth_scale is {whole.depth_scale:.4f}; 1 ± {tolerance.depth_scale:.3g} is allowed: depths "
            "are wrong by a constant factor, as a wrong focal length makes them"
        )
    if whole.lost_structure > tolerance.lost_structure:  # NaN: there was none to lose
        found.append(
            f"end to end lost_structure is {whole.lost_structure:.3g}; at most {tolerance.lost_structure:.3g} is "
            "allowed: a part of the picture shows other shapes, as misplaced tiles make them"
        )
    if whole.boundary_f1 < tolerance.boundary_f1:  # NaN, where there is no edge, is not short of anything
        found.append(
            f"end to end boundary_f1 is {whole.boundary_f1:.3g} of the reference's; "
            f"at least {tolerance.boundary_f1:.3g} is asked for"
        )
    return found


def _limit(failures: list[str], what: str, value: float, limit: float) -> None:
    # Written so that NaN fails: it is not less than or equal to anything.
    if not value <= limit:
        failures.append(f"{what} is {value:.3g}; at most {limit:.3g} is allowed")


def _finite(value: Any) -> Any:
    """JSON's plain values with null for what JSON can't say."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
