"""Measure a model on a data set with true depth, by the papers' figures, beside predictors that never look.

    edgedepth eval synthetic:500 --bundle BUNDLE --out eval
    edgedepth eval nyuv2 --model depth-pro --out eval-nyu
    edgedepth eval nyuv2 --model depth-pro --out eval-nyu --resume
    edgedepth eval nyuv2 --bundle BUNDLE --out eval-nyu --engine ray --address auto --workers 8

DATASET is a folder, or synthetic:N for N scenes that were never trained on. Metres are compared as predicted, with the
model's own focal length, unless --focal and --align say otherwise. --out gets scores.jsonl, report.json, images.csv and
a gallery of the worst pictures. A sample that can't be scored is told and left out; the exit code is 1 if all are.
"""

from __future__ import annotations

import argparse
import functools
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from edgedepth.cli.arguments import add_crew, add_runner, crew_options, runner_options
from edgedepth.cli.console import note, print_json, print_table, progress_bar
from edgedepth.core.signing import trusted_key_of_environment
from edgedepth.crew import open_crew
from edgedepth.datasets import LAYOUTS, DataSet, open_dataset
from edgedepth.evaluating import CSV, GALLERY, REPORT, check_evaluation, evaluate_with, settled
from edgedepth.facade import EdgeDepth
from edgedepth.scoring import Scorer
from edgedepth.verify.baselines import CONSTANT_DEPTH, CONSTANT_FOV, MEAN_DEPTH_MAP
from edgedepth.verify.evaluation import Align, EvalReport, EvalSettings, Focal
from edgedepth.verify.score_log import SCORES

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "measure a model on a data set with true depth"

_FIGURES = {
    "delta1": "δ1 ↑",
    "delta2": "δ2 ↑",
    "delta3": "δ3 ↑",
    "abs_rel": "AbsRel ↓",
    "sq_rel": "SqRel m ↓",
    "log10": "log10 ↓",
    "rmse": "RMSE m ↓",
    "rmse_log": "log-RMSE ↓",
    "silog": "SILog ↓",
    "boundary_f1": "boundary F1 ↑",
    "boundary_recall": "boundary recall ↑",
    "focal_delta25": "focal δ25 % ↑",
    "focal_delta50": "focal δ50 % ↑",
}
_BASELINES = {CONSTANT_DEPTH: "constant depth", MEAN_DEPTH_MAP: "mean depth map", CONSTANT_FOV: "constant FOV"}
_SHOWN_SKIPS = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("data_set", metavar="DATASET", help="a data set's folder, or synthetic:N")
    layouts = ", ".join(layout.name for layout in LAYOUTS)
    parser.add_argument("--layout", help=f"how the folder is laid out: {layouts} (default: told by what is in it)")
    add_runner(parser)
    add_crew(parser)
    parser.add_argument(
        "--focal",
        choices=get_args(Focal),
        default="predicted",
        help="whose focal length gives the scale: the model's, or the data set's (default: %(default)s)",
    )
    parser.add_argument(
        "--align",
        choices=get_args(Align),
        default="none",
        help="fit each prediction to the truth first: by the ratio of medians, or by scale and shift "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--max-depth",
        type=float,
        metavar="M",
        help="score no truth beyond M metres, and cut predictions there (default: the set's protocol: KITTI and "
        "synthetic 80, NYUv2 10, the others no limit)",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="N samples, spread evenly over the set")
    parser.add_argument("--no-baselines", action="store_true", help="save the first pass, and score the model alone")
    parser.add_argument(
        "--gallery", type=int, default=8, metavar="K", help="draw the K worst pictures (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("eval"), metavar="DIR", help="a new folder (default: %(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="go on with the scores that --out holds")


def run(args: argparse.Namespace) -> int:
    """Evaluate and tell."""
    settings = EvalSettings(
        focal=args.focal,
        align=args.align,
        max_depth_m=args.max_depth,
        limit=args.limit,
        baselines=not args.no_baselines,
    )
    crew = crew_options(args)
    data_set = open_dataset(_place(args.data_set) or args.data_set, layout=args.layout)
    settings = settled(settings, data_set)
    check_evaluation(data_set, out=args.out, settings=settings, gallery=args.gallery, resume=args.resume)
    opener = functools.partial(_open_scorer, _everywhere(runner_options(args)), data_set, settings)
    with open_crew(opener, crew, uses_gpu=args.device != "cpu") as scorers:
        try:
            with progress_bar(eta=True) as progress:
                report = evaluate_with(
                    scorers,
                    data_set,
                    out=args.out,
                    settings=settings,
                    place=_place(args.data_set),
                    gallery=args.gallery,
                    resume=args.resume,
                    progress=progress,
                )
        except KeyboardInterrupt:
            if (args.out / SCORES).is_file():
                note(f"the scores so far are kept; to go on: {_resume_command(args.words)}")
            raise
    if args.json:
        print_json(report.to_dict())
    else:
        _print(report, args.out)
    return 0


def _open_scorer(options: dict[str, Any], data_set: DataSet, settings: EvalSettings, threads: int | None) -> Scorer:
    """On whichever machine."""
    return Scorer(lambda: EdgeDepth(**options, threads=threads), data_set, settings)


def _everywhere(options: dict[str, Any]) -> dict[str, Any]:
    """The same for processes that work in another folder."""
    model, weights = options["model"], options["weights"]
    return options | {
        "model": str(model.resolve()) if isinstance(model, Path) and model.exists() else model,
        "weights": weights and (_place(weights) or weights),
        "trusted_key": trusted_key_of_environment(),
    }


def _place(data_set: str) -> str | None:
    """The same from every working folder; None for what lies nowhere."""
    path = Path(data_set)
    return str(path.resolve()) if path.exists() else None


def _resume_command(words: Sequence[str]) -> str:
    return shlex.join(["edgedepth", *words, *(() if "--resume" in words else ("--resume",))])


def _print(report: EvalReport, out: Path) -> None:
    baselines = report.baselines
    columns = ["figure", str(report.model["name"]), *(f"{_BASELINES[name]} *" for name in baselines)]
    rows = []
    for name, label in _FIGURES.items():
        values = [report.metrics[name], *(figures[name] for figures in baselines.values())]
        if values[0] is not None:
            rows.append((label, *("" if value is None else f"{value:.4f}" for value in values)))
    trained = report.model["trained"]
    title = "" if trained else "UNTRAINED weights: the figures tell nothing about the architecture"
    print_table(columns, rows, title=title)
    if baselines:
        print("* fitted on the very pictures that they are scored on, so flattered; they never look at a picture")
    print(_how(report))
    for skip in report.skipped[:_SHOWN_SKIPS]:
        print(f"skipped: {skip.name}: {skip.reason}")
    if (more := len(report.skipped) - _SHOWN_SKIPS) > 0:
        print(f"skipped: {more} more, in {out / REPORT}")
    note(f"written: {out / REPORT}, {out / CSV}" + (f", {out / GALLERY}" if report.gallery else ""))


def _how(report: EvalReport) -> str:
    """What was measured and how, in a line."""
    model, settings = report.model, report.settings
    parts = [
        f"means over {len(report.scores)} pictures of {report.data_set['name']}"
        + (f", {len(report.skipped)} skipped" if report.skipped else ""),
        f"{model['precision']} on {model['backend']}, {model['device']}",
        "the model's own focal length" if settings.focal == "predicted" else "the data set's focal length",
        "metres as predicted" if settings.align == "none" else f"{settings.align} alignment to the truth",
    ]
    if settings.max_depth_m is not None:
        parts.append(f"up to {settings.max_depth_m:g} m")
    return "; ".join(parts)
