"""Does it keep running? Thousands of frames through each backend, and faults on purpose. Writes measurements/soak.md.

    python benchmarks/soak.py --bundle onnx=PATH --bundle openvino=PATH --frames 20000 --minutes 2

Each model runs its frames, or as many as fit into the minutes; the table says how many. Memory and handles are read
after a tenth of them (warm-up) and at the end, latency as the median of the first and the last fifth after that.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

from edgedepth import EdgeDepth
from edgedepth.core.errors import BackendTimeoutError, EdgeDepthError
from edgedepth.fake_model import fake_depth
from edgedepth.programs.faulty_session import Fault

PAGE = Path(__file__).resolve().parents[1] / "docs" / "measurements" / "soak.md"


def main() -> None:
    """Soak, plant faults, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--frames", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=2.0, help="the longest for each")
    parser.add_argument("--out", type=Path, default=PAGE)
    args = parser.parse_args()
    rows = [soak("fake (no network)", fake_depth()[0], args.frames, args.minutes)]
    for word in args.bundle:
        name, _, path = word.partition("=")
        rows.append(soak(name, EdgeDepth(path, self_test="never"), args.frames, args.minutes))
    faults = [f"| {name} | {outcome()} |" for name, outcome in FAULTS.items()]
    args.out.write_text(page(rows, faults), encoding="utf-8")
    print(args.out.read_text())


def soak(name: str, model: EdgeDepth, count: int, minutes: float) -> str:
    """A row of the table."""
    process = psutil.Process()
    deadline = time.monotonic() + 60 * minutes
    seconds: list[float] = []
    marks: list[tuple[int, int, int, int]] = []  # frames, RSS, files, threads
    last = time.perf_counter()
    with model, model.stream(pictures(count, deadline), reuse=0.01) as results:
        for number, _ in enumerate(results):
            now = time.perf_counter()
            seconds.append(now - last)
            last = now
            if number % 20 == 0:
                gc.collect()
                marks.append((number, process.memory_info().rss, process.num_fds(), process.num_threads()))
    warm = marks[max(1, len(marks) // 10) :]
    # Medians of the ends: one reading has a frame more or less in it.
    part = max(1, len(warm) // 5)
    first, final = ([statistics.median(mark[column] for mark in end) for column in (1, 2, 3)]
                    for end in (warm[:part], warm[-part:]))  # fmt: skip
    slice_ = seconds[len(seconds) // 10 :]
    fifth = max(1, len(slice_) // 5)
    before, after = statistics.median(slice_[:fifth]), statistics.median(slice_[-fifth:])
    return (
        f"| {name} | {len(seconds)} of {count} | {first[0] / 2**20:.0f} | {final[0] / first[0] - 1:+.2%} | "
        f"{final[1] - first[1]:+.0f} | {final[2] - first[2]:+.0f} | {1e3 * before:.1f} | {after / before - 1:+.1%} |"
    )


def pictures(count: int, deadline: float) -> Iterator[np.ndarray]:
    """Noise over one picture, a part of which moves."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 255, (120, 160, 3), np.uint8)
    for number in range(count):
        if time.monotonic() > deadline:
            return
        picture = base.copy()
        left = number % 100
        picture[40:60, left : left + 20] = 255
        yield picture


def fails_once() -> str:
    """A backend that raises mid-stream."""
    model, _ = fake_depth(Fault("decoder", 50, "fail"))
    with model, model.stream(pictures(100, float("inf"))) as results:
        count = len(list(results))
    return f"{count} of 100 results, opened anew {results.stats.restarts} time"


def fails_again() -> str:
    """A backend that goes on raising."""
    model, _ = fake_depth(*(Fault("decoder", run, "crash") for run in range(50, 99)))
    with model, model.stream(pictures(100, float("inf"))) as results:
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
        for picture in pictures(5, float("inf")):
            model.infer(picture)
        start = time.monotonic()
        try:
            model.infer(next(pictures(1, float("inf"))))
        except BackendTimeoutError as error:
            told = f"after {time.monotonic() - start:.1f} s: {error.problem}"
            model.reopen()
            model.infer(next(pictures(1, float("inf"))))
            stages.release()
            return f"{told}; reopen() and on"
    return "NOT TOLD"


def gives_nan() -> str:
    """A model that gives NaN."""
    model, _ = fake_depth(Fault("decoder", 5, "nan"))
    with model, model.stream(pictures(10, float("inf"))) as results:
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


def page(rows: list[str], faults: list[str]) -> str:
    """docs/reliability.md."""
    return f"""# Does it keep running?

Written by `python benchmarks/soak.py`: {platform.machine()}, {os.cpu_count()} cores, shared with other work, so that
latencies drift with the neighbours' load. A stream with `reuse=0.01` over a picture in which something moves. Memory,
handles and threads: from the end of the warm-up (a tenth) to the end.

| model | frames | RSS MiB | growth | handles | threads | ms | drift |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Where fewer frames ran than were asked for, the time was up: that row is no proof over 20,000 frames.

## Faults on purpose

`FaultyStages` (edgedepth/programs/faulty_session.py) plants them in fake
sessions; streams can't tell them from real ones.

| fault | what came of it |
|---|---|
{chr(10).join(faults)}

Cameras that are lost and come back, drop frames, change their size or never open, videos with a broken tail, a callback
that raises, Ctrl-C and a fork are in tests/unit/streams.
"""


if __name__ == "__main__":
    main()
