"""Does it keep running? Thousands of frames through each backend, and faults on purpose. Writes measurements/soak.md.

    python benchmarks/soak.py --bundle onnx=PATH --bundle openvino=PATH --frames 20000 --move-every 20

Besides the bundles, the shipped fake model and the torch backend run. Each model has a process of its own, one thread,
and a journal under --journal: stopped, the same command goes on. --frames 0 only writes the page again.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from faults import FAULTS
from soak_run import WINDOW, Mark, read_journal

PAGE = Path(__file__).resolve().parents[1] / "docs" / "measurements" / "soak.md"
WARM_UP = 1000
"""Frames, at least: heaps of several threads grow to what their busiest moment asks for, in the first hundreds."""
JUDGED = 10
"""Windows after the warm-up, at least: fewer tell nothing about growth."""

Middle = Callable[[Iterable[float]], float]


def main() -> None:
    """Soak, plant faults, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--without", action="append", default=[], choices=("fake", "torch"), help="leave it out")
    parser.add_argument(
        "--one-heap", action="append", default=[], metavar="NAME=PATH", help="a bundle, run with MALLOC_ARENA_MAX=1"
    )
    parser.add_argument("--frames", type=int, default=20_000, help="of each (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=1e9, help="the longest for each, in this run")
    parser.add_argument("--move-every", type=int, default=1, metavar="N", help="something moves in every Nth frame")
    parser.add_argument("--together", action="store_true", help="all at once, in place of one after the other")
    parser.add_argument("--journal", type=Path, default=Path("soak"), help="a folder (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=PAGE)
    args = parser.parse_args()
    models = {name: name for name in ("fake", "torch") if name not in args.without}
    models |= dict(word.split("=", 1) for word in args.bundle)
    one_heap = {f"{name}, one heap": path for name, path in (word.split("=", 1) for word in args.one_heap)}
    models |= one_heap
    args.journal.mkdir(parents=True, exist_ok=True)
    files = {name: name.replace(", one heap", ".one-heap") for name in models}
    journals = {name: args.journal / f"{file}.every{args.move_every}.jsonl" for name, file in files.items()}
    waiting: list[subprocess.Popen[bytes]] = []
    for name, model in models.items():
        words = [journals[name], "--model", model, "--frames", args.frames, "--minutes", args.minutes]
        words += ["--move-every", args.move_every]
        script = Path(__file__).with_name("soak_run.py")
        env = {**os.environ, "MALLOC_ARENA_MAX": "1"} if name in one_heap else None
        waiting.append(subprocess.Popen([sys.executable, str(script), *map(str, words)], env=env))
        if not args.together:
            waiting[-1].wait()
    failed = [name for name, process in zip(models, waiting, strict=True) if process.wait()]
    rows = [row(name, read_journal(path)) for name, path in journals.items()]
    faults = [f"| {name} | {outcome()} |" for name, outcome in FAULTS.items()]
    args.out.write_text(page(rows, faults, args.move_every), encoding="utf-8")
    print(args.out.read_text())
    sys.exit(f"stopped by an error: {', '.join(failed)}" if failed else 0)


def row(name: str, marks: list[Mark]) -> str:
    """A row of the table: counts of all runs, the rest of the longest one after its warm-up."""
    frames = max((mark.frame for mark in marks), default=0)
    runs = Counter(mark.run for mark in marks)
    tiles, decoded = sum(mark.tiles for mark in marks), sum(mark.decoded for mark in marks)
    counts = [name, f"{frames}, {len(runs)} runs" if len(runs) > 1 else str(frames), str(decoded), str(tiles)]
    longest = [mark for mark in marks if mark.run == runs.most_common(1)[0][0]]
    warm = longest[max(WARM_UP // WINDOW, len(longest) // 10) :]
    judged = judge(warm) if len(warm) >= JUDGED else ["too few to tell", *["-"] * 6]
    return f"| {' | '.join(counts + judged)} |"


def judge(warm: list[Mark]) -> list[str]:
    """RSS, its growth, that of its lowest and highest, the heap's, handles, threads, CPU time a frame and its drift.

    From the median of the first fifth to that of the last: one reading has a frame more or less in it. Of the heap,
    from highest reading to highest: then a frame is in every step.
    """
    fifth = len(warm) // 5

    def ends(value: Callable[[Mark], float], middle: Middle = statistics.median) -> tuple[float, float]:
        return middle(map(value, warm[:fifth])), middle(map(value, warm[-fifth:]))

    rss, used = ends(lambda mark: mark.rss_bytes / 2**20), ends(lambda mark: mark.used_bytes / 2**20, max)
    lows, highs = ends(lambda mark: mark.rss_low_bytes), ends(lambda mark: mark.rss_high_bytes)
    files, threads = ends(lambda mark: mark.files), ends(lambda mark: mark.threads)
    cpu_ms, wall_ms = (
        ends(lambda mark: 1e3 * mark.cpu_s / WINDOW),
        ends(lambda mark: 1e3 * mark.wall_s / WINDOW),
    )
    return [
        f"{rss[0]:.0f}",
        f"{rss[1] / rss[0] - 1:+.2%}",
        f"{lows[1] / lows[0] - 1:+.2%}, {highs[1] / highs[0] - 1:+.2%}" if lows[0] and highs[0] else "-",
        f"{used[1] - used[0]:+.2f}" if used[0] > 0 else "-",
        f"{files[1] - files[0]:+.0f}, {threads[1] - threads[0]:+.0f}",
        f"{cpu_ms[0]:.1f}, {cpu_ms[1] / cpu_ms[0] - 1:+.1%}",
        f"{wall_ms[0]:.0f}, {wall_ms[1] / wall_ms[0] - 1:+.0%}",
    ]


def page(rows: list[str], faults: list[str], move_every: int) -> str:
    """docs/reliability.md."""
    moves = (
        "every frame" if move_every == 1 else f"every {move_every}th frame, and the others are equal to the one before"
    )
    return f"""# Does it keep running?

Written by `python benchmarks/soak.py` on {platform.machine()}, {os.cpu_count()} cores, shared with other work: what a
frame takes by the clock swings with the neighbours' load, so that drift is judged by its CPU time. A stream with
`reuse=0.01`, each model on one thread in a process of its own. A square moves in {moves}. "decoded" counts the frames
that the network ran for, "tiles" what was encoded of them.

| model | frames | decoded | tiles | RSS MiB | growth | lowest, highest | heap MiB | files, threads | CPU ms | wall ms |
|---|---|---|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Growth is from the end of the warm-up to the end, of the longest run where there were several: medians of the first and
the last fifth, of a reading every 200 frames. "lowest, highest" is the growth of the lowest and the highest of the 200
readings between, one a frame. The warm-up is a tenth of the frames, and at least {WARM_UP}: in the first hundreds the
heaps of the stream's threads grow to what their busiest moment asks for, and the C library keeps that. "heap" is the
growth of what is allocated and not given back (glibc's mallinfo2), from highest reading to highest, when a frame is in
every step; a leak would show in it. "files" are open handles. A thread that fuses tiles lives as long as a frame's do:
one more or less is no trend. "one heap" is MALLOC_ARENA_MAX=1 ([streams.md](how-to/streams.md)). A row of fewer than
20000 frames is no proof over 20000.

## Faults on purpose

`FaultyStages` (edgedepth/programs/faulty_session.py) plants them in fake
sessions; streams can't tell them from real ones.

| fault | what came of it |
|---|---|
{chr(10).join(faults)}

Cameras that are lost and come back, drop frames, change their size or never open, videos with a broken tail, a callback
that raises, Ctrl-C and a fork are in tests/unit/streams, real RTSP servers and GStreamer pipelines in its
test_live_sources.py; Ctrl-C and SIGTERM sent to `edgedepth infer` in tests/cli/test_stopping.py; a live ROS 2 in
tests/unit/ros/test_live.py.
"""


if __name__ == "__main__":
    main()
