"""evaluate: an opened model against a data set's true depth, by the papers' figures."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgedepth import __version__
from edgedepth.core.bundle import MANIFEST
from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.errors import CheckFailedError, OptionError
from edgedepth.core.files import write_file
from edgedepth.core.hashing import sha256_file
from edgedepth.core.plain import to_plain
from edgedepth.core.progress import Progress, silent
from edgedepth.datasets.base import DataSet
from edgedepth.facade import EdgeDepth
from edgedepth.scoring import SetScorer, picture_names
from edgedepth.verify.evaluation import EvalReport, EvalSettings, Skip, render_csv, worst_first
from edgedepth.verify.score_log import ScoreLog, check_evaluation_folder

__all__ = ["CSV", "GALLERY", "REPORT", "check_evaluation", "evaluate"]

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
    settings = settings or EvalSettings()
    if settings.max_depth_m is None:
        settings = replace(settings, max_depth_m=data_set.max_depth_m)
    check_evaluation(data_set, out=out, settings=settings, gallery=gallery, resume=resume)
    names = _evenly(data_set.sample_names, settings.limit)
    model_facts, set_facts = _describe_model(model), _describe_set(data_set, names, place)
    # Where the bundle lies is for people; that it is the same is told by its hash.
    header = {
        "model": model_facts | {"bundle": None, "edgedepth": __version__},
        "data_set": set_facts,
        "settings": to_plain(settings),
    }
    folder = Path(out)
    scorer = SetScorer(model, data_set, settings, progress)
    with ScoreLog(folder, header, resume=resume) as scores:
        if settings.baselines and scores.baselines is None and (fitted := scorer.fit_baselines(names)) is not None:
            scores.keep_baselines(fitted)
        skipped = scorer.score(names, scores)
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
    scorer.draw(worst, folder / GALLERY)
    return report


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


def _describe_model(model: EdgeDepth) -> dict[str, Any]:
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
