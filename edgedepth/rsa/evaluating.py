"""tabulate: an RSA model on a data set with captions, beside the rows that its paper's tables have."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.errors import SampleError
from edgedepth.core.plain import to_plain
from edgedepth.core.progress import Progress, silent
from edgedepth.core.session import Array
from edgedepth.datasets.base import Sample
from edgedepth.datasets.captions import CaptionedSet
from edgedepth.facade import EdgeDepth
from edgedepth.programs.picture_descriptor import picture_descriptor
from edgedepth.rsa.protocols import range_m
from edgedepth.rsa.rows import linear_fit, median_scaled, metres
from edgedepth.rsa.seeing import SeenSample, check_model, evenly, look
from edgedepth.verify.metrics import depth_metrics

__all__ = ["BASELINES", "FIGURES", "GLOBAL", "IMAGE", "LINEAR", "MEDIAN", "RSA", "WRONG", "RsaTable", "tabulate"]

MEDIAN, LINEAR, GLOBAL, IMAGE, RSA = "Median *", "Linear fit (oracle) *", "Global", "Image", "RSA"
WRONG = "RSA, another picture's caption"
BASELINES = "baselines.safetensors"
"""What a fit keeps beside its head, for the rows Global and Image."""

FIGURES = ("delta1", "delta2", "delta3", "abs_rel", "log10", "rmse")

_PACKAGES = ("edgedepth", "numpy", "onnxruntime", "openvino", "torch")


@dataclass(frozen=True, slots=True, kw_only=True)
class RsaTable:
    """The outcome.

    Args:
        rows: means over the pictures, by row and figure (FIGURES).
        pictures: that were scored.
        skipped: samples that couldn't be.
        data_set: what was measured on.
        model: name, backend, device and weights.
        environment: machine and versions.
    """

    rows: Mapping[str, Mapping[str, float]]
    pictures: int
    skipped: int
    data_set: str
    model: Mapping[str, Any]
    environment: Mapping[str, str]

    @property
    def gap_closed(self) -> float | None:
        """The share of the AbsRel between Global and the oracle that RSA closes; None without Global."""
        if GLOBAL not in self.rows:
            return None
        gap = self.rows[GLOBAL]["abs_rel"] - self.rows[LINEAR]["abs_rel"]
        return (self.rows[GLOBAL]["abs_rel"] - self.rows[RSA]["abs_rel"]) / gap if gap > 0 else None

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract: these keys stay, more may come."""
        plain: dict[str, Any] = to_plain(self)
        rows = {row: dict(figures) for row, figures in self.rows.items()}  # in the table's order
        return plain | {"rows": rows, "gap_closed": self.gap_closed}


def tabulate(
    model: EdgeDepth,
    data_set: CaptionedSet,
    *,
    baselines: Path | None = None,
    wrong_captions: bool = False,
    limit: int | None = None,
    progress: Progress = silent,
) -> RsaTable:
    """Measure every row on the same relative depth. Nothing but Median and Linear fit sees the picture's own truth.

    Args:
        model: an RSA model, opened.
        data_set: pictures with depth and captions; the first caption counts, as in RSA's evaluation.
        baselines: what `fit` kept beside a head, for the rows Global and Image; None: they are left out.
        wrong_captions: a row more, in which each picture is told the caption of another one.
        limit: so many samples, spread evenly.
        progress: is told each sample.

    Raises:
        OptionError: the model reads no captions.
        WeightsError: the baselines can't be read.
        CheckFailedError: not one sample could be used.
        StageError, UnusableOutputError: the model gave something unusable.
    """
    check_model(model)
    names = evenly(data_set.samples.sample_names, limit)
    guess = _Guess(model, baselines)
    wrong = _of_others(data_set, names) if wrong_captions else {}
    limits = range_m(data_set.samples)
    scores: dict[str, list[dict[str, float]]] = {}
    count = 0
    for seen in look(model, data_set, names, progress=progress):
        count += 1
        maps = guess.rows(seen, limits)
        if wrong_captions:
            maps[WRONG] = metres(seen.relative, *model.read_caption(wrong[seen.sample.name]), limits)
        for row, depth_m in maps.items():
            scores.setdefault(row, []).append(_score(depth_m, seen.sample))
    means = {row: {name: float(np.mean([one[name] for one in own])) for name in FIGURES} for row, own in scores.items()}
    return RsaTable(
        rows=means,
        pictures=count,
        skipped=len(names) - count,
        data_set=data_set.place,
        model={
            "name": model.spec.name,
            "backend": model.backend,
            "device": model.device,
            "weights_sha256": model.spec.weights_sha256,
        },
        environment=describe_machine() | versions_of(_PACKAGES),
    )


def _of_others(data_set: CaptionedSet, names: Sequence[str]) -> dict[str, str]:
    """For each sample that has captions, the first one of another, by a seeded shuffle: sets are often sorted."""
    first: dict[str, str] = {}
    for name in names:
        with contextlib.suppress(SampleError):  # told when the sample's turn comes
            first[name] = data_set.captions_of(name)[0]
    order = list(first)
    random.Random(0).shuffle(order)  # noqa: S311  (an order, no secret)
    return {name: first[other] for name, other in zip(order, [*order[1:], *order[:1]], strict=True)}


class _Guess:
    """Every row's depth of a sample."""

    def __init__(self, model: EdgeDepth, baselines: Path | None) -> None:
        self._model = model
        self._baselines = None
        if baselines is not None:
            from edgedepth.training.rsa_baselines import load_baselines

            self._baselines = load_baselines(baselines)

    def rows(self, seen: SeenSample, limits: tuple[float, float]) -> dict[str, Array]:
        """(H, W) metres by row, in the table's order."""
        sample, relative = seen.sample, seen.relative
        found: dict[str, Array] = {
            MEDIAN: median_scaled(relative, sample.depth_m, sample.valid, limits),
            LINEAR: linear_fit(relative, sample.depth_m, sample.valid, limits),
        }
        if self._baselines is not None:
            fitted = self._baselines
            described = picture_descriptor(sample.image, relative)
            found[GLOBAL] = metres(relative, fitted.scale, fitted.shift, limits)
            found[IMAGE] = metres(relative, *fitted.of_picture(described), limits)
        found[RSA] = metres(relative, *self._model.read_caption(seen.captions[0]), limits)
        return found


def _score(depth_m: Array, sample: Sample) -> dict[str, float]:
    figures: dict[str, float] = to_plain(depth_metrics(depth_m, sample.depth_m, sample.valid))
    return figures
