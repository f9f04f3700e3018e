"""The passes of an evaluation over its data set: fit the baselines, score every picture, draw the worst."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgedepth.core.errors import FrameError, OptionError, OutputError, SampleError
from edgedepth.core.progress import Progress
from edgedepth.core.session import Array
from edgedepth.datasets.base import DataSet, Sample
from edgedepth.facade import EdgeDepth
from edgedepth.programs.metric import check_focal_px
from edgedepth.report.side_by_side import save_beside_truth
from edgedepth.result import DepthResult
from edgedepth.verify.baselines import CONSTANT_FOV, BaselineFit, Baselines
from edgedepth.verify.evaluation import FOCAL_ERROR, EvalSettings, ImageScore, Skip, score_depth
from edgedepth.verify.metrics import focal_error
from edgedepth.verify.score_log import ScoreLog

__all__ = ["SetScorer", "picture_names"]

log = logging.getLogger("edgedepth")


class SetScorer:
    """A model and a data set, brought together a sample at a time.

    Args:
        model: opened.
        data_set: opened; one sample of it is in memory at a time.
        settings: how to score.
        progress: told of each sample.
    """

    def __init__(self, model: EdgeDepth, data_set: DataSet, settings: EvalSettings, progress: Progress) -> None:
        self._model = model
        self._data_set = data_set
        self._settings = settings
        self._progress = progress

    def fit_baselines(self, names: Sequence[str]) -> Baselines | None:
        """The first pass: what predictors that never look would best say. None if no sample can be loaded."""
        fit = BaselineFit()
        for name in self._steps(names, "fitting the baselines: "):
            try:
                sample = self._load(name)
            except SampleError:
                continue  # told in the second pass, which meets it again
            fit.add(sample.depth_m, sample.valid, sample.focal_px)
        return fit.finish()

    def score(self, names: Sequence[str], scores: ScoreLog) -> list[Skip]:
        """The second pass: score what has no score yet.

        Returns:
            What couldn't be scored. The log is told of each.

        Raises:
            StageError, UnusableOutputError: the model gave something unusable.
            OutputError: a score can't be kept.
        """
        skipped = []
        for name in self._steps(names, ""):
            if name in scores.scores:
                continue
            try:
                score = self._score_one(name, scores.baselines)
            # A picture that infer() doesn't take is the sample's fault; anything else that it raises is the model's.
            except (SampleError, FrameError) as error:
                log.warning("%s is skipped: %s", name, error.problem)
                skipped.append(Skip(name=name, reason=error.problem))
            else:
                scores.add(score)
        return skipped

    def draw(self, worst: Sequence[ImageScore], folder: Path) -> None:
        """Draw picture, true and predicted depth of each, and take away what an earlier run drew there.

        Raises:
            OutputError: the folder can't be written.
        """
        if not worst and not folder.exists():
            return
        try:
            folder.mkdir(exist_ok=True)
            for old in folder.glob("[0-9][0-9][0-9]_*.jpg"):
                old.unlink()
        except OSError as error:
            raise OutputError(
                f"{folder} can't be written: {error.strerror or error}",
                remedy="free space, then run the same command with --resume",
            ) from error
        files = iter(picture_names(worst))
        for name in self._steps([score.name for score in worst], "drawing the worst: "):
            sample = self._load(name)
            truth = np.where(sample.valid, sample.depth_m, np.float32(0))
            save_beside_truth(sample.image, truth, self._predict(sample), folder / next(files))

    def _steps(self, names: Sequence[str], what: str) -> Iterator[str]:
        for done, name in enumerate(names):
            self._progress(f"{what}{name}", done, len(names))
            yield name
        self._progress(f"{what}done", len(names), len(names))

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
        frame = sample.image if self._model.color == "rgb" else sample.image[..., ::-1]
        return self._model.infer(frame, focal_px=sample.focal_px if self._settings.focal == "given" else None)

    def _score_one(self, name: str, baselines: Baselines | None) -> ImageScore:
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
