"""Whether INT8 is faster here: bundles of one model, timed in turn on the same frame."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from edgedepth.core.session import Array

__all__ = ["Predictor", "Speed", "Timed", "compare_speed"]

_ROUNDS = ((10.0, 5), (60.0, 2), (float("inf"), 1))  # seconds that a round takes at most, and how many are enough


class Timed(Protocol):
    """What is known of a prediction's time."""

    @property
    def timings_ms(self) -> Mapping[str, float]:
        """By step; "load" is the opening of stages."""
        ...


class Predictor(Protocol):
    """A program that tells how long the opening of its stages took."""

    def predict(self, rgb: Array, /) -> Timed:
        """Predict for an (H, W, 3) float32 RGB frame in 0..1."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Milliseconds of a frame, by precision: the median of interleaved rounds."""

    ms: Mapping[str, float]

    @property
    def ratios(self) -> dict[str, float]:
        """How many times as fast INT8 is as each other precision."""
        return {name: ms / self.ms["int8"] for name, ms in self.ms.items() if name != "int8"}

    @property
    def slower_than(self) -> Sequence[str]:
        """The precisions that INT8 is not faster than, the fastest first."""
        return [name for name, ratio in sorted(self.ratios.items(), key=lambda row: row[1]) if ratio <= 1]

    def to_manifest(self) -> dict[str, float]:
        """What the manifest says: milliseconds, and how many times as fast."""
        return {f"{name}_ms": round(ms, 2) for name, ms in self.ms.items()} | {
            f"times_{name}": round(ratio, 3) for name, ratio in self.ratios.items()
        }


def compare_speed(predictors: Mapping[str, Predictor], rgb: Array, *, rounds: int | None = None) -> Speed:
    """Time predictors on a frame, one after the other in each round: a busy neighbour then hits all of them.

    The opening of stages isn't counted: large ones are opened in turn here, and stay open where memory allows it.

    Args:
        predictors: by precision; "int8" is one of them.
        rgb: (H, W, 3) float32 in 0..1.
        rounds: how many, after one that warms up; None: five, two or one, by how long they take.
    """
    times: dict[str, list[float]] = {name: [] for name in predictors}

    def one_round() -> float:
        begin = time.perf_counter()
        for name, predictor in predictors.items():
            start = time.perf_counter()
            loading = predictor.predict(rgb).timings_ms.get("load", 0.0)
            times[name].append(1e3 * (time.perf_counter() - start) - loading)
        return time.perf_counter() - begin

    warming_up = one_round()
    times = {name: [] for name in predictors}
    enough = next(count for seconds, count in _ROUNDS if warming_up <= seconds)
    for _ in range(rounds or enough):
        one_round()
    return Speed(ms={name: median(taken) for name, taken in times.items()})
