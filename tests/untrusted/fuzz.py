"""Fuzz one parser for as long as one likes.

    python -m tests.untrusted.fuzz manifest --seconds 600
    python -m tests.untrusted.fuzz manifest --seconds 600 --engine atheris

The engine `random` damages whole files, and damages further what was refused in a new way; `atheris` is libFuzzer,
guided by the coverage of edgedepth's code. An error that is not edgedepth's own ends the run with exit code 1 or 77,
and the input that did it lies in crash-*.
"""

from __future__ import annotations

import argparse
import importlib
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
    args = parser.parse_args()
    if args.engine == "atheris":
        atheris = importlib.import_module("atheris")
        with atheris.instrument_imports(include=["edgedepth"]):
            parse = Parser(args.target)
        return _guided(atheris, parse, args.seconds)
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


def _random(parse: Parser, seconds: int, seed: int) -> int:
    rng = random.Random(seed)
    pool, refused, tried = list(parse.target.whole), 0, 0
    kinds: set[str] = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        content = _mutated(rng, rng.choice(pool))
        tried += 1
        try:
            kind = parse(content)
        except Exception:  # whatever it is: it is what is looked for
            Path(f"crash-{parse.name}").write_bytes(content)
            traceback.print_exc()
            print(f"{parse.name}: broken after {tried} inputs, by crash-{parse.name}")
            return 1
        refused += bool(kind)
        if kind not in kinds:  # another way to be refused: a new place in the parser, worth damaging further
            kinds.add(kind)
            pool.append(content)
    print(f"{parse.name}: {tried} inputs, {refused} refused in {len(kinds)} ways, none broke it")
    return 0


def _mutated(rng: random.Random, whole: bytes) -> bytes:
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(whole) + 1)
        random_bytes = rng.randbytes(rng.randint(1, 8))
        new = rng.choice((b"", random_bytes, random_bytes, b"\xff" * 8, b"\0" * 8, b"-1", b"[", b'"'))
        gone = rng.choice((0, len(new), rng.randint(0, 32)))
        whole = whole[:at] + new + whole[at + gone :]
    return whole


def _guided(atheris: Any, parse: Parser, seconds: int) -> int:
    with tempfile.TemporaryDirectory() as corpus:
        for number, content in enumerate(parse.target.whole):
            Path(corpus, str(number)).write_bytes(content)
        options = [f"-max_total_time={seconds}", "-max_len=8192", "-timeout=60", "-rss_limit_mb=8192", corpus]
        atheris.Setup([sys.argv[0], *options], lambda content: parse(content) and None)
        atheris.Fuzz()  # ends the process
    return 0


if __name__ == "__main__":
    sys.exit(main())
