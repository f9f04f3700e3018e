"""One model's soak: frames through a stream, and every so many a line in a journal about the process.

    python benchmarks/soak_run.py JOURNAL.jsonl --model fake --frames 20000

benchmarks/soak.py starts it, a process for each model, so that none sees another's memory. A run that was stopped goes
on where its journal ends.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import psutil

from edgedepth import EdgeDepth
from edgedepth.fake_model import fake_depth

WINDOW = 200
"""Frames between two lines of the journal: a multiple of every --move-every up to 20, so that windows are alike."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A line of the journal: a window of frames, and the process at its end.

    A reading of memory depends on what the frames on their way hold at that moment, so there are the window's lowest
    and highest too, of a reading a frame; 0 in journals that were written before there were any.
    `used_bytes` is what the process holds of the C library's heap: it tells a leak from a heap that has become
    scattered. -1 where the C library doesn't tell. `cpu_s` and `wall_s` are of the window.
    """

    run: str
    frame: int
    rss_bytes: int
    used_bytes: int
    files: int
    threads: int
    cpu_s: float
    wall_s: float
    tiles: int
    decoded: int
    rss_low_bytes: int = 0
    rss_high_bytes: int = 0


def main() -> None:
    """Go on with a model's soak until it has its frames, or the time is up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("journal", type=Path)
    parser.add_argument("--model", required=True, help="fake, torch (the mini itself), or a bundle's folder")
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--move-every", type=int, default=1, metavar="N", help="something moves in every Nth frame")
    args = parser.parse_args()
    done = max((mark.frame for mark in read_journal(args.journal)), default=0)
    if done >= args.frames:
        return
    deadline = time.monotonic() + 60 * args.minutes
    soak(args.journal, open_model(args.model), pictures(done, args.frames, args.move_every, deadline), done)


def open_model(name: str) -> EdgeDepth:
    """On one thread, whatever the machine has."""
    if name == "fake":
        return fake_depth()[0]
    if name == "torch":
        return EdgeDepth("depth-pro-mini", backend="torch", threads=1)
    return EdgeDepth(name, threads=1, self_test="never")


def pictures(start: int, stop: int, move_every: int, deadline: float) -> Iterator[np.ndarray]:
    """Noise, over which a square moves in every so manyth frame; the frames between are equal to the one before."""
    base = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    for number in range(start, stop):
        if time.monotonic() > deadline:
            return
        picture = base.copy()
        left = 7 * (number // move_every) % 140
        picture[40:60, left : left + 20] = 255
        yield picture


def soak(journal: Path, model: EdgeDepth, frames: Iterator[np.ndarray], done: int) -> None:
    """Run them, with a line for every WINDOW."""
    process = psutil.Process()
    run = f"{process.pid} {process.create_time():.0f}"
    tiles = decoded = 0
    readings: list[int] = []
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    with model, model.stream(frames, reuse=0.01) as results, journal.open("a", encoding="utf-8") as file:
        for number, result in enumerate(results, start=done + 1):
            if result.encoded is not None:
                tiles += result.encoded.tiles
                decoded += bool(result.encoded.stages)
            del result
            readings.append(process.memory_info().rss)
            if number % WINDOW:
                continue
            gc.collect()
            mark = Mark(
                run=run,
                frame=number,
                rss_bytes=process.memory_info().rss,
                used_bytes=heap_in_use(),
                files=process.num_fds(),
                threads=process.num_threads(),
                cpu_s=time.process_time() - cpu_s,
                wall_s=time.perf_counter() - wall_s,
                tiles=tiles,
                decoded=decoded,
                rss_low_bytes=min(readings),
                rss_high_bytes=max(readings),
            )
            file.write(json.dumps(asdict(mark)) + "\n")
            file.flush()
            tiles = decoded = 0
            readings.clear()
            cpu_s, wall_s = time.process_time(), time.perf_counter()


def read_journal(path: Path) -> list[Mark]:
    """Its lines; one that was being written when the run was stopped is left out."""
    marks = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            marks.append(Mark(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return marks


class _MallInfo(ctypes.Structure):
    """struct mallinfo2 of glibc's malloc.h."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    ]


def heap_in_use() -> int:
    """Bytes that are allocated and not freed, of all arenas and mappings; -1 where the C library isn't glibc."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError):
        return -1
    mallinfo2.restype = _MallInfo
    info = mallinfo2()
    return int(info.uordblks + info.hblkhd)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
