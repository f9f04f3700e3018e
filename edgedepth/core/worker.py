"""A thread that a hung call can't keep the process alive with."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["GaveUpError", "Worker", "call_within"]

T = TypeVar("T")


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
        self._thread = threading.Thread(target=_work, args=(self._calls,), name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[..., T], *args: Any) -> Future[T]:
        """Run call(*args) after everything that was submitted before."""
        future: Future[T] = Future()
        self._calls.put((future, call, args))
        return future

    def close(self, *, wait: bool = True) -> None:
        """End the thread after what was submitted; wait=False doesn't wait for it."""
        self._calls.put(None)
        if wait:
            self._thread.join()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def call_within(timeout_s: float, call: Callable[[], T]) -> T:
    """call(), given up after so many seconds: it goes on in its thread, and nobody waits for it any more.

    Raises:
        GaveUpError: it took longer.
    """
    worker = Worker("edgedepth-watched")
    try:
        return _result(worker.submit(call), timeout_s)
    finally:
        worker.close(wait=False)


def _result(future: Future[T], timeout_s: float) -> T:
    try:
        return future.result(timeout_s)
    except FutureTimeoutError:  # another class than TimeoutError before Python 3.11
        if future.done():  # the call's own
            raise
        raise GaveUpError(f"no answer within {timeout_s:g} s") from None


def _work(calls: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]] | None]) -> None:
    while (item := calls.get()) is not None:
        future, call, args = item
        try:
            future.set_result(call(*args))
        except BaseException as error:  # whoever waits for the result gets it
            future.set_exception(error)
        del item, future, call, args  # a waiting thread holds no frame
