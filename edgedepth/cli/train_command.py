"""Train a model by the recipe of its shipped weights.

    edgedepth train mini --out runs/mini --device cuda --workers 16 --ahead 0.03
    edgedepth train mini --out runs/try --effort 0.01 --batches 0.1
    edgedepth train rsa-mini --out runs/rsa

Renders its scenes first (for the whole recipe 31 GB in --cache, 4 GB for rsa-mini), then trains in phases. The recipe
of mini is for a GPU, an H100 takes 18 minutes; --effort and --batches make one for a processor.

Stopped, killed or out of disk: the same command goes on from the last checkpoint. OUT receives settings.json,
curves.csv, curves.png and the weights of each phase.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.cli.arguments import add_device
from edgedepth.cli.console import note, print_json, progress_bar
from edgedepth.core.errors import OptionError
from edgedepth.core.optional import require

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "train depth-pro-mini or rsa-mini on procedural scenes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("recipe", choices=("mini", "rsa-mini"), help="what to train")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="folder of the rendered scenes (default: OUT/scenes)")
    parser.add_argument(
        "--effort",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="share of the recipe's scenes and steps, to try it out",
    )
    parser.add_argument(
        "--batches", type=float, metavar="SHARE", help="with mini: share of the recipe's batches, for little memory"
    )
    parser.add_argument(
        "--ahead",
        type=float,
        metavar="SHARE",
        help="with mini on a GPU: share of the scenes rendered before training, the rest beside it (default: 1)",
    )
    add_device(parser)
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that render, and threads that draw batches"
    )


def run(args: argparse.Namespace) -> int:
    """Train, and tell where the weights are."""
    require("torch", extra="train", purpose="to train")
    if args.recipe != "mini" and (args.batches is not None or args.ahead is not None):
        raise OptionError("--batches and --ahead are mini's", remedy="leave them out, or train mini")
    from edgedepth.runtimes.torch_session import torch_device
    from edgedepth.training.curves import plot_curves

    how = {"device": str(torch_device(args.device)), "workers": args.workers, "announce": note}
    cache = args.cache or args.out / "scenes"
    with progress_bar() as progress:
        if args.recipe == "mini":
            from edgedepth.training.mini_recipe import MINI, train_mini

            recipe = MINI.shortened(args.effort, 1.0 if args.batches is None else args.batches)
            ahead = 1.0 if args.ahead is None else args.ahead
            weights = train_mini(args.out, cache, recipe=recipe, ahead=ahead, progress=progress, **how)
        else:
            from edgedepth.training.rsa_recipe import RSA_RECIPE, train_rsa_mini

            weights = train_rsa_mini(
                args.out, cache, recipe=RSA_RECIPE.shortened(args.effort), progress=progress, **how
            )
    plot = plot_curves(args.out / "curves.csv", args.out / "curves.png")
    if args.json:
        print_json({"weights": str(weights), "curves": str(plot)})
    else:
        model = "depth-pro-mini" if args.recipe == "mini" else "rsa-mini"
        print(f"weights: {weights}\ncurves: {plot}\nuse: edgedepth export --model {model} --weights {weights}")
    return 0
