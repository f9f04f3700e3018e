"""Fuzz one parser for as long as one likes.

    python -m tests.untrusted.fuzz manifest --seconds 600
    python -m tests.untrusted.fuzz manifest --seconds 600 --engine atheris

The engine `random` damages whole files, and damages further what was refused in a new way; `atheris` is libFuzzer,
guided by the coverage of edgedepth's code. Seconds are the processor's. An error that is not edgedepth's own ends the
run with exit code 1 or 77, and the input that did it lies in crash-*. The last line of stdout is JSON.
tests/untrusted/fuzz_all.py runs every parser.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

__all__ = ["main"]


def main() -> int:
    """Fuzz, and tell how many inputs were tried."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--engine", choices=("random", "atheris"), default="random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path, help="atheris: a folder to keep inputs in that reach new code")
    args = parser.parse_args()
    if args.engine == "atheris":
        atheris = importlib.import_module("atheris")
        with atheris.instrument_imports(include=["edgedepth"]):
            parse = Parser(args.target)
        return _guided(atheris, parse, args.seconds, args.seed, args.corpus)
    return _random(Parser(args.target), args.seconds, args.seed)


class Parser:
    """One of damage.TARGETS; imported late, since atheris instruments imports.

    Calling it gives the kind of refusal, without names and numbers; nothing where the input was taken.
    """

    def __init__(self, name: str) -> None:
        from edgedepth.core.errors import EdgeDepthError

        from .damage import TARGETS
        from .openers import OPENERS

        self.name, self.target = name, TARGETS[name]
        self._open, self._error = OPENERS[self.target.kind], EdgeDepthError

    def __call__(self, content: bytes) -> str:
        with tempfile.TemporaryDirectory() as folder:
            path = self.target.place(Path(folder), content)
            try:
                self._open(path)
            except self._error as error:
                words = error.problem.replace(folder, "")
                return type(error).__name__ + "".join(c for c in words if c.isalpha() or c == " ")[:80]
        return ""


class Tally:
    """What a run has seen so far, and whether its time is up."""

    def __init__(self, seconds: float) -> None:
        self.inputs, self.refused = 0, 0
        self.kinds: set[str] = set()
        self._seconds = seconds
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def count(self, kind: str) -> bool:
        """Count one more input, and tell whether it was refused in a new way."""
        self.inputs += 1
        self.refused += bool(kind)
        new = kind not in self.kinds
        self.kinds.add(kind)
        return new

    def is_over(self) -> bool:
        """Whether that much of the processor's time was spent."""
        return time.process_time() - self._cpu >= self._seconds

    def row(self, parser: str, engine: str, broken: str = "") -> str:
        """One line of JSON."""
        row = {
            "parser": parser,
            "engine": engine,
            "cpu_s": round(time.process_time() - self._cpu, 1),
            "wall_s": round(time.monotonic() - self._wall, 1),
            "inputs": self.inputs,
            "refused": self.refused,
            "ways": len(self.kinds - {""}),
            "uncaught": broken,
        }
        return json.dumps(row)


def _random(parse: Parser, seconds: int, seed: int) -> int:
    rng = random.Random(seed)
    pool, tally = list(parse.target.whole), Tally(seconds)
    while not tally.is_over():
        content = _mutated(rng, rng.choice(pool))
        try:
            kind = parse(content)
        except Exception as error:  # whatever it is: it is what is looked for
            Path(f"crash-{parse.name}").write_bytes(content)
            traceback.print_exc()
            print(tally.row(parse.name, "random", broken=repr(error)))
            return 1
        if tally.count(kind):  # another way to be refused: a new place in the parser, worth damaging further
            pool.append(content)
    print(tally.row(parse.name, "random"))
    return 0


def _mutated(rng: random.Random, whole: bytes) -> bytes:
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(whole) + 1)
        random_bytes = rng.randbytes(rng.randint(1, 8))
        new = rng.choice((b"", random_bytes, random_bytes, b"\xff" * 8, b"\0" * 8, b"-1", b"[", b'"'))
        gone = rng.choice((0, len(new), rng.randint(0, 32)))
        whole = whole[:at] + new + whole[at + gone :]
    return whole


def _guided(atheris: Any, parse: Parser, seconds: int, seed: int, corpus: Path | None) -> int:
    tally = Tally(seconds)

    def one(content: bytes) -> None:
        tally.count(parse(content))
        if tally.is_over():
            print(tally.row(parse.name, "atheris"), flush=True)
            passing.cleanup()
            os._exit(0)  # libFuzzer itself counts the time on the wall

    with (passing := tempfile.TemporaryDirectory()):
        folder = corpus or Path(passing.name)
        folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(parse.target.whole):
            (folder / f"whole-{number}").write_bytes(content)
        options = [f"-seed={seed + 1}", "-max_len=8192", "-timeout=60", "-rss_limit_mb=8192", "-verbosity=0"]
        atheris.Setup([sys.argv[0], *options, str(folder)], one)
        atheris.Fuzz()  # ends the process
    return 0


if __name__ == "__main__":
    sys.exit(main())
