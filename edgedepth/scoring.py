"""A model and a data set, brought together a sample at a time: what an evaluation's workers do."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.bundle import MANIFEST
from edgedepth.core.errors import FrameError, OptionError, SampleError
from edgedepth.core.hashing import sha256_file
from edgedepth.core.session import Array
from edgedepth.datasets.base import DataSet, Sample
from edgedepth.facade import EdgeDepth
from edgedepth.programs.metric import check_focal_px
from edgedepth.report.side_by_side import beside_truth
from edgedepth.result import DepthResult
from edgedepth.verify.baselines import CONSTANT_FOV, Baselines, SampleDepths, depths_of
from edgedepth.verify.evaluation import FOCAL_ERROR, EvalSettings, ImageScore, Skip, score_depth
from edgedepth.verify.metrics import focal_error

__all__ = ["Scorer", "Scoring", "describe_model", "draw", "picture_names", "truth_of"]


class Scorer:
    """Scores the samples of a set.

    Args:
        open_model: opens the model; called when it is needed first. It takes RGB or BGR frames.
        data_set: opened; one sample of it is in memory at a time.
        settings: how to score.
    """

    def __init__(self, open_model: Callable[[], EdgeDepth], data_set: DataSet, settings: EvalSettings) -> None:
        self._open_model = open_model
        self._model: EdgeDepth | None = None
        self._data_set = data_set
        self._settings = settings
        self._facts: dict[str, Any] | None = None

    @property
    def model(self) -> EdgeDepth:
        """Opened."""
        if self._model is None:
            self._model = self._open_model()
        return self._model

    @property
    def model_facts(self) -> dict[str, Any]:
        """What is evaluated, as a report has it."""
        if self._facts is None:
            self._facts = _describe(self.model)
        return self._facts

    def close(self) -> None:
        """Free the model."""
        if self._model is not None:
            self._model.close()
        self._model = None

    def truth(self, name: str) -> SampleDepths | None:
        """What fitting the baselines needs of a sample; None where it can't be loaded, which score() tells."""
        try:
            sample = self._load(name)
        except SampleError:
            return None
        return depths_of(sample.depth_m, sample.valid, sample.focal_px)

    def score(self, name: str, baselines: Baselines | None) -> ImageScore | Skip:
        """Score a sample, or tell why it can't be.

        Raises:
            StageError, UnusableOutputError: the model gave something unusable.
        """
        try:
            return self._score(name, baselines)
        # A picture that infer() doesn't take is the sample's fault; anything else that it raises is the model's.
        except (SampleError, FrameError) as error:
            return Skip(name=name, reason=error.problem)

    def picture(self, name: str) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 BGR: picture, true and predicted depth of a sample side by side."""
        sample = self._load(name)
        truth = np.where(sample.valid, sample.depth_m, np.float32(0))
        return beside_truth(sample.image, truth, self._predict(sample))

    def _load(self, name: str) -> Sample:
        """A sample in which nothing but what is scored is marked as valid.

        Raises:
            SampleError: it can't be loaded, has nothing to score, or no usable focal length where one is needed.
        """
        sample = self._data_set.load(name)
        limit = self._settings.max_depth_m
        if limit is not None:
            sample = replace(sample, valid=sample.valid & (sample.depth_m <= limit))
        if not sample.valid.any():
            within = f" within {limit:g} m" if limit is not None else ""
            raise SampleError(f"it has no valid depth{within}", remedy="leave this sample out")
        if self._settings.focal == "given":
            _check_given_focal(sample)
        return sample

    def _predict(self, sample: Sample) -> DepthResult:
        frame = sample.image if self.model.color == "rgb" else sample.image[..., ::-1]
        return self.model.infer(frame, focal_px=sample.focal_px if self._settings.focal == "given" else None)

    def _score(self, name: str, baselines: Baselines | None) -> ImageScore:
        sample = self._load(name)
        result = self._predict(sample)
        own = self._score_depth(result.depth, sample)
        others = {}
        if baselines is not None:
            guesses = baselines.depths(*sample.depth_m.shape)
            others = {baseline: self._score_depth(depth_m, sample) for baseline, depth_m in guesses.items()}
        if self._settings.focal == "predicted" and sample.focal_px is not None:
            own[FOCAL_ERROR] = focal_error(result.focal_px, sample.focal_px)
            if baselines is not None and baselines.focal_per_width is not None:
                guess_px = baselines.focal_per_width * sample.image.shape[1]
                others[CONSTANT_FOV] = {FOCAL_ERROR: focal_error(guess_px, sample.focal_px)}
        return ImageScore(
            name=name,
            pixels=int(np.count_nonzero(sample.valid)),
            focal_px=float(result.focal_px),
            true_focal_px=sample.focal_px,
            figures=own,
            baselines=others,
        )

    def _score_depth(self, depth_m: Array, sample: Sample) -> dict[str, float]:
        return score_depth(depth_m, sample.depth_m, sample.valid, mask=sample.mask, settings=self._settings)


# --- work for a crew of scorers: functions of a module, so that they can be sent


def describe_model(scorer: Scorer, _: None) -> dict[str, Any]:
    """What is evaluated."""
    return scorer.model_facts


def truth_of(scorer: Scorer, name: str) -> SampleDepths | None:
    """Scorer.truth()."""
    return scorer.truth(name)


@dataclass(frozen=True, slots=True)
class Scoring:
    """Scorer.score(), and what it was scored with: machines of a cluster may differ.

    Args:
        baselines: fitted, or None.
    """

    baselines: Baselines | None

    def __call__(self, scorer: Scorer, name: str) -> tuple[ImageScore | Skip, dict[str, Any]]:
        """Score a sample."""
        return scorer.score(name, self.baselines), scorer.model_facts


def draw(scorer: Scorer, name: str) -> npt.NDArray[np.uint8]:
    """Scorer.picture()."""
    return scorer.picture(name)


def picture_names(worst: Sequence[ImageScore]) -> list[str]:
    """File names of the gallery: rank and sample, safe on every file system."""
    safe = (re.sub(r"[^A-Za-z0-9._-]+", "_", score.name)[-80:] for score in worst)
    return [f"{rank:03}_{name}.jpg" for rank, name in enumerate(safe, start=1)]


def _check_given_focal(sample: Sample) -> None:
    if sample.focal_px is None:
        raise SampleError("the data set doesn't tell its focal length", remedy="leave --focal given out")
    try:
        check_focal_px(sample.focal_px, sample.image.shape[1])
    except OptionError as error:
        raise SampleError(error.problem, remedy="leave --focal given out, or correct the intrinsics") from error


def _describe(model: EdgeDepth) -> dict[str, Any]:
    bundle = model.bundle
    return {
        "name": model.spec.name,
        "backend": model.backend,
        "device": model.device,
        "precision": bundle.manifest.precision if bundle else "fp32",
        "trained": model.spec.trained,
        "weights": model.spec.source,
        "weights_sha256": model.spec.weights_sha256,
        "bundle": str(bundle.path) if bundle else None,
        # The manifest holds the hash of every other file.
        "bundle_sha256": sha256_file(bundle.path / MANIFEST) if bundle else None,
    }
