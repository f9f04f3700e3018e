"""evaluate: a model against a data set's true depth, by the papers' figures, in this process or by a crew."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from edgedepth import __version__
from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.errors import CheckFailedError, OptionError, OutputError, StageError
from edgedepth.core.files import write_file
from edgedepth.core.plain import to_plain
from edgedepth.core.progress import Progress, silent
from edgedepth.crew import Crew, Here, Lost
from edgedepth.datasets.base import DataSet
from edgedepth.facade import EdgeDepth
from edgedepth.result import write_picture
from edgedepth.scoring import Scorer, Scoring, describe_model, draw, picture_names, truth_of
from edgedepth.verify.baselines import BaselineFit, Baselines, SampleDepths
from edgedepth.verify.evaluation import EvalReport, EvalSettings, ImageScore, Skip, render_csv, worst_first
from edgedepth.verify.score_log import ScoreLog, check_evaluation_folder

__all__ = ["CSV", "GALLERY", "REPORT", "check_evaluation", "evaluate", "evaluate_with", "settled"]

log = logging.getLogger("edgedepth")

Outcome = TypeVar("Outcome")

REPORT = "report.json"
CSV = "images.csv"
GALLERY = "gallery"

_PACKAGES = ("edgedepth", "numpy", "opencv-python", "onnxruntime", "torch")


def evaluate(
    model: EdgeDepth,
    data_set: DataSet,
    *,
    out: str | os.PathLike[str],
    settings: EvalSettings | None = None,
    place: str | None = None,
    gallery: int = 8,
    resume: bool = False,
    progress: Progress = silent,
) -> EvalReport:
    """Measure a model on a data set.

    A sample that can't be scored is counted, logged and left out. Scores are kept as they come: whatever ends a run,
    the same call with resume=True goes on after the last of them.

    Args:
        model: an opened bundle, or the reference.
        data_set: what edgedepth.datasets.open_dataset gives: "synthetic:500", a folder.
        out: a new or empty folder for scores.jsonl, report.json, images.csv and the gallery.
        settings: focal length, alignment, largest depth, limit, baselines; None: zero-shot metric depth, all samples.
            A largest depth of None is that of the set's protocol: 80 m for KITTI, 10 m for NYUv2.
        place: where the set lies, to be told in the report; a run goes on only with a set of the same place.
        gallery: so many of the worst pictures by AbsRel are drawn beside their true and predicted depth. They are
            predicted once more for it.
        resume: go on with the scores in `out`. Samples that were skipped are tried again.
        progress: told of each step.

    Returns:
        The report, as report.json holds it.

    Raises:
        OptionError: settings that can't be met: a data set without metres and no alignment; or scores in `out` that
            were made of something else.
        OutputError: `out` can't be written, or holds something already.
        CheckFailedError: not one sample could be scored.
        StageError, UnusableOutputError: the model gave something unusable. Scores so far are kept.
    """
    settings = settled(settings, data_set)
    check_evaluation(data_set, out=out, settings=settings, gallery=gallery, resume=resume)
    scorer = Scorer(lambda: model, data_set, settings)
    return evaluate_with(
        Here(lambda _: scorer),
        data_set,
        out=out,
        settings=settings,
        place=place,
        gallery=gallery,
        resume=resume,
        progress=progress,
    )


def settled(settings: EvalSettings | None, data_set: DataSet) -> EvalSettings:
    """Settings in which nothing is left to the set."""
    settings = settings or EvalSettings()
    return replace(settings, max_depth_m=data_set.max_depth_m) if settings.max_depth_m is None else settings


def evaluate_with(
    crew: Crew[Scorer],
    data_set: DataSet,
    *,
    out: str | os.PathLike[str],
    settings: EvalSettings,
    place: str | None = None,
    gallery: int = 8,
    resume: bool = False,
    progress: Progress = silent,
) -> EvalReport:
    """evaluate() by a crew of Scorers: the same report to the last bit, whoever scored which picture.

    A picture that kills its worker twice is skipped. Arguments and errors are those of evaluate(), and the crew's:

    Args:
        crew: its scorers have this data set and these settings, and each opens a model of its own.
        data_set: likewise.
        out: likewise.
        settings: as settled() gives them.
        place: likewise.
        gallery: likewise.
        resume: likewise.
        progress: told of each sample that is done.

    Raises:
        OptionError: also where machines of the crew run different things.
        EdgeDepthError: the model can't be opened.
    """
    check_evaluation(data_set, out=out, settings=settings, gallery=gallery, resume=resume)
    names = _evenly(data_set.sample_names, settings.limit)
    [(_, model_facts)] = crew.map(describe_model, [None])
    if isinstance(model_facts, Lost):
        raise StageError(f"the model can't be opened: {model_facts.reason}", remedy="edgedepth doctor")
    set_facts = _describe_set(data_set, names, place)
    header = {
        "model": _identity(model_facts) | {"edgedepth": __version__},
        "data_set": set_facts,
        "settings": to_plain(settings),
    }
    folder = Path(out)
    with ScoreLog(folder, header, resume=resume) as scores:
        if settings.baselines and scores.baselines is None:
            fitted = _fit(_told(crew.map(truth_of, names), "fitting the baselines: ", len(names), progress), names)
            if fitted is not None:
                scores.keep_baselines(fitted)
        skipped = _score(crew, names, scores, model_facts, progress)
    scored = [scores.scores[name] for name in names if name in scores.scores]
    if not scored:
        raise _nothing_scored(data_set, skipped)
    worst = worst_first(scored)[:gallery]
    report = EvalReport(
        scores=tuple(scored),
        skipped=tuple(skipped),
        model=model_facts,
        data_set=set_facts,
        settings=settings,
        environment=describe_machine() | versions_of(_PACKAGES),
        gallery=tuple(f"{GALLERY}/{name}" for name in picture_names(worst)),
    )
    _save(report, folder)
    _draw(crew, worst, folder / GALLERY, progress)
    return report


def _fit(truths: Iterator[tuple[str, SampleDepths | Lost | None]], names: Sequence[str]) -> Baselines | None:
    """The first pass: what predictors that never look would best say. None if no sample can be loaded.

    Samples are added in the set's order, whenever they come: sums of floats depend on it.
    """
    fit = BaselineFit()
    waiting: dict[str, SampleDepths | Lost | None] = {}
    turn = iter(names)
    due = next(turn, None)
    for name, truth in truths:
        waiting[name] = truth
        while due in waiting:
            known = waiting.pop(due)
            if isinstance(known, SampleDepths):  # others are told in the second pass, which meets them again
                fit.add(known)
            due = next(turn, None)
    return fit.finish()


def _score(
    crew: Crew[Scorer], names: Sequence[str], scores: ScoreLog, model_facts: dict[str, Any], progress: Progress
) -> list[Skip]:
    """The second pass: score what has no score yet. Returns what couldn't be scored; the log is told of each."""
    skipped: dict[str, Skip] = {}
    left = [name for name in names if name not in scores.scores]
    outcomes = crew.map(Scoring(scores.baselines), left)
    for name, outcome in _told(outcomes, "", len(names), progress, done=len(names) - len(left)):
        if isinstance(outcome, Lost):
            score: ImageScore | Skip = Skip(name=name, reason=outcome.reason)
        else:
            score, found = outcome
            _check_same_model(found, model_facts)
        if isinstance(score, Skip):
            log.warning("%s is skipped: %s", name, score.reason)
            skipped[name] = score
        else:
            scores.add(score)
    return [skipped[name] for name in names if name in skipped]


def _draw(crew: Crew[Scorer], worst: Sequence[ImageScore], folder: Path, progress: Progress) -> None:
    """Draw picture, true and predicted depth of each, and take away what an earlier run drew there."""
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
    names = [score.name for score in worst]
    files = dict(zip(names, picture_names(worst), strict=True))
    for name, picture in _told(crew.map(draw, names), "drawing the worst: ", len(names), progress):
        if isinstance(picture, Lost):
            log.warning("%s is not drawn: %s", name, picture.reason)
        else:
            write_picture(folder / files[name], picture)


def _told(
    outcomes: Iterator[tuple[str, Outcome]], what: str, total: int, progress: Progress, *, done: int = 0
) -> Iterator[tuple[str, Outcome]]:
    for name, outcome in outcomes:
        progress(f"{what}{name}", done, total)
        yield name, outcome
        done += 1
    progress(f"{what}done", total, total)


def _identity(model_facts: dict[str, Any]) -> dict[str, Any]:
    """Where the bundle lies is for people; that it is the same is told by its hash."""
    return model_facts | {"bundle": None}


def _check_same_model(found: dict[str, Any], meant: dict[str, Any]) -> None:
    for name, value in _identity(meant).items():
        if _identity(found)[name] != value:
            raise OptionError(
                f"one worker runs {name} {value}, another {found[name]}; figures of the two don't mix",
                remedy="--device cpu, or machines that are alike",
            )


def check_evaluation(
    data_set: DataSet, *, out: str | os.PathLike[str], settings: EvalSettings, gallery: int, resume: bool
) -> None:
    """Raise what evaluate would raise at once: before a model is loaded for it.

    Raises:
        OptionError, OutputError: as evaluate.
    """
    if not 0 <= gallery <= 999:
        raise OptionError(f"the gallery is to have {gallery} pictures; allowed are 0 to 999", remedy="--gallery 8")
    if not data_set.metric and settings.align == "none":
        raise OptionError(
            f"{data_set.name} knows its depth up to a scale only; metres can't be compared with it",
            remedy="--align median, or --align linear",
        )
    check_evaluation_folder(Path(out), resume=resume)


def _evenly(names: Sequence[str], limit: int | None) -> tuple[str, ...]:
    """So many names, spread evenly: neighbours in a set are often frames of one video."""
    count = len(names) if limit is None else min(limit, len(names))
    return tuple(names[index * len(names) // count] for index in range(count))


def _describe_set(data_set: DataSet, names: Sequence[str], place: str | None) -> dict[str, Any]:
    listing = "\n".join(names).encode("utf-8", "surrogateescape")  # file names needn't be UTF-8
    return {
        "name": data_set.name,
        "place": place,
        "metric": data_set.metric,
        "samples": len(data_set.sample_names),
        "chosen": len(names),
        "chosen_sha256": hashlib.sha256(listing).hexdigest(),
    }


def _nothing_scored(data_set: DataSet, skipped: Sequence[Skip]) -> CheckFailedError:
    first = f"; the first, {skipped[0].name}: {skipped[0].reason}" if skipped else ""
    return CheckFailedError(
        f"none of the {len(skipped)} samples of {data_set.name} could be scored{first}",
        remedy="look at the data set's folder, and at --layout; docs/how-to/data-sets.md shows the layouts",
    )


def _save(report: EvalReport, folder: Path) -> None:
    text = json.dumps(report.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for name, content in ((REPORT, text), (CSV, render_csv(report.scores))):
        write_file(folder / name, content.encode("utf-8", "backslashreplace"))  # names that aren't UTF-8
