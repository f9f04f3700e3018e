"""Train depth-pro-mini on a GPU, as long as there is time for: a recipe of more scenes, larger batches, more steps.

    python benchmarks/gpu/train_mini.py --out runs/mini --minutes 15

Scenes are rendered first (the time of that counts apart), the phases' speed is then measured here, and the steps that
fit into the minutes make the recipe, which runs/mini/run/settings.json keeps: with it the run goes on after a stop, and
can be repeated. Give the same command again to go on.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from edgedepth.cli.console import note, progress_bar
from edgedepth.training.curves import plot_curves
from edgedepth.training.mini_recipe import MINI, Recipe, train_mini

BATCHES = {"tiles": 1024, "stage-one": 16, "stage-two": 16, "fov": 512}
SHARES = {"tiles": 0.5, "stage-one": 0.3, "stage-two": 0.15, "fov": 0.05}
"""Of the minutes."""

PROBED, WARMED_UP = 30, 10


def main() -> None:
    """Render, measure, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="of the rendered scenes (default: OUT/scenes)")
    parser.add_argument("--minutes", type=float, default=15.0, help="of training; rendering comes before")
    parser.add_argument("--scenes", type=float, default=3.0, help="as many times the recipe's: 8 GB each")
    parser.add_argument("--batch", type=float, default=1.0, help="share of the batches, for a card with little memory")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    cache = args.cache or args.out / "scenes"
    args.out.mkdir(parents=True, exist_ok=True)
    run, kept = args.out / "run", args.out / "steps.json"
    large = larger(MINI, args.scenes, args.batch)
    if not kept.exists():
        steps = {name: round(60 * args.minutes * SHARES[name] / s) for name, s in probe(large, cache, args).items()}
        kept.write_text(json.dumps(steps, indent=2))
    steps = json.loads(kept.read_text())
    recipe = replace(large, phases=tuple(replace(phase, steps=max(1, steps[phase.name])) for phase in large.phases))
    note(f"steps: {steps}")
    with progress_bar(every=200) as progress:
        weights = train_mini(
            run, cache, recipe=recipe, device=args.device, workers=args.workers, progress=progress, announce=note
        )
    plot_curves(run / "curves.csv", run / "curves.png")
    note(f"weights: {weights}\nthen: edgedepth export --model depth-pro-mini --weights {weights} --out bundle")


def larger(recipe: Recipe, scenes: float, batch: float) -> Recipe:
    """With more scenes and larger batches."""
    return replace(
        recipe,
        large=replace(recipe.large, count=round(scenes * recipe.large.count)),
        small=replace(recipe.small, count=round(scenes * recipe.small.count)),
        phases=tuple(replace(phase, batch=max(3, round(batch * BATCHES[phase.name]))) for phase in recipe.phases),
    )


def probe(recipe: Recipe, cache: Path, args: argparse.Namespace) -> dict[str, float]:
    """Seconds a step of each phase, measured here."""
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
            progress=watch,
            announce=note,
            log_every=WARMED_UP,
        )
    note(f"seconds a step: { {name: round(s, 4) for name, s in seconds.items()} }")
    return seconds


if __name__ == "__main__":
    main()
