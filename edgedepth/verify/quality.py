"""Two models against the truth, side by side: what a precision costs in the papers' figures, with error bars."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from edgedepth.core.errors import EdgeDepthError
from edgedepth.core.plain import to_plain
from edgedepth.core.session import Array
from edgedepth.verify.evaluation import EvalSettings, mean_figures, score_depth
from edgedepth.verify.intervals import CONFIDENCE, Interval, paired_intervals
from edgedepth.verify.pictures import Skip, Truth

__all__ = ["Quality", "QualityTally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Both models' figures over the pictures whose truth is known.

    Args:
        pictures: how many.
        candidate: means by figure (evaluation.METRICS); None for one that no picture has.
        reference: likewise.
        intervals: of candidate minus reference, by figure.
        skipped: pictures whose truth couldn't be scored.
        settings: how it was scored.
    """

    pictures: int
    candidate: dict[str, float | None]
    reference: dict[str, float | None]
    intervals: dict[str, Interval]
    skipped: tuple[Skip, ...]
    settings: EvalSettings

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it, and as a Run keeps it."""
        plain: dict[str, Any] = to_plain(self)
        return plain | {"confidence": CONFIDENCE}


@dataclass(slots=True)
class QualityTally:
    """Adds up what pictures with a truth say.

    Args:
        settings: alignment and largest depth.
    """

    settings: EvalSettings
    _candidate: list[dict[str, float]] = field(default_factory=list)
    _reference: list[dict[str, float]] = field(default_factory=list)
    _skipped: list[Skip] = field(default_factory=list)

    def add(self, name: str, depth: Array, reference: Array, truth: Truth) -> None:
        """Score both depth maps, (H, W) float32 in metres; a picture that can't be scored is named and left out."""
        limit = self.settings.max_depth_m
        valid = truth.valid if limit is None else truth.valid & (truth.depth_m <= limit)
        try:
            scores = [
                score_depth(metres, truth.depth_m, valid, mask=truth.mask, settings=self.settings)
                for metres in (depth, reference)
            ]
        except EdgeDepthError as error:
            self._skipped.append(Skip(name=name, reason=error.problem))
            return
        self._candidate.append(scores[0])
        self._reference.append(scores[1])

    def finish(self) -> Quality | None:
        """The outcome; None where no picture had a truth."""
        if not self._candidate and not self._skipped:
            return None
        return Quality(
            pictures=len(self._candidate),
            candidate=mean_figures(self._candidate),
            reference=mean_figures(self._reference),
            intervals=paired_intervals(self._candidate, self._reference),
            skipped=tuple(self._skipped),
            settings=self.settings,
        )
