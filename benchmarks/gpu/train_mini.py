"""Train depth-pro-mini on a GPU, as long as there is time for: a recipe of more scenes, larger batches, more steps.

    python benchmarks/gpu/train_mini.py --out runs/mini --minutes 15
    python benchmarks/gpu/train_mini.py --out runs/mini --steps tiles=12000,stage-one=9000,stage-two=4000,fov=3000

A few scenes are rendered first and the others while it trains. Without --steps the phases' speed is measured, and the
steps that fit into the minutes are taken. runs/mini/steps.json and runs/mini/run/settings.json keep the recipe: give
the same command again to go on after a stop.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # Processes that render import this file: without torch they are there at once.
    from edgedepth.training.mini_recipe import Recipe

BATCHES = {"tiles": 512, "stage-one": 32, "stage-two": 32, "fov": 512}
RATES = {"tiles": 1e-3, "stage-one": 8e-4, "stage-two": 4e-4, "fov": 6e-4}
SHARES = {"tiles": 0.3, "stage-one": 0.4, "stage-two": 0.22, "fov": 0.08}
"""Of the minutes."""

LARGE, SMALL = 20_000, 24_000
"""Scenes; 31 GB on disk and on the GPU."""

PROBED, WARMED_UP = 40, 20
CHECKPOINT_EVERY = 1000


def main() -> None:
    """Render, measure, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="of the rendered scenes (default: OUT/scenes)")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training (default: %(default)s)")
    parser.add_argument("--steps", help="of each phase, instead of what fits: tiles=N,stage-one=N,stage-two=N,fov=N")
    parser.add_argument("--scenes", type=float, default=1.0, help="share of the scenes (default: %(default)s)")
    parser.add_argument("--ahead", type=float, default=0.05, help="share rendered before training (default: 0.05)")
    parser.add_argument("--batch", type=float, default=1.0, help="share of the batches, for a card with little memory")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--probe-only", action="store_true", help="measure the phases' speed, and stop")
    args = parser.parse_args()

    from edgedepth.cli.console import note, progress_bar
    from edgedepth.training.curves import plot_curves
    from edgedepth.training.mini_recipe import MINI, train_mini

    cache = args.cache or args.out / "scenes"
    args.out.mkdir(parents=True, exist_ok=True)
    run, kept = args.out / "run", args.out / "steps.json"
    large = larger(MINI, args.scenes, args.batch)
    if args.steps:
        steps = {name: int(number) for name, number in (word.split("=") for word in args.steps.split(","))}
    elif kept.exists():
        steps = json.loads(kept.read_text())
    else:
        steps = {name: round(60 * args.minutes * SHARES[name] / s) for name, s in probe(large, cache, args).items()}
    note(f"steps: {steps}")
    if args.probe_only:
        return
    kept.write_text(json.dumps(steps, indent=2))
    recipe = replace(large, phases=tuple(replace(phase, steps=max(1, steps[phase.name])) for phase in large.phases))
    with progress_bar(every=500) as progress:
        weights = train_mini(
            run,
            cache,
            recipe=recipe,
            device=args.device,
            workers=args.workers,
            ahead=args.ahead,
            progress=progress,
            announce=note,
            log_every=100,
            checkpoint_every=CHECKPOINT_EVERY,
        )
    plot_curves(run / "curves.csv", run / "curves.png")
    note(f"weights: {weights}\nthen: edgedepth export --model depth-pro-mini --weights {weights} --out bundle")


def larger(recipe: Recipe, scenes: float, batch: float) -> Recipe:
    """With more scenes, larger batches and the rates for them."""
    return replace(
        recipe,
        large=replace(recipe.large, count=round(scenes * LARGE)),
        small=replace(recipe.small, count=round(scenes * SMALL)),
        phases=tuple(
            replace(phase, batch=max(3, round(batch * BATCHES[phase.name])), peak_lr=RATES[phase.name])
            for phase in recipe.phases
        ),
    )


def probe(recipe: Recipe, cache: Path, args: argparse.Namespace) -> dict[str, float]:
    """Seconds a step of each phase, measured here."""
    import torch

    from edgedepth.cli.console import note, progress_bar
    from edgedepth.training.mini_recipe import train_mini

    short = replace(recipe, phases=tuple(replace(phase, steps=PROBED) for phase in recipe.phases))
    seconds: dict[str, float] = {}
    with TemporaryDirectory(dir=args.out) as folder, progress_bar(every=100) as bar:
        marks: dict[str, float] = {}

        def watch(step: str, done: int, total: int) -> None:
            bar(step, done, total)
            name = step.partition(":")[0]
            if name not in BATCHES:
                return
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if done == WARMED_UP:
                marks[name] = time.perf_counter()
            elif done == PROBED:
                seconds[name] = (time.perf_counter() - marks[name]) / (PROBED - WARMED_UP)

        train_mini(
            Path(folder),
            cache,
            recipe=short,
            device=args.device,
            workers=args.workers,
            ahead=args.ahead,
            progress=watch,
            announce=note,
            log_every=WARMED_UP,
            checkpoint_every=CHECKPOINT_EVERY,
        )
    note(f"seconds a step: { {name: round(s, 4) for name, s in seconds.items()} }")
    return seconds


if __name__ == "__main__":
    main()
