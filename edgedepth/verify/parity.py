"""Parity: a bundle against the eager fp32 reference, stage by stage and end to end, on real frames.

Two frames at least: a value frozen at trace time passes any comparison on the frame it was traced with.
A report with nothing in it fails.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from edgedepth.core.errors import EdgeDepthError, OptionError
from edgedepth.core.progress import Progress, silent
from edgedepth.core.session import Array, OpenStage, Session
from edgedepth.core.tolerances import Tolerance
from edgedepth.verify.depth_errors import DepthError, compare_depth
from edgedepth.verify.shadow import ShadowSession, StageScore

__all__ = [
    "MIN_FRAMES",
    "OFF_DEVICE",
    "ON_DEVICE",
    "EndToEnd",
    "Measured",
    "OpenProgram",
    "ParityReport",
    "Predictor",
    "StageParity",
    "judge",
    "verify_parity",
    "with_rounding",
]

MIN_FRAMES = 2

ON_DEVICE, OFF_DEVICE = "verified on the device", "verified off-device"
"""What computed a report's candidate: the runtime that its artefacts are for, or an evaluator on this machine."""


class Measured(Protocol):
    """What is compared of a prediction."""

    @property
    def depth(self) -> Array:
        """(H, W) float32 in metres."""
        ...

    @property
    def fov_deg(self) -> float:
        """Horizontal field of view in degrees."""
        ...


class Predictor(Protocol):
    """Anything that turns a frame into metres: a bundle's program, or the eager reference."""

    def predict(self, rgb: Array, /) -> Measured:
        """Predict for an (H, W, 3) float32 RGB frame in 0..1."""
        ...


class OpenProgram(Protocol):
    """Builds a program over whatever sessions it is given."""

    def __call__(self, open_stage: OpenStage, /) -> Predictor:
        """A program whose stages are opened by `open_stage`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EndToEnd:
    """Depth and field of view against the reference: the worst of the frames, figure by figure."""

    abs_rel: float
    delta1: float
    max_rel: float
    fov_deg: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageParity:
    """One stage on the reference's own inputs: the worst over outputs, calls and frames."""

    max_rel: float
    mean_rel: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParityReport:
    """The outcome. `failures` says in words what was short; passed means that it is empty.

    `rounding` is what pictures of 8 bits cost a bundle that takes them, from end to end and with the reference's own
    stages; then `end_to_end` is against the reference on rounded pictures. None for all other bundles.
    `where` is ON_DEVICE, or OFF_DEVICE: then graph, weights, names, shapes and dtypes are proven, and nothing of what
    a device adds: that its runtime loads the artefacts, where it places them, how fast they are.
    """

    images: int
    end_to_end: EndToEnd | None
    stages: dict[str, StageParity]
    tolerance: Tolerance
    failures: tuple[str, ...] = field(default=())
    where: str = ON_DEVICE
    rounding: EndToEnd | None = None

    @property
    def passed(self) -> bool:
        """Whether everything was compared and nothing was short."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract. A figure that is not finite is null: JSON has no infinity."""
        return {
            "passed": self.passed,
            "images": self.images,
            "where": self.where,
            "end_to_end": _figures(self.end_to_end),
            **({"rounding": _figures(self.rounding)} if self.rounding else {}),
            "stages": {
                name: {"max_rel": _finite(stage.max_rel), "mean_rel": _finite(stage.mean_rel)}
                for name, stage in self.stages.items()
            },
            "failures": list(self.failures),
            "tolerance": {
                "abs_rel": self.tolerance.abs_rel,
                "max_rel": self.tolerance.max_rel,
                "fov_deg": self.tolerance.fov_deg,
                "stage_max_rel": self.tolerance.stage_max_rel,
                "stage_mean_rel": self.tolerance.stage_mean_rel,
                "reason": self.tolerance.reason,
            },
        }


def verify_parity(
    frames: Sequence[Array],
    *,
    reference: Predictor,
    candidate: Predictor,
    open_program: OpenProgram,
    open_reference_stage: OpenStage,
    open_candidate_stage: OpenStage,
    stage_names: Sequence[str],
    tolerance: Tolerance,
    progress: Progress = silent,
) -> ParityReport:
    """Compare a candidate with the reference.

    Args:
        frames: two or more (H, W, 3) float32 RGB frames in 0..1.
        reference: the eager, unpatched, whole model.
        candidate: the bundle's program over the bundle's sessions.
        open_program: builds the bundle's program over given sessions.
        open_reference_stage: opens a stage of the reference.
        open_candidate_stage: opens a stage of the bundle.
        stage_names: every stage that must have been compared.
        tolerance: what is still right.
        progress: told of each frame.

    Raises:
        OptionError: fewer than two frames.
    """
    different = len({(frame.shape, frame.tobytes()) for frame in frames})
    if different < MIN_FRAMES:
        raise OptionError(
            f"got {different} different pictures; parity needs {MIN_FRAMES} at least",
            remedy="pass a folder with two or more photographs: --images DIR",
        )
    scores = {name: StageScore() for name in stage_names}
    failures: list[str] = []
    worst: list[tuple[DepthError, float]] = []

    def open_shadow(stage: str) -> Session:
        return ShadowSession(open_reference_stage(stage), open_candidate_stage(stage), scores[stage])

    shadow = open_program(open_shadow)
    for number, frame in enumerate(frames, 1):
        progress(f"picture {number}: stage by stage", 2 * number - 2, 2 * len(frames))
        shadow.predict(frame)
        progress(f"picture {number}: end to end", 2 * number - 1, 2 * len(frames))
        expected = reference.predict(frame)
        try:
            actual = candidate.predict(frame)
        except EdgeDepthError as error:
            failures.append(f"picture {number}: {error}")
            continue
        worst.append((compare_depth(actual.depth, expected.depth), _fov_error(actual.fov_deg, expected.fov_deg)))
    progress("compared", 2 * len(frames), 2 * len(frames))
    return judge(scores, worst, images=len(frames), tolerance=tolerance, failures=failures)


def judge(
    scores: dict[str, StageScore],
    errors: Sequence[tuple[DepthError, float]],
    *,
    images: int,
    tolerance: Tolerance,
    failures: Sequence[str] = (),
) -> ParityReport:
    """Hold what was measured against the tolerance. Nothing measured is a failure."""
    found = list(failures)
    whole = None
    if errors:
        whole = worst_of(errors)
        for name in ("abs_rel", "max_rel", "fov_deg"):
            _limit(found, f"end to end {name}", getattr(whole, name), getattr(tolerance, name))
    else:
        found.append("end to end: nothing was compared")
    if not scores:
        found.append("stages: nothing was compared")
    for name, score in scores.items():
        if score.failure:
            found.append(f"stage {name}: {score.failure}")
        elif score.comparisons == 0:
            found.append(f"stage {name}: nothing was compared")
        else:
            _limit(found, f"stage {name} max_rel", score.max_rel, tolerance.stage_max_rel)
            _limit(found, f"stage {name} mean_rel", score.mean_rel, tolerance.stage_mean_rel)
    return ParityReport(
        images=images,
        end_to_end=whole,
        stages={
            name: StageParity(max_rel=score.max_rel, mean_rel=score.mean_rel)
            for name, score in scores.items()
            if score.comparisons
        },
        tolerance=tolerance,
        failures=tuple(found),
    )


def with_rounding(
    report: ParityReport, frames: Sequence[Array], *, rounded: Predictor, reference: Predictor, allowed: Tolerance
) -> ParityReport:
    """Add what pictures of 8 bits cost, and hold it against its own tolerance.

    Args:
        report: against `rounded`.
        frames: that it was made with.
        rounded: the reference's stages, in the program, on rounded pictures.
        reference: the eager, whole model.
        allowed: what rounding may cost.
    """
    errors = []
    for frame in frames:
        actual, expected = rounded.predict(frame), reference.predict(frame)
        errors.append((compare_depth(actual.depth, expected.depth), _fov_error(actual.fov_deg, expected.fov_deg)))
    cost, failures = worst_of(errors), list(report.failures)
    for name in ("abs_rel", "max_rel", "fov_deg"):
        _limit(failures, f"rounding to 8 bits {name}", getattr(cost, name), getattr(allowed, name))
    return replace(report, rounding=cost, failures=tuple(failures))


def worst_of(errors: Sequence[tuple[DepthError, float]]) -> EndToEnd:
    """The worst of several frames, figure by figure; one at least."""
    return EndToEnd(
        # numpy's max and min keep a NaN, which Python's drop.
        abs_rel=float(np.max([error.abs_rel for error, _ in errors])),
        delta1=float(np.min([error.delta1 for error, _ in errors])),
        max_rel=float(np.max([error.max_rel for error, _ in errors])),
        fov_deg=float(np.max([fov for _, fov in errors])),
    )


def _figures(whole: EndToEnd | None) -> dict[str, float | None]:
    names = ("abs_rel", "delta1", "max_rel", "fov_deg")
    return {name: _finite(getattr(whole, name)) if whole else None for name in names}


def _fov_error(actual: float, expected: float) -> float:
    """Degrees between two fields of view; none between two models that predict none."""
    if math.isnan(actual) and math.isnan(expected):
        return 0.0
    return abs(float(actual) - float(expected))


def _limit(failures: list[str], what: str, value: float, limit: float) -> None:
    # Written so that NaN fails: it is not less than or equal to anything.
    if not value <= limit:
        failures.append(f"{what} is {value:.3g}; at most {limit:.3g} is allowed")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
