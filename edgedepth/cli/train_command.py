"""Train a model by the recipe of its shipped weights.

    edgedepth train mini --out runs/mini
    edgedepth train mini --out runs/try --effort 0.01
    edgedepth train rsa-mini --out runs/rsa

Renders its scenes first (for the whole recipe 12 GB in --cache, 4 GB for rsa-mini, which shares most of them), then
trains in phases. Stopped, killed or out of disk: the same command goes on from the last checkpoint. OUT receives
settings.json, curves.csv, curves.png and the weights of each phase.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.cli.arguments import add_device
from edgedepth.cli.console import note, print_json, progress_bar
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
    add_device(parser)
    parser.add_argument(
        "--workers", type=int, default=1, metavar="N", help="processes that render, and threads that draw batches"
    )


def run(args: argparse.Namespace) -> int:
    """Train, and tell where the weights are."""
    require("torch", extra="train", purpose="to train")
    from edgedepth.runtimes.torch_session import torch_device
    from edgedepth.training.curves import plot_curves

    how = {"device": str(torch_device(args.device)), "workers": args.workers, "announce": note}
    cache = args.cache or args.out / "scenes"
    with progress_bar() as progress:
        if args.recipe == "mini":
            from edgedepth.training.mini_recipe import MINI, train_mini

            weights = train_mini(args.out, cache, recipe=MINI.shortened(args.effort), progress=progress, **how)
        else:
            from edgedepth.training.rsa_recipe import RSA_RECIPE, train_rsa_mini

            recipe = RSA_RECIPE.shortened(args.effort)
            weights = train_rsa_mini(args.out, cache, recipe=recipe, progress=progress, **how)
    plot = plot_curves(args.out / "curves.csv", args.out / "curves.png")
    if args.json:
        print_json({"weights": str(weights), "curves": str(plot)})
    else:
        model = "depth-pro-mini" if args.recipe == "mini" else "rsa-mini"
        print(f"weights: {weights}\ncurves: {plot}\nuse: edgedepth export --model {model} --weights {weights}")
    return 0
