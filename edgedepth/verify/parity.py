"""Parity: a bundle against a reference, stage by stage and end to end, on real pictures, one at a time.

Two pictures at least: a value frozen at trace time passes any comparison on the picture it was traced with.
A report with nothing in it fails.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from edgedepth.core.errors import CalibrationError, EdgeDepthError, OptionError, PhotoError, SampleError
from edgedepth.core.progress import Progress, silent
from edgedepth.core.session import Array, OpenStage, Session
from edgedepth.core.tolerances import EIGHT_BIT_PICTURES, Tolerance
from edgedepth.verify.agreement import PictureParity, compare_picture, is_one_colour
from edgedepth.verify.evaluation import EvalSettings
from edgedepth.verify.parity_report import (
    OFF_DEVICE,
    ON_DEVICE,
    EndToEnd,
    ParityReport,
    StageParity,
    judge,
    with_rounding,
)
from edgedepth.verify.pictures import LoadedPicture, PictureSource, Skip
from edgedepth.verify.quality import QualityTally
from edgedepth.verify.shadow import ShadowSession, StageScore

__all__ = [
    "MIN_FRAMES",
    "OFF_DEVICE",
    "ON_DEVICE",
    "Compared",
    "EndToEnd",
    "Measured",
    "OpenProgram",
    "ParityReport",
    "Predictor",
    "StageParity",
    "judge",
    "unseen",
    "verify_parity",
]

MIN_FRAMES = 2


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compared:
    """One picture with what both made of it, for whoever keeps pictures.

    Args:
        rgb: (H, W, 3) float32 in 0..1.
        depth: the candidate's, (H, W) float32 in metres.
        reference: the reference's.
        reference_fov_deg: its horizontal field of view; NaN where it predicts none.
        parity: the picture's figures.
    """

    rgb: Array
    depth: Array
    reference: Array
    reference_fov_deg: float
    parity: PictureParity


def unseen(picture: Compared, /) -> None:
    """Look at no picture."""


def verify_parity(
    pictures: Sequence[PictureSource],
    *,
    reference: Predictor,
    candidate: Predictor,
    open_program: OpenProgram,
    open_reference_stage: OpenStage | None,
    open_candidate_stage: OpenStage,
    stage_names: Sequence[str],
    tolerance: Tolerance,
    settings: EvalSettings | None = None,
    seen: Callable[[Compared], None] = unseen,
    scores: dict[str, StageScore] | None = None,
    rounded: Predictor | None = None,
    progress: Progress = silent,
) -> ParityReport:
    """Compare a candidate with the reference. One picture is in memory at a time.

    Args:
        pictures: two or more that differ. One that can't be read is named in the report and left out.
        reference: the eager, unpatched, whole model; or another bundle's program.
        candidate: the bundle's program over the bundle's sessions.
        open_program: builds the bundle's program over given sessions.
        open_reference_stage: opens a stage of the reference; None: stages aren't compared.
        open_candidate_stage: opens a stage of the bundle.
        stage_names: every stage that must have been compared.
        tolerance: what is still right.
        settings: how pictures that have a truth are scored.
        seen: told of each compared picture.
        scores: the stages' scores, for a caller who wants more of them than the report tells; empty at first.
        rounded: the reference's stages, in the bundle's program, on pictures rounded to 8 bits, for a bundle that takes
            such: then it is what the candidate is compared with, and what rounding costs is reported apart.
        progress: told of each step.

    Raises:
        OptionError: fewer than two different pictures could be read.
        FrameError: a caller's array is no picture.
    """
    _refuse_few(len(pictures), ())
    tally = _Tally(QualityTally(settings or EvalSettings()))
    scores = {} if scores is None else scores
    if open_reference_stage is not None:
        scores |= {name: scores.get(name, StageScore()) for name in stage_names}

    def open_shadow(stage: str) -> Session:
        assert open_reference_stage is not None
        return ShadowSession(open_reference_stage(stage), open_candidate_stage(stage), scores[stage])

    shadow = open_program(open_shadow) if open_reference_stage is not None else None
    for number, source in enumerate(pictures):
        progress(f"{source.name}: stage by stage", 2 * number, 2 * len(pictures))
        picture = tally.load(source)
        if picture is None:
            continue
        if shadow is not None:
            shadow.predict(picture.rgb)
        progress(f"{source.name}: end to end", 2 * number + 1, 2 * len(pictures))
        expected = reference.predict(picture.rgb)
        if rounded is not None:
            expected = tally.round(source.name, rounded.predict(picture.rgb), expected)
        try:
            actual = candidate.predict(picture.rgb)
        except EdgeDepthError as error:
            tally.failures.append(f"{source.name}: {error}")
            continue
        seen(tally.compare(source.name, picture, actual, expected))
    progress("compared", 2 * len(pictures), 2 * len(pictures))
    _refuse_few(len(tally.different), tally.skipped)
    report = judge(
        scores,
        tally.compared,
        tolerance=tolerance,
        failures=tally.failures,
        needs_stages=open_reference_stage is not None,
    )
    if tally.rounding:
        report = with_rounding(report, tally.rounding, EIGHT_BIT_PICTURES)
    return replace(
        report,
        images=tally.loaded,
        skipped=tuple(tally.skipped),
        notes=tuple(tally.notes),
        quality=tally.quality.finish(),
    )


class _Tally:
    """What adds up while pictures pass by."""

    def __init__(self, quality: QualityTally) -> None:
        self.quality = quality
        self.compared: list[PictureParity] = []
        self.rounding: list[PictureParity] = []
        self.different: set[bytes] = set()
        self.failures: list[str] = []
        self.notes: list[str] = []
        self.skipped: list[Skip] = []
        self.loaded = 0

    def load(self, source: PictureSource) -> LoadedPicture | None:
        """A picture, or None where it can't be read: then it is named."""
        try:
            picture = source.load()
        except (PhotoError, SampleError, CalibrationError) as error:
            self.skipped.append(Skip(name=source.name, reason=error.problem))
            return None
        self.loaded += 1
        digest = hashlib.sha256(repr(picture.rgb.shape).encode())
        digest.update(np.ascontiguousarray(picture.rgb).data)
        self.different.add(digest.digest())
        if is_one_colour(picture.rgb):
            self.notes.append(f"{source.name} is of one colour: whatever looks at edges isn't tested by it")
        return picture

    def round(self, name: str, rounded: Measured, expected: Measured) -> Measured:
        """Keep what rounding costs a picture; what is right for a bundle that rounds it."""
        cost = compare_picture(
            name,
            rounded.depth,
            expected.depth,
            fov_deg=rounded.fov_deg,
            reference_fov_deg=expected.fov_deg,
        )
        self.rounding.append(cost)
        return rounded

    def compare(self, name: str, picture: LoadedPicture, actual: Measured, expected: Measured) -> Compared:
        """Both predictions of a picture, against each other and against the truth."""
        parity = compare_picture(
            name,
            actual.depth,
            expected.depth,
            fov_deg=actual.fov_deg,
            reference_fov_deg=expected.fov_deg,
        )
        self.compared.append(parity)
        if picture.truth is not None:
            self.quality.add(name, actual.depth, expected.depth, picture.truth)
        return Compared(
            rgb=picture.rgb,
            depth=actual.depth,
            reference=expected.depth,
            reference_fov_deg=expected.fov_deg,
            parity=parity,
        )


def _refuse_few(different: int, skipped: Sequence[Skip]) -> None:
    if different >= MIN_FRAMES:
        return
    unread = f"; {len(skipped)} can't be read, the first: {skipped[0].reason}" if skipped else ""
    raise OptionError(
        f"got {different} different pictures; parity needs {MIN_FRAMES} at least{unread}",
        remedy="pass a folder with two or more photographs: --images DIR",
    )
