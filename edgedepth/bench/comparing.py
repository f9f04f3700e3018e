"""Two runs, entry by entry: how many times as slow, with a confidence interval from the frames themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgedepth.core.errors import OptionError, RunError
from edgedepth.core.runs import Run
from edgedepth.core.session import Array
from edgedepth.machine.facts import differences

__all__ = ["MIN_FRAMES", "Comparison", "Ratio", "compare_runs", "median_ratio", "parse_limit"]

MIN_FRAMES = 5
"""Of each side, for a verdict: with fewer, an interval says little more than what was seen."""

_RESAMPLES = 10_000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How an entry of the second run is to that of the first.

    Args:
        name: of the entry in both.
        before_ms: median of the first run.
        after_ms: median of the second.
        ratio: after over before: 1.05 is 5 % slower.
        low: of its 95 % confidence interval.
        high: of it.
        frames: of the run that has fewer.
    """

    name: str
    before_ms: float
    after_ms: float
    ratio: float
    low: float
    high: float
    frames: int

    def is_slower(self, limit: float) -> bool:
        """Whether it is slower by more than a share, and not by chance: the interval excludes 1."""
        return self.ratio > 1 + limit and self.low > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Entries of both runs, and in words what else differs.

    Args:
        ratios: of the entries that both runs timed.
        missing: entries that only the first run timed, with the second's reason.
        new: entries that only the second one timed.
        notes: machines and versions that differ.
    """

    ratios: tuple[Ratio, ...]
    missing: dict[str, str]
    new: tuple[str, ...]
    notes: tuple[str, ...]

    def failures(self, limit: float) -> list[str]:
        """In words, what is slower by more than a share, or wasn't timed again.

        Raises:
            RunError: too few frames for a verdict.
        """
        if few := [one.name for one in self.ratios if one.frames < MIN_FRAMES]:
            raise RunError(
                f"{few[0]} has fewer than {MIN_FRAMES} frames in one of the runs: too few for a verdict",
                remedy="measure with --frames 30",
            )
        slower = [
            f"{one.name}: {one.ratio - 1:+.1%} ({one.low - 1:+.1%} to {one.high - 1:+.1%}); "
            f"at most {limit:+.1%} is allowed"
            for one in self.ratios
            if one.is_slower(limit)
        ]
        return slower + [f"{name}: not timed in the second run: {reason}" for name, reason in self.missing.items()]


def compare_runs(before: Run, after: Run, *, cross_device: bool = False) -> Comparison:
    """Compare the timed entries of two runs, by name.

    Args:
        before: the baseline.
        after: held against it.
        cross_device: compare runs of different machines, too.

    Raises:
        RunError: different machines without cross_device, or no entry that both timed.
    """
    machines = differences(before.machine, after.machine)
    if machines and not cross_device:
        raise RunError(
            f"the runs are of different machines ({'; '.join(machines)}), and their times tell of those",
            remedy="compare runs of one machine in one power mode, or say --cross-device",
        )
    first = {entry.name: entry.timing for entry in before.entries if entry.timing}
    second = {entry.name: entry.timing for entry in after.entries if entry.timing}
    ratios = [
        _ratio(name, timing.samples_ms, second[name].samples_ms) for name, timing in first.items() if name in second
    ]
    if not ratios:
        raise RunError(
            f"the runs have no timed entry in common: {', '.join(first) or 'none'}, and {', '.join(second) or 'none'}",
            remedy="compare runs of the same bundles; edgedepth bench makes them",
        )
    reasons = {entry.name: entry.reason or entry.status for entry in after.entries}
    changed = [
        f"{name}: {before.versions.get(name, 'none')} and {after.versions.get(name, 'none')}"
        for name in sorted({*before.versions, *after.versions})
        if before.versions.get(name) != after.versions.get(name)
    ]
    return Comparison(
        ratios=tuple(ratios),
        missing={name: reasons.get(name, "it took no part") for name in first if name not in second},
        new=tuple(name for name in second if name not in first),
        notes=(*machines, *changed),
    )


def parse_limit(text: str) -> float:
    """A share, "5%" or "0.05", as a number.

    Raises:
        OptionError: it is none, or not positive.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
    limit = float(found.group(1)) / (100 if found.group(2) else 1) if found else -1.0
    if not 0 < limit < 10:
        raise OptionError(f"{text!r} is no share; 5% and 0.05 are", remedy="--fail-if-slower 5%")
    return limit


def median_ratio(before: Sequence[float], after: Sequence[float], *, seed: int = 0) -> tuple[float, float, float]:
    """The ratio of the medians, and the ends of its 95 % interval by a moving-block bootstrap.

    Frames that follow each other share what disturbs the machine, so they are drawn in blocks (Künsch 1989) of n^(1/3),
    the length that balances the two errors. Percentiles of 10,000 draws, the same for the same samples.

    Args:
        before: samples of the baseline, in the order in which they were taken.
        after: samples that are held against them.
        seed: of the draws.
    """
    draws = np.random.default_rng(seed)
    medians = [np.median(_blocks(np.asarray(samples, np.float64), draws), axis=1) for samples in (before, after)]
    edge = (1 - _LEVEL) / 2
    low, high = np.quantile(medians[1] / medians[0], (edge, 1 - edge))
    return float(np.median(after) / np.median(before)), float(low), float(high)


def _ratio(name: str, before: Sequence[float], after: Sequence[float]) -> Ratio:
    ratio, low, high = median_ratio(before, after)
    return Ratio(
        name=name,
        before_ms=float(np.median(before)),
        after_ms=float(np.median(after)),
        ratio=ratio,
        low=low,
        high=high,
        frames=min(len(before), len(after)),
    )


def _blocks(samples: Array, draws: np.random.Generator) -> Array:
    """(10,000, n): draws of blocks of neighbours, cut to the number of samples."""
    count = len(samples)
    length = max(1, round(count ** (1 / 3)))
    blocks = -(-count // length)
    starts = draws.integers(0, count - length + 1, (_RESAMPLES, blocks))
    places = (starts[..., None] + np.arange(length)).reshape(_RESAMPLES, -1)[:, :count]
    drawn: Array = samples[places]
    return drawn
