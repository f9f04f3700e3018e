"""Work in a process of its own, told and asked over JSON lines: its memory is its own, and its crash is an answer.

The child runs `python -m MODULE JOB` and serves; the parent asks. Whatever a library prints in the child goes to its
stderr, of which the parent shows the end if the child dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from edgedepth.core.errors import DeviceError, EdgeDepthError, EngineError, MissingExtraError, UnsupportedError

__all__ = ["CANNOT", "Child", "RefusedError", "failure", "serve"]

Told = Callable[[dict[str, Any]], None]
_LAST_LINES = 3

CANNOT = (DeviceError, EngineError, MissingExtraError, UnsupportedError)
"""Errors that say that this machine can't, and not that something is wrong."""


class RefusedError(Exception):
    """What a child answered instead of a result, or how it died.

    Args:
        problem: what was wrong.
        remedy: what cures it.
        cannot: it can't run here, and nothing is wrong with it.
    """

    def __init__(self, problem: str, remedy: str, *, cannot: bool) -> None:
        super().__init__(f"{problem}; try: {remedy}" if remedy else problem)
        self.problem, self.remedy, self.cannot = problem, remedy, cannot


class Child:
    """The parent's side.

    Args:
        module: that serves.
        job: what it shall do, as JSON's plain values.
    """

    def __init__(self, module: str, job: Mapping[str, Any]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in close)
        self._process = subprocess.Popen(  # noqa: S603 (this interpreter, and no shell)
            [sys.executable, "-m", module, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def ask(self, question: str) -> None:
        """Ask, and don't wait. A child that is gone says so in answer()."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(question.encode("ascii") + b"\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the next line that the child tells.

        Raises:
            RefusedError: it told an error, or died.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise RefusedError(
                self._epitaph(), "run it alone to see why; a smaller model or fewer at once", cannot=False
            )
        told: dict[str, Any] = json.loads(line)
        if "refused" in told:
            raise RefusedError(**told["refused"])
        return told

    def close(self) -> None:
        """End the child, kindly at first. Closing twice is fine."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _epitaph(self) -> str:
        code = self._process.wait()
        how = f"exit code {code}"
        if code < 0:
            with contextlib.suppress(ValueError):
                how = signal.Signals(-code).name
            how += " (out of memory?)" if -code == getattr(signal, "SIGKILL", 9) else ""
        self._errors.seek(0)
        last = self._errors.read().decode("utf-8", "replace").split("\n")
        lines = [line.strip() for line in last if line.strip()][-_LAST_LINES:]
        return f"its process died: {how}" + (f": {' | '.join(lines)}" if lines else "")


def serve(start: Callable[[dict[str, Any], Told], Callable[[str], dict[str, Any]] | None]) -> None:
    """The child's side: start the job of the command line, then answer each question until there are no more.

    Args:
        start: begins the job, may tell whatever it likes, and returns what answers questions; None: there are none.
    """
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as out:
        os.dup2(2, 1)

        def tell(what: dict[str, Any]) -> None:
            out.write(json.dumps(what) + "\n")

        with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
            try:
                answer = start(json.loads(sys.argv[1]), tell)
                for question in sys.stdin if answer else ():
                    tell(answer(question.strip()))  # type: ignore[misc]
            except EdgeDepthError as error:
                tell({"refused": failure(error)})
            except (MemoryError, RuntimeError, OSError, ValueError) as error:
                # A runtime's or a toolchain's own; a bug of ours has no better place to be seen either.
                problem = f"{type(error).__name__}: {error}".replace("\n", " ")
                tell({"refused": {"problem": problem, "remedy": "", "cannot": False}})


def failure(error: EdgeDepthError) -> dict[str, Any]:
    """An error as serve() tells it."""
    return {"problem": error.problem, "remedy": error.remedy, "cannot": isinstance(error, CANNOT)}
