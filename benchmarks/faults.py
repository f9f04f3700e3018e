"""Faults on purpose, and what comes of them: rows for docs/reliability.md, which benchmarks/soak.py writes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import numpy as np

from edgedepth.core.errors import BackendTimeoutError, EdgeDepthError
from edgedepth.fake_model import fake_depth
from edgedepth.programs.faulty_session import Fault


def frames(count: int) -> Iterator[np.ndarray]:
    """Noise, another one each."""
    rng = np.random.default_rng(0)
    return (rng.integers(0, 255, (120, 160, 3), np.uint8) for _ in range(count))


def fails_once() -> str:
    """A backend that raises mid-stream."""
    model, _ = fake_depth(Fault("decoder", 50, "fail"))
    with model, model.stream(frames(100)) as results:
        count = len(list(results))
    return f"{count} of 100 results, opened anew {results.stats.restarts} time"


def fails_again() -> str:
    """A backend that goes on raising."""
    model, _ = fake_depth(*(Fault("decoder", run, "crash") for run in range(50, 99)))
    with model, model.stream(frames(100)) as results:
        count = 0
        try:
            for _ in results:
                count += 1
        except RuntimeError as error:
            return f"{count} results, opened anew {results.stats.restarts} time, then the error: {error}"
    return "NOT TOLD"


def hangs() -> str:
    """A backend that never comes back."""
    model, stages = fake_depth(Fault("decoder", 5, "hang"), timeout_s=0.5)
    with model:
        *before, last, after = islice(frames(7), 7)
        for picture in before:
            model.infer(picture)
        start = time.monotonic()
        try:
            model.infer(last)
        except BackendTimeoutError as error:
            told = f"after {time.monotonic() - start:.1f} s: {error.problem}"
            model.reopen()
            model.infer(after)
            stages.release()
            return f"{told}; reopen() and on"
    return "NOT TOLD"


def gives_nan() -> str:
    """A model that gives NaN."""
    model, _ = fake_depth(Fault("decoder", 5, "nan"))
    with model, model.stream(frames(10)) as results:
        try:
            for _ in results:
                pass
        except EdgeDepthError as error:
            return f"{results.stats.results} results, then the error: {error.problem}"
    return "NOT TOLD"


FAULTS = {
    "a backend that raises mid-stream, once": fails_once,
    "a backend that goes on raising": fails_again,
    "a backend that hangs, timeout_s=0.5": hangs,
    "a model that gives NaN": gives_nan,
}
