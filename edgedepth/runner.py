"""An opened model: its program is run by one caller at a time, watched, and opened anew when it failed."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from edgedepth.core.errors import BackendTimeoutError, OptionError, StageError
from edgedepth.core.worker import GaveUpError, call_within
from edgedepth.programs.canonical import CanonicalProgram
from edgedepth.programs.direct import DirectProgram
from edgedepth.programs.rsa import RsaProgram
from edgedepth.programs.stages import StagePool

__all__ = ["Program", "Runner", "check_timeout"]

T = TypeVar("T")
_LOADING_S = 600.0
"""The longest that opening stages may take within a call that is watched: TensorRT builds engines meanwhile."""

Program = CanonicalProgram | RsaProgram | DirectProgram


class Runner:
    """Threads may share it: they wait for each other.

    Args:
        open_pool: opens the model's stages.
        timeout_s: the longest that a call may take, not counting stages that are opened for it; None: any time.
    """

    def __init__(self, open_pool: Callable[[], StagePool], *, timeout_s: float | None) -> None:
        self.timeout_s = timeout_s
        self._open_pool = open_pool
        self._open_program: Callable[[StagePool], Program] | None = None
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._hangs = False
        self._closed = False
        self.pool = open_pool()
        self._program: Program | None = None

    @property
    def program(self) -> Program:
        """Of the stages that are open now."""
        assert self._program is not None
        return self._program

    def start(self, open_program: Callable[[StagePool], Program]) -> None:
        """Open the program; reopen() will do the same."""
        self._open_program = open_program
        self._program = open_program(self.pool)

    def exclusively(self, call: Callable[[], T]) -> T:
        """call(), while nobody else's runs.

        Raises:
            BackendTimeoutError: it takes longer than timeout_s, or an earlier call still hangs.
            StageError: after close(), or in a process that was forked after the model was opened.
        """
        self.check_open()
        with self._lock:
            if self._hangs:
                raise BackendTimeoutError("a call from before still hasn't come back", remedy="reopen() the model")
            if self.timeout_s is None:
                return call()
            try:
                pool, loaded_ms = self.pool, self.pool.load_ms
                return call_within(
                    self.timeout_s, call, uncounted_s=lambda: min(_LOADING_S, 1e-3 * (pool.load_ms - loaded_ms))
                )
            except GaveUpError as error:
                self._hangs = True
                raise BackendTimeoutError(
                    f"the backend didn't come back within {self.timeout_s:g} s",
                    remedy="reopen() the model; if it is slow and not stuck, give it a longer timeout_s",
                ) from error

    def reopen(self) -> None:
        """Close all stages and open them again; what hangs is left behind, with the memory that it holds.

        Raises:
            StageError: after close(), or in a fork.
        """
        self.check_open()
        with self._lock:
            if not self._hangs:
                with contextlib.suppress(Exception):  # what is broken may not close either
                    self.pool.close()
            self._hangs = False
            self.pool = self._open_pool()
            if self._open_program is not None:
                self._program = self._open_program(self.pool)

    def close(self) -> None:
        """Wait for the call that runs, and free the stages. Closing twice is fine; what hangs is left behind."""
        if os.getpid() != self._process:
            return  # they are the parent's
        self._closed = True
        with self._lock:
            if not self._hangs:
                self.pool.close()

    def check_open(self) -> None:
        """Refuse to run after close(), or in a forked process.

        Raises:
            StageError: which of them.
        """
        self.check_process()
        if self._closed:
            raise StageError("the model was closed", remedy="open an EdgeDepth again")

    def check_process(self) -> None:
        """Refuse to run in a forked process.

        Raises:
            StageError: backends' threads and devices stay in the parent, and the child would wait for ever.
        """
        if os.getpid() != self._process:
            raise StageError(
                f"this model was opened in process {self._process}, and this is its fork {os.getpid()}",
                remedy="open an EdgeDepth in each process, after the fork",
            )


def check_timeout(timeout_s: float | None) -> None:
    """Refuse what is no time.

    Raises:
        OptionError: not a positive number.
    """
    if timeout_s is None or (isinstance(timeout_s, int | float) and not isinstance(timeout_s, bool) and timeout_s > 0):
        return
    raise OptionError(f"timeout_s is {timeout_s!r}; allowed are seconds above 0", remedy="or leave it out")
