"""Whether INT8 is faster here: bundles of one model, timed in turn on the same frame."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from edgedepth.core.session import Array
from edgedepth.verify.parity import Predictor

__all__ = ["Speed", "compare_speed"]

ROUNDS = 5
SLOW_ROUNDS = 2  # where a round takes a minute and more
_SLOW_S = 10.0


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

    Args:
        predictors: by precision; "int8" is one of them.
        rgb: (H, W, 3) float32 in 0..1.
        rounds: how many, after one that warms up; None: five, or two if they take long.
    """
    times: dict[str, list[float]] = {name: [] for name in predictors}

    def one_round() -> float:
        begin = time.perf_counter()
        for name, predictor in predictors.items():
            start = time.perf_counter()
            predictor.predict(rgb)
            times[name].append(1e3 * (time.perf_counter() - start))
        return time.perf_counter() - begin

    warming_up = one_round()
    times = {name: [] for name in predictors}
    for _ in range(rounds or (SLOW_ROUNDS if warming_up > _SLOW_S else ROUNDS)):
        one_round()
    return Speed(ms={name: median(taken) for name, taken in times.items()})
