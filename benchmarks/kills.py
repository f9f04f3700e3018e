"""export and label, killed at random moments: does anything open that is wrong? Writes docs/measurements/kills.json.

    python benchmarks/kills.py --exports 200 --traced 10 --labels 50

Stopped, the same command goes on from what the file holds.

Each victim is a fork of this process, which has imported everything; it gets SIGKILL a random time after a random step
that it tells on stderr, so that the kills are spread over all steps and not over the longest. 97 % of an export's time
is torch's tracer, which writes no file: --traced of the exports run it, the others are given graphs that it made.

After each kill of an export the bundle is opened, which compares every file's hash with the manifest: it has to be the
one that stood there before or the new one, whole, or none where none was. After each kill of a label every row's file
has to be there and to decode, and the index, if there is one, to hold what the rows say.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime  # noqa: F401 (imported before the forks: victims shall be killed at work, not at imports)
import torch

import edgedepth.exporters.to_onnx
import edgedepth.models.loading  # noqa: F401
from edgedepth.cli import main as edgedepth_main
from edgedepth.core.bundle import open_bundle
from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.errors import BundleNotFoundError
from edgedepth.labelling.labels import INDEX, JOURNAL, SUMMARY

MEASUREMENT = Path(__file__).resolve().parents[1] / "docs" / "measurements" / "kills.json"
MODEL = "depth-pro-mini"
PHOTOS = 24
WHAT = (
    f"SIGKILL at random moments of every step, with {MODEL}; what is left is opened and compared. "
    "The first ten exports trace their graphs, the others are given them, so that files are written most of the time"
)
COMMAND = "python benchmarks/kills.py --exports 200 --traced 10 --labels 50"


@dataclass
class Outcome:
    """What came of the kills of one command, counted."""

    killed: str
    kills: int = 0
    wrong: list[str] = field(default_factory=list)
    moments: dict[str, int] = field(default_factory=dict)
    left: dict[str, int] = field(default_factory=dict)

    def count(self, moment: str, left: str, wrong: list[str]) -> None:
        """One more."""
        self.kills += 1
        self.moments[moment] = self.moments.get(moment, 0) + 1
        self.left[left] = self.left.get(left, 0) + 1
        self.wrong += [f"kill {self.kills} after {moment}: {what}" for what in wrong]

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"moments": dict(sorted(self.moments.items())), "left": dict(sorted(self.left.items()))}


class Pace:
    """How long to wait for a moment of a step: a machine that got faster since its steps were timed gets less."""

    def __init__(self, rng: random.Random) -> None:
        self._rng, self._factor = rng, 1.0

    def draw(self, seconds: float) -> float:
        """A random moment of a step of this length."""
        return self._rng.uniform(0, seconds * self._factor)

    def learn(self, hit: bool) -> None:
        """Whether the kill came before the end."""
        self._factor = min(1.0, self._factor * 1.05) if hit else 0.7 * self._factor


def main() -> int:
    """Kill, look, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exports", type=int, default=200)
    parser.add_argument("--traced", type=int, default=10, help="of the exports: with torch's tracer")
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=MEASUREMENT)
    args = parser.parse_args()
    torch.set_num_threads(1)  # threads of a pool would not be there in a fork
    measured = Measured(args.out)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EDGEDEPTH_HOME"] = f"{folder}/home"
        rng = random.Random(args.seed + measured.exports.kills + measured.labels.kills)
        kill_exports(Path(folder), args.exports, args.traced, rng, measured)
        kill_labels(Path(folder), args.labels, rng, measured)
    measured.save()
    print(args.out.read_text())
    return 1 if measured.exports.wrong or measured.labels.wrong else 0


class Measured:
    """The file of outcomes: what it holds is gone on from, and it is written after each kill."""

    def __init__(self, path: Path) -> None:
        self._path = path
        rows = json.loads(path.read_text())["rows"] if path.exists() else []
        found = {row["killed"]: Outcome(**row) for row in rows}
        self.exports, self.labels = (
            found.get(name) or Outcome(killed=name) for name in ("edgedepth export", "edgedepth label")
        )

    def save(self) -> None:
        """Write the file."""
        content = {
            "what": WHAT,
            "command": COMMAND,
            "machine": describe_machine(),
            "versions": versions_of(("edgedepth", "torch", "onnx", "onnxruntime", "pyarrow")),
            "rows": [outcome.to_plain() for outcome in (self.exports, self.labels) if outcome.kills],
        }
        self._path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


# --- victims


def killed_after(words: Sequence[str], steps: int, delay_s: float, before: Callable[[], None] = lambda: None) -> str:
    """Fork a command and kill it so long after so many steps; the last step that it told, or "" if it was done."""
    read, write = os.pipe()
    victim = os.fork()
    if not victim:
        os.dup2(write, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        before()
        os._exit(edgedepth_main(list(words)))
    os.close(write)
    told, last = 0, "before its first step"
    with os.fdopen(read, encoding="utf-8", errors="replace") as lines:
        while told < steps and (line := lines.readline()):
            if line.startswith("["):
                told, last = told + 1, line.strip()
        time.sleep(delay_s)
        os.kill(victim, signal.SIGKILL)
        _, status = os.waitpid(victim, 0)
        for line in lines:  # told in the meantime
            last = line.strip() if line.startswith("[") else last
    return last if os.WIFSIGNALED(status) else ""


def run_whole(words: Sequence[str], before: Callable[[], None] = lambda: None) -> list[tuple[str, float]]:
    """Fork a command, let it finish; its steps and how long each took, the first one what it took to begin."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        before()
        os._exit(edgedepth_main(list(words)))
    os.close(write)
    marks, begun = [("before its first step", time.monotonic())], time.monotonic()
    with os.fdopen(read, encoding="utf-8", errors="replace") as lines:
        text = []
        for line in lines:
            text.append(line)
            if line.startswith("["):
                marks.append((line.strip(), time.monotonic()))
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError("".join(text))
    ends = [at for _, at in marks[1:]] + [time.monotonic()]
    assert begun <= ends[0]
    return [(name, end - at) for (name, at), end in zip(marks, ends, strict=True)]


# --- export


def kill_exports(folder: Path, count: int, traced: int, rng: random.Random, measured: Measured) -> None:
    """Kill exports over an old bundle, over none, and over what the kills before left."""
    outcome, pace = measured.exports, Pace(rng)
    if outcome.kills >= count:
        return
    out, old_bundle = folder / "bundle", folder / "old"
    words = ["export", "--model", MODEL, "--target", "onnx", "--out"]
    forget = GraphMemory().forget
    run_here([*words, str(old_bundle), "--weights", "random:0"])  # other weights: no file of it fits the new one
    run_here([*words, str(folder / "new")])
    lengths = {False: run_whole([*words, str(out)])}
    lengths[True] = run_whole([*words, str(out)], forget) if traced else []
    known = {facts(folder / name): name for name in ("old", "new")}
    while outcome.kills < count:
        trace = outcome.kills < traced
        before = rng.choice(("old", "none", "as left"))
        if before != "as left":
            shutil.rmtree(out, ignore_errors=True)
        if before == "old":
            shutil.copytree(old_bundle, out)
        stood = known[facts(out)] if out.exists() else "none"
        step = rng.randrange(len(lengths[trace]))
        delay_s = pace.draw(lengths[trace][step][1])
        last = killed_after([*words, str(out)], step, delay_s, forget if trace else lambda: None)
        pace.learn(bool(last))
        if not last:
            continue
        try:
            left = known.get(facts(out), "WRONG")
        except BundleNotFoundError:
            left = "none"  # what waits beside it is put back by the next export
        except Exception as error:
            left = f"WRONG: {error}"
        bad = left.startswith("WRONG") or left not in (stood, "new", "none")
        wrong = [f"{stood} before, {left} after"] if bad else []
        outcome.count(last, f"{stood} before, {left.partition(':')[0]} after", wrong)
        measured.save()
        print(f"export {outcome.kills}/{count}: {last}, {stood} -> {left}", flush=True)
    run_whole([*words, str(out)])
    if known.get(facts(out)) != "new":
        outcome.wrong.append("the export after the last kill")
    rest = [path.name for path in folder.iterdir() if path.name.startswith(".bundle.") and path.is_dir()]
    if rest:
        outcome.wrong.append(f"left behind: {rest}")


def facts(bundle: Path) -> str:
    """What a bundle is, its files compared with the manifest by open_bundle; not when it was made."""
    manifest = open_bundle(bundle).manifest
    return repr((manifest.model, manifest.artefacts))


class GraphMemory:
    """Torch's tracer, which each stage and weights asks once."""

    def __init__(self) -> None:
        self._trace = torch.onnx.export
        self._graphs: dict[float, Any] = {}
        torch.onnx.export = self

    def __call__(self, module: torch.nn.Module, *args: Any, **options: Any) -> Any:
        """As of torch.onnx.export."""
        key = sum(float(weight.double().sum()) for weight in module.state_dict().values())
        if key not in self._graphs:
            self._graphs[key] = self._trace(module, *args, **options)
        return self._graphs[key]

    def forget(self) -> None:
        """Trace again, in the process that forgets."""
        self._graphs.clear()


def run_here(words: Sequence[str]) -> None:
    """A command in this process, silently."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123
        stdout, stderr, sys.stdout, sys.stderr = sys.stdout, sys.stderr, nowhere, nowhere
        try:
            code = edgedepth_main(list(words))
        finally:
            sys.stdout, sys.stderr = stdout, stderr
    if code:
        raise RuntimeError(f"{words} ended with {code}")


# --- label


def kill_labels(folder: Path, count: int, rng: random.Random, measured: Measured) -> None:
    """Kill label runs that go on from each other; a finished set is begun anew."""
    outcome, pace = measured.labels, Pace(rng)
    if outcome.kills >= count:
        return
    photos, out, bundle = folder / "photos", folder / "labels", folder / "new"
    photos.mkdir()
    for seed in range(PHOTOS):
        cv2.imwrite(str(photos / f"{seed}.png"), picture(seed))
    if not bundle.exists():
        run_here(["export", "--model", MODEL, "--target", "onnx", "--out", str(bundle)])
    words = ["label", str(photos), "--bundle", str(bundle), "--out"]
    steps = run_whole([*words, str(folder / "whole")])
    expected = rows_of(folder / "whole")
    while outcome.kills < count:
        if (out / SUMMARY).exists() or len(rows_of(out)) == PHOTOS:
            shutil.rmtree(out)
        step = rng.randrange(5)  # so that a set takes several kills
        delay_s = pace.draw(steps[min(step, 1)][1])
        last = killed_after([*words, str(out)], step, delay_s)
        pace.learn(bool(last))
        if not last:
            continue
        wrong = wrong_labels(out, expected)
        outcome.count(
            "labelling" if last.startswith("[") else "opening the model", "WRONG" if wrong else "right", wrong
        )
        measured.save()
        print(f"label {outcome.kills}/{count}: {last}, {len(rows_of(out))} rows, {wrong or 'right'}", flush=True)
    run_whole([*words, str(out)])
    if rows_of(out) != expected:
        outcome.wrong.append("the labels after the last kill")


def picture(seed: int) -> np.ndarray:
    """A small picture of its own."""
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 255, (4, 6, 3), np.uint8), (96, 64))


def rows_of(out: Path) -> dict[str, tuple[str, str]]:
    """Status and content by name, of the whole lines of a journal."""
    if not (out / JOURNAL).exists():
        return {}
    lines = [line for line in (out / JOURNAL).read_bytes().splitlines(keepends=True)[1:] if line.endswith(b"\n")]
    rows = [json.loads(line) for line in lines]
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names), "a frame has two rows"
    return {row["name"]: (row["status"], row["sha256"]) for row in rows}


def wrong_labels(out: Path, expected: dict[str, tuple[str, str]]) -> list[str]:
    """What is wrong with the labels so far."""
    rows = rows_of(out)
    wrong = [f"{name} is {row}" for name, row in rows.items() if row != expected[name]]
    for name, (_, sha256) in rows.items():
        depth = cv2.imread(str(out / "depth" / sha256[:2] / f"{sha256}.png"), cv2.IMREAD_UNCHANGED)
        if depth is None or depth.shape != (64, 96) or depth.dtype != np.uint16:
            wrong.append(f"{name} has no depth")
    for path in (out / "depth").rglob("*.png"):
        if cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is None:
            wrong.append(f"{path.name} is no picture")
    if (out / INDEX).exists():
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(out / INDEX)
        if dict(zip(table["name"].to_pylist(), table["sha256"].to_pylist(), strict=True)) != {
            name: sha256 for name, (_, sha256) in rows.items()
        }:
            wrong.append("the index differs from the rows")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
