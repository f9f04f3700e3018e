"""What an evaluation says: figures of each picture, their means over the set, and how both become JSON and CSV.

Figures are computed a picture at a time and averaged over pictures, as the papers do (Depth Pro, arXiv 2410.02073,
section 4): a large picture counts no more than a small one.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import OptionError
from edgedepth.core.plain import to_plain
from edgedepth.core.session import Array
from edgedepth.verify.baselines import BASELINES
from edgedepth.verify.boundaries import boundary_f1, boundary_recall
from edgedepth.verify.depth_checks import RealArray
from edgedepth.verify.metrics import DEPTH_RANGE_M, align_linear, align_median, depth_metrics, focal_delta

__all__ = [
    "FOCAL_ERROR",
    "METRICS",
    "Align",
    "EvalReport",
    "EvalSettings",
    "Focal",
    "ImageScore",
    "Skip",
    "mean_figures",
    "render_csv",
    "score_depth",
    "worst_first",
]

Focal = Literal["predicted", "given"]
Align = Literal["none", "median", "linear"]

_MEANS = (
    *("delta1", "delta2", "delta3", "abs_rel", "sq_rel", "log10", "rmse", "rmse_log", "silog"),
    *("boundary_f1", "boundary_recall"),
)
_FOCAL_DELTAS = {"focal_delta25": 0.25, "focal_delta50": 0.5}
METRICS = (*_MEANS, *_FOCAL_DELTAS)
"""Names of a set's figures, in the order in which they are shown."""

FOCAL_ERROR = "focal_error"
"""A picture's figure that the focal deltas of a set are counted from."""

_IMAGE_FIGURES = (*_MEANS, FOCAL_ERROR)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSettings:
    """How to evaluate. What is here changes the figures, so it is part of a run's identity.

    Args:
        focal: "predicted": the model's own focal length (zero-shot metric depth). "given": the data set's.
        align: "none": metres as predicted. "median", "linear": fitted to the truth of each picture first.
        max_depth_m: truth beyond it isn't scored, and predictions are cut to it, as KITTI's and NYUv2's protocols do;
            None: the set's own protocol, which may have no limit.
        limit: so many samples, spread evenly over the set, the same each time; None: all.
        baselines: whether the predictors that never look are scored too. They need a first pass over the set.

    Raises:
        OptionError: a value that isn't one of these.
    """

    focal: Focal = "predicted"
    align: Align = "none"
    max_depth_m: float | None = None
    limit: int | None = None
    baselines: bool = True

    def __post_init__(self) -> None:
        for name, value, allowed in (("focal", self.focal, Focal), ("align", self.align, Align)):
            if value not in get_args(allowed):
                raise OptionError(
                    f"{name} is {value!r}; allowed are {', '.join(get_args(allowed))}", remedy="or leave it out"
                )
        if self.max_depth_m is not None and not (math.isfinite(self.max_depth_m) and self.max_depth_m > 0):
            raise OptionError(
                f"the largest depth is {self.max_depth_m}; allowed are metres above 0", remedy="or leave it out"
            )
        if self.limit is not None and self.limit < 1:
            raise OptionError(f"the limit is {self.limit} samples; allowed are 1 and more", remedy="or leave it out")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScore:
    """One picture's figures.

    Args:
        name: the sample's.
        pixels: how many were scored.
        focal_px: what the depth rests on: predicted, or the data set's.
        true_focal_px: the data set's; None if it doesn't say.
        figures: by name; a figure that the sample can't have (boundary_recall without a mask) isn't there.
        baselines: the same for each baseline.
    """

    name: str
    pixels: int
    focal_px: float
    true_focal_px: float | None
    figures: dict[str, float]
    baselines: dict[str, dict[str, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A sample that couldn't be scored, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """The outcome.

    Args:
        scores: of each picture, in the set's order; one at least.
        skipped: samples that couldn't be scored.
        model: what was evaluated: name, backend, device, precision, whether trained, where its weights and bundle
            came from, with their hashes.
        data_set: its name, place, whether it is metric, how many samples it has and how many were meant.
        settings: how.
        environment: machine and versions.
        gallery: the worst pictures' files, relative to the folder of the report.
    """

    scores: tuple[ImageScore, ...]
    skipped: tuple[Skip, ...]
    model: Mapping[str, Any]
    data_set: Mapping[str, Any]
    settings: EvalSettings
    environment: Mapping[str, str]
    gallery: tuple[str, ...]

    @property
    def metrics(self) -> dict[str, float | None]:
        """Means over the pictures, by name (METRICS); None for a figure that no picture has."""
        return mean_figures([score.figures for score in self.scores])

    @property
    def baselines(self) -> dict[str, dict[str, float | None]]:
        """The same for each baseline. A baseline of the focal length has no depth, and the other way round."""
        return {
            name: mean_figures([score.baselines[name] for score in self.scores if name in score.baselines])
            for name in _baselines_of(self.scores)
        }

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract: these keys stay, more may come. A figure that no picture has is null."""
        return {
            "images": len(self.scores),
            "metrics": self.metrics,
            "baselines": self.baselines,
            "skipped": to_plain(self.skipped),
            "images_with": {
                "focal_length": sum(score.true_focal_px is not None for score in self.scores),
                "mask": sum("boundary_recall" in score.figures for score in self.scores),
            },
            "model": dict(self.model),
            "data_set": dict(self.data_set),
            "settings": to_plain(self.settings),
            "environment": dict(self.environment),
            "gallery": list(self.gallery),
        }


def score_depth(
    predicted_m: Array,
    true_m: Array,
    valid: npt.NDArray[np.bool_],
    *,
    mask: npt.NDArray[np.bool_] | None,
    settings: EvalSettings,
) -> dict[str, float]:
    """One picture's figures of depth, by name.

    Boundaries are found by ratios of depths, so they are measured on the prediction as it is, neither aligned nor cut.

    Args:
        predicted_m: (H, W) float32 in m, positive.
        true_m: (H, W) float32 in m, positive where valid.
        valid: (H, W) bool, one pixel at least.
        mask: (H, W) bool, the foreground that the set knows; None: there is no boundary recall.
        settings: alignment and largest depth.

    Raises:
        SampleError: the sample's own depth or mask is no such thing.
        UnusableOutputError: the prediction isn't finite and above 0.
    """
    aligned = _aligned(predicted_m, true_m, valid, settings)
    figures: dict[str, float] = to_plain(depth_metrics(aligned, true_m, valid))
    figures["boundary_f1"] = boundary_f1(predicted_m, true_m, valid)
    if mask is not None:
        figures["boundary_recall"] = boundary_recall(predicted_m, mask)
    return figures


def _baselines_of(scores: Sequence[ImageScore]) -> list[str]:
    return [name for name in BASELINES if any(name in score.baselines for score in scores)]


def _aligned(predicted_m: Array, true_m: Array, valid: npt.NDArray[np.bool_], settings: EvalSettings) -> RealArray:
    nearest_m, farthest_m = DEPTH_RANGE_M
    if settings.max_depth_m is not None:
        farthest_m = settings.max_depth_m
    if settings.align == "linear":
        return align_linear(predicted_m, true_m, valid, depth_range_m=(nearest_m, farthest_m))
    scaled = align_median(predicted_m, true_m, valid) if settings.align == "median" else predicted_m
    return scaled if settings.max_depth_m is None else np.minimum(scaled, farthest_m)


def mean_figures(images: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Means over pictures, by name (METRICS), each over the pictures that have it."""
    means: dict[str, float | None] = {}
    for name in _MEANS:
        values = [figures[name] for figures in images if name in figures]
        means[name] = math.fsum(values) / len(values) if values else None
    errors = [figures[FOCAL_ERROR] for figures in images if FOCAL_ERROR in figures]
    for name, threshold in _FOCAL_DELTAS.items():
        means[name] = focal_delta(errors, threshold) if errors else None
    return means


def worst_first(scores: Sequence[ImageScore]) -> list[ImageScore]:
    """By AbsRel, the largest first; equal ones by name, so that the order is always the same."""
    return sorted(scores, key=lambda score: (-score.figures["abs_rel"], score.name))


def render_csv(scores: Sequence[ImageScore]) -> str:
    """One line a picture: the model's figures, then each baseline's; empty where there is none."""
    baselines = _baselines_of(scores)
    head = ["name", "pixels", "focal_px", "true_focal_px", *_IMAGE_FIGURES]
    head += [f"{baseline}.{figure}" for baseline in baselines for figure in _IMAGE_FIGURES]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for score in scores:
        row: list[Any] = [score.name, score.pixels, score.focal_px, score.true_focal_px]
        for figures in (score.figures, *(score.baselines.get(name, {}) for name in baselines)):
            row += [figures.get(figure) for figure in _IMAGE_FIGURES]
        writer.writerow(row)
    return text.getvalue()
