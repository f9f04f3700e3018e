"""How long something takes, how much memory a process took, and the rate that this machine could reach.

Measuring and summing up; what is measured, and beside what, is the caller's. Timings of different processes or minutes
are comparable only where they were interleaved: neighbours on the machine, clocks and temperature change.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgedepth.core.optional import require

__all__ = ["Latency", "MatmulShape", "interleaved", "matmul_rate", "peak_rss_bytes", "timed"]

MatmulShape = tuple[int, int, int]
"""Rows, inner and outer size of a product (rows, inner) x (inner, outer)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Seconds of runs of the same thing, in the order they were taken.

    Args:
        samples_s: one a run, without the warm-up.
    """

    samples_s: tuple[float, ...]

    @property
    def median_s(self) -> float:
        """The middle of the samples."""
        return statistics.median(self.samples_s)

    @property
    def spread(self) -> float:
        """Half the range of the middle 80 % of the samples, over the median: 0.05 is +- 5 %."""
        low, high = np.quantile(self.samples_s, (0.1, 0.9))
        return float(high - low) / 2 / self.median_s


def timed(run: Callable[[], object], *, warmups: int = 1, runs: int = 3) -> Latency:
    """Time a thing over and over.

    Args:
        run: does it once; what it returns is dropped.
        warmups: runs that are not timed: the first ones plan and allocate.
        runs: timed ones.
    """
    for _ in range(warmups):
        run()
    return Latency(samples_s=tuple(_seconds(run) for _ in range(runs)))


def interleaved(runs: Mapping[str, Callable[[], object]], *, warmups: int = 1, rounds: int = 3) -> dict[str, Latency]:
    """Time several things in turn, round after round, so that what disturbs one disturbs all.

    Args:
        runs: by name, each does its thing once.
        warmups: rounds that are not timed.
        rounds: timed ones.
    """
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(warmups + rounds):
        for name, run in runs.items():
            seconds = _seconds(run)
            if number >= warmups:
                taken[name].append(seconds)
    return {name: Latency(samples_s=tuple(samples)) for name, samples in taken.items()}


def peak_rss_bytes() -> int:
    """The most memory that this process has held since it was started; its files that are mapped count.

    Raises:
        MissingExtraError: on Windows, without psutil.
    """
    # Linux's getrusage begins with what the process that started this one held; its own peak is told here.
    with contextlib.suppress(OSError, IndexError, ValueError):
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        psutil = require("psutil", extra="dev", purpose="to measure memory")
        return int(psutil.Process().memory_info().peak_wset)
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def matmul_rate(dtype: Literal["fp32", "bf16", "int8"], shapes: Sequence[MatmulShape], *, runs: int = 10) -> float:
    """The best rate of torch's matrix products at some shapes, in operations a second: a ceiling for a network of them.

    Args:
        dtype: of both factors; int8 products are summed in int32.
        shapes: as they occur in the network.
        runs: of each shape; the fastest counts.

    Raises:
        MissingExtraError: torch isn't installed.
    """
    torch: Any = require("torch", extra="export", purpose="to measure the rate of matrix products")
    best = 0.0
    for rows, inner, outer in shapes:
        if dtype == "int8":
            left = torch.randint(-127, 127, (rows, inner), dtype=torch.int8)
            product = partial(torch._int_mm, left, torch.randint(-127, 127, (inner, outer), dtype=torch.int8))
        else:
            kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
            left = torch.randn(rows, inner, dtype=kind)
            product = partial(torch.nn.functional.linear, left, torch.randn(outer, inner, dtype=kind))
        with torch.inference_mode():
            fastest = min(timed(product, warmups=2, runs=runs).samples_s)
        best = max(best, 2 * rows * inner * outer / fastest)
    return best


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
