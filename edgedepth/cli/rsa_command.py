"""Fit a head that reads metric scale off captions, and measure it by the tables of RSA's paper.

    edgedepth rsa fit nyu --relative rsa-depth-anything --weights relative=FOLDER,text=RN50.pt --out fit
    edgedepth rsa eval nyu-test --bundle BUNDLE --baselines fit

DATASET is a folder with depth and captions (docs/how-to/rsa.md), or places:N for N rendered scenes. A fit that was
stopped is gone on with; network and text encoder are run once a picture, so an epoch takes seconds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.cli.arguments import add_runner, open_runner
from edgedepth.cli.console import note, print_json, print_table, progress_bar
from edgedepth.core.errors import OptionError
from edgedepth.core.optional import require
from edgedepth.core.plain import to_plain
from edgedepth.datasets import LAYOUTS
from edgedepth.datasets.captions import CaptionedSet, open_captioned
from edgedepth.datasets.places import FIT_SEED
from edgedepth.facade import EdgeDepth
from edgedepth.models.registry import MODELS
from edgedepth.models.weights import shipped_baselines
from edgedepth.rsa.evaluating import BASELINES, FIGURES, RsaTable, tabulate
from edgedepth.training.scenes import HELD_OUT_SEED

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "fit a head on captions, and measure RSA"

_LABELS = {
    "delta1": "δ1 ↑",
    "delta2": "δ2 ↑",
    "delta3": "δ3 ↑",
    "abs_rel": "AbsRel ↓",
    "log10": "log10 ↓",
    "rmse": "RMSE m ↓",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("what", choices=("fit", "eval"), help="fit a head, or measure a model")
    parser.add_argument("data_set", metavar="DATASET", help="a folder with depth and captions, or places:N")
    layouts = ", ".join(layout.name for layout in LAYOUTS)
    parser.add_argument("--layout", help=f"how the folder is laid out: {layouts} (default: told by what is in it)")
    parser.add_argument(
        "--captions", type=Path, metavar="DIR", help="folder of NAME.txt and NAME.objects (default: DATASET)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="N samples, spread evenly over the set")
    fitting = parser.add_argument_group("fit")
    fitting.add_argument(
        "--relative",
        metavar="MODEL",
        help="an RSA model's name, or a bundle's folder: its network and text encoder, frozen",
    )
    fitting.add_argument("--out", type=Path, metavar="DIR", help="folder of the fit; DIR/head.safetensors is the head")
    fitting.add_argument("--epochs", type=int, default=50, help="at most (default: %(default)s)")
    fitting.add_argument("--batch", type=int, default=16, help="pictures a step (default: %(default)s)")
    fitting.add_argument("--lr", type=float, default=3e-5, help="Adam's, at first (default: %(default)s, as published)")
    fitting.add_argument("--last-lr", type=float, help="at last (default: a third of --lr, as published)")
    fitting.add_argument(
        "--loss",
        choices=("l1", "huber", "log"),
        default="l1",
        help="on metric depth (the paper's, the code's), or on its logarithm (default: %(default)s)",
    )
    fitting.add_argument("--patience", type=int, default=10, help="epochs without a better validation, at most")
    fitting.add_argument("--five-layers", action="store_true", help="the later published layout of a head")
    fitting.add_argument("--seed", type=int, default=0, help="of the weights and of all that is drawn")
    measuring = parser.add_argument_group("eval")
    measuring.add_argument(
        "--baselines",
        type=Path,
        metavar="DIR",
        help="a fit's folder, for the rows Global and Image (rsa-mini: its own)",
    )
    measuring.add_argument(
        "--wrong-captions", action="store_true", help="a row more: each picture is told another one's caption"
    )
    add_runner(parser)


def run(args: argparse.Namespace) -> int:
    """Fit or measure, and tell."""
    data_set = open_captioned(
        args.data_set,
        first_seed=FIT_SEED if args.what == "fit" else HELD_OUT_SEED,
        layout=args.layout,
        captions=args.captions,
    )
    return _fit(args, data_set) if args.what == "fit" else _eval(args, data_set)


def _fit(args: argparse.Namespace, data_set: CaptionedSet) -> int:
    if args.relative is None or args.out is None:
        raise OptionError(
            "a fit needs a frozen model and a folder",
            remedy="edgedepth rsa fit DATASET --relative rsa-mini --out DIR",
        )
    if args.bundle is not None or args.model is not None:
        raise OptionError("--bundle and --model are for eval; a fit's model is --relative", remedy="--relative MODEL")
    require("torch", extra="export", purpose="to fit a head")
    from edgedepth.rsa.fitting import fit
    from edgedepth.training.head_fitting import FitSettings

    settings = FitSettings(
        epochs=args.epochs,
        batch=args.batch,
        first_lr=args.lr,
        last_lr=args.lr / 3 if args.last_lr is None else args.last_lr,
        loss=args.loss,
        patience=args.patience,
        seed=args.seed,
    )
    with _frozen(args) as model, progress_bar() as progress:
        report = fit(
            model,
            data_set,
            args.out,
            settings=settings,
            five_layers=args.five_layers,
            limit=args.limit,
            progress=progress,
            announce=note,
        )
    if args.json:
        print_json(to_plain(report))
        return 0
    print(f"head: {report.head}, from {report.pictures} pictures with {report.captions} captions")
    print(f"validation: {report.loss:.4f} in epoch {report.epoch} of {report.epochs} ({args.loss})")
    print(f"use: edgedepth export --model {model.spec.name} --weights relative=…,text=…,head={report.head}")
    return 0


def _frozen(args: argparse.Namespace) -> EdgeDepth:
    """The model whose network and text encoder are used; its head may be left out of --weights."""
    if args.relative not in MODELS:
        return EdgeDepth(Path(args.relative), device=args.device)
    weights = args.weights
    if weights is not None and "relative=" in weights and "head=" not in weights:
        weights = f"{weights},head=random:0"
    return EdgeDepth(args.relative, backend="torch", weights=weights)


def _eval(args: argparse.Namespace, data_set: CaptionedSet) -> int:
    with open_runner(args) as model, progress_bar() as progress:
        baselines = args.baselines / BASELINES if args.baselines else shipped_baselines(model.spec)
        table = tabulate(
            model,
            data_set,
            baselines=baselines,
            wrong_captions=args.wrong_captions,
            limit=args.limit,
            progress=progress,
        )
    if args.json:
        print_json(table.to_dict())
    else:
        _print(table)
    return 0


def _print(table: RsaTable) -> None:
    rows = [(row, *(f"{figures[name]:.3f}" for name in FIGURES)) for row, figures in table.rows.items()]
    print_table(("", *_LABELS.values()), rows)
    print("* sees the truth of the very picture")
    skipped = f", {table.skipped} skipped" if table.skipped else ""
    print(
        f"means over {table.pictures} pictures of {table.data_set}{skipped}; {table.model['name']} on "
        f"{table.model['backend']}, {table.model['device']}"
    )
    if table.gap_closed is not None:
        print(f"RSA closes {table.gap_closed:.0%} of the AbsRel between Global and the oracle")
