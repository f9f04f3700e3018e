"""A thread that a hung call can't keep the process alive with."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any, TypeVar

from edgedepth.core.daemons import start_daemon, stop_before_exit

__all__ = ["GaveUpError", "Worker", "call_within"]

T = TypeVar("T")

_TICK_S = 0.02
"""Between two looks at a call whose time stands still."""


class GaveUpError(Exception):
    """A call took longer than it was given; it goes on."""


class Worker:
    """Runs calls one after the other in a daemon thread of its own.

    concurrent.futures joins its threads when the interpreter ends: a backend that never comes back would hold the
    process for ever, after its error was told.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]
        self._calls = queue.SimpleQueue()
        self._thread = start_daemon(_work, self._calls, name=name)
        stop_before_exit(self)

    def submit(self, call: Callable[..., T], *args: Any) -> Future[T]:
        """Run call(*args) after everything that was submitted before."""
        future: Future[T] = Future()
        self._calls.put((future, call, args))
        return future

    def close(self, *, wait: bool = True) -> None:
        """End the thread after what was submitted; wait=False doesn't wait for it."""
        self.stop()
        if wait:
            self._thread.join()

    def stop(self) -> None:
        """End the thread after what was submitted."""
        self._calls.put(None)

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def call_within(timeout_s: float, call: Callable[[], T], *, uncounted_s: Callable[[], float] = lambda: 0.0) -> T:
    """call(), given up after so many seconds: it goes on in its thread, and nobody waits for it any more.

    Args:
        timeout_s: seconds that it may take.
        call: what is run.
        uncounted_s: seconds so far that don't count.

    Raises:
        GaveUpError: it took longer.
    """
    worker = Worker("edgedepth-watched")
    deadline = time.monotonic() + timeout_s
    try:
        future = worker.submit(call)
        while True:
            try:
                return _result(future, max(_TICK_S, deadline + uncounted_s() - time.monotonic()))
            except GaveUpError:
                if time.monotonic() >= deadline + uncounted_s():
                    raise GaveUpError(f"no answer within {timeout_s:g} s") from None
    finally:
        worker.close(wait=False)


def _result(future: Future[T], timeout_s: float) -> T:
    try:
        return future.result(timeout_s)
    except FutureTimeoutError:  # another class than TimeoutError before Python 3.11
        if future.done():  # the call's own
            raise
        raise GaveUpError from None


def _work(calls: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]) -> None:
    while (item := calls.get()) is not None:
        future, call, args = item
        try:
            future.set_result(call(*args))
        except BaseException as error:  # whoever waits for the result gets it
            future.set_exception(error)
        del item, future, call, args  # a waiting thread holds no frame
