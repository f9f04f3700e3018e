"""What does it cost to label by workers? Frames a second of one and two, and what a frame takes beside the model.

    python benchmarks/labelling.py --bundle BUNDLE --frames 120

One thread a worker. The plain loop is the same Labeller called in one process, without a crew or a journal; the others
are `label` as a user runs it. The rate is the slope of rows over time in the middle eight tenths, since Ray gives them
back in blocks; starting processes and opening models is told apart. What handing a frame out and its row back costs is
measured with work that does nothing, one worker: beside a frame's own time it is too little to be seen.
Writes docs/measurements/labelling.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.plain import to_plain
from edgedepth.crew import CrewOptions, open_crew
from edgedepth.labelling import label
from edgedepth.labelling.frames import FrameRef, list_frames
from edgedepth.labelling.labels import Label
from edgedepth.labelling.worker import Labeller, LabellerSettings

MEASUREMENT = Path(__file__).resolve().parents[1] / "docs" / "measurements" / "labelling.json"
HANDING = {"processes": CrewOptions(workers=2, threads=1), "Ray": CrewOptions(engine="ray", threads=1)}
CREWS = {
    "local, 1 worker": CrewOptions(threads=1),
    "local, 2 workers": CrewOptions(workers=2, threads=1),
    "Ray, 1 worker": CrewOptions(engine="ray", threads=1),
    "Ray, 2 workers": CrewOptions(engine="ray", workers=2, threads=1),
}
LOOP = "plain loop"
HANDED = 800


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", action="append", choices=(LOOP, *CREWS), help="merged with what the file has")
    parser.add_argument("--out", type=Path, default=MEASUREMENT)
    args = parser.parse_args()
    content: dict[str, Any] = json.loads(args.out.read_text()) if args.only and args.out.exists() else {"runs": {}}
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder, "photos")
        photos.mkdir()
        rng = np.random.default_rng(0)
        for number in range(args.frames):
            pixels = cv2.resize(rng.integers(0, 255, (9, 12, 3), np.uint8), (640, 480))
            cv2.imwrite(str(photos / f"{number:05}.jpg"), pixels)
        for turn in range(args.rounds):
            for name in args.only or (LOOP, *CREWS):
                out = Path(folder, f"{turn} {name}")
                run = loop(photos, args.bundle, out) if name == LOOP else crew(photos, args.bundle, out, CREWS[name])
                content["runs"].setdefault(name, []).append(run)
                print(name, run, flush=True)
    if not args.only:
        content["handing_ms"] = {name: round(handing(options), 3) for name, options in HANDING.items()}
        print(content["handing_ms"])
    content |= {
        "command": f"python benchmarks/labelling.py --bundle mini --frames {args.frames}",
        "picture": "640 x 480 JPEG",
        "machine": describe_machine(),
        "versions": versions_of(("edgedepth", "onnxruntime", "ray")),
        "summary": summary(content["runs"]),
    }
    args.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content["summary"], indent=1))
    sys.exit(0)


def loop(photos: Path, bundle: Path, out: Path) -> dict[str, float]:
    """One process, one thread, nothing else."""
    out.mkdir()
    refs = list_frames([str(photos)])
    start = time.perf_counter()
    labeller = Labeller(LabellerSettings(bundle=str(bundle.resolve()), out=str(out)), 1)
    ends, rows = [], []
    for ref in refs:
        rows += labeller.label((ref,))
        ends.append(time.perf_counter())
    labeller.close()
    return figures(start, ends, [vars_of(row) for row in rows])


def crew(photos: Path, bundle: Path, out: Path, options: CrewOptions) -> dict[str, float]:
    """As a user runs it."""
    ends: list[float] = []
    start = time.perf_counter()
    label([str(photos)], bundle=bundle, out=out, crew=options, progress=lambda *_: ends.append(time.perf_counter()))
    lines = (out / "labels.jsonl").read_text().splitlines()[1:]
    return figures(start, ends, [json.loads(line) for line in lines])


class Idler:
    """A worker."""

    def __init__(self, threads: int | None) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to free."""


def nothing(_: Idler, ref: FrameRef) -> Label:
    """A row of a frame."""
    return Label(name=ref.name, **to_plain(ref), status="failed")


def handing(options: CrewOptions) -> float:
    """Milliseconds an item from hand to hand, its worker's and Ray's start left out."""
    version = "123456-1700000000000000000"
    refs = [FrameRef(f"/data/drives/front/{number:08}.jpg", -1, "", version) for number in range(HANDED)]
    with open_crew(Idler, options) as crew:
        ends = [time.perf_counter() for _ in crew.map(nothing, refs)]
    return 1000 * (ends[-1] - ends[0]) / HANDED


def vars_of(row: Any) -> dict[str, float]:
    """Times of a row."""
    return {name: getattr(row, name) for name in ("read_ms", "depth_ms", "write_ms")}


def figures(start: float, ends: list[float], rows: list[dict[str, float]]) -> dict[str, float]:
    """Seconds until the first row and from there to the last, and medians of the rows' own times."""
    tenth = max(1, len(ends) // 10)
    return {
        "frames": len(ends),
        "first_s": round(ends[0] - start, 2),
        "rate_per_s": round(float(np.polyfit(ends[tenth:-tenth], range(len(ends) - 2 * tenth), 1)[0]), 3),
        "whole_s": round(ends[-1] - start, 2),
    } | {name: round(statistics.median(row[name] for row in rows), 2) for name in ("read_ms", "depth_ms", "write_ms")}


def summary(runs: dict[str, list[dict[str, float]]]) -> dict[str, float]:
    """Rates, and what two workers gain over one."""
    rates = {name: statistics.median(run["rate_per_s"] for run in found) for name, found in runs.items()}
    told = {f"{name}: frames/s": round(rate, 3) for name, rate in rates.items()}
    for engine in ("local", "Ray"):
        one, two = (rates.get(f"{engine}, {words}") for words in ("1 worker", "2 workers"))
        if one and two:
            told[f"{engine}: 2 workers over 1"] = round(two / one, 2)
    return told


if __name__ == "__main__":
    main()
