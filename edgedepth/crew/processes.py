"""A crew of processes on this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Generic, TypeVar

from edgedepth.core.errors import StageError
from edgedepth.crew.base import Attempt, Lost, OpenWorker, Raised, W, attempt

__all__ = ["Processes"]

_HOPELESS = 3  # items lost before one was done: not their fault
_AHEAD = 2  # items that wait at each worker: it never idles, and little is lost with it

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Processes(Generic[W]):
    """Each worker in a process of its own. An item whose process dies is tried once more, alone; then it is lost.

    Args:
        open_worker: is pickled.
        workers: processes.
        threads: of each.
    """

    def __init__(self, open_worker: OpenWorker[W], workers: int, threads: int | None) -> None:
        self._open, self._workers, self._threads = open_worker, workers, threads
        self._pool: ProcessPoolExecutor | None = None
        self._lived = False

    def map(self, work: Callable[[W, Item], Outcome], items: Sequence[Item]) -> Iterator[tuple[Item, Outcome | Lost]]:
        """As of Crew.

        Raises:
            StageError: no process stays alive long enough to do anything.
        """
        left = dict(enumerate(items))
        lost = 0
        while left:
            died = yield from self._round(work, left)
            if not died:
                return
            # Somebody among the first of them was being worked on: find out who, one at a time.
            for number in list(left)[: self._workers * (_AHEAD + 1)]:
                alone = {number: left.pop(number)}
                if (yield from self._round(work, alone)):
                    lost += 1
                    self._check_alive(lost)
                    yield alone[number], Lost()

    def _check_alive(self, lost: int) -> None:
        if not self._lived and lost == _HOPELESS:
            raise StageError(
                f"no worker stays alive: {lost} items were lost, and none was done",
                remedy="--workers 1 shows why; in a script, call from under if __name__ == '__main__'",
            )

    def close(self) -> None:
        """As of Crew."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None

    def _round(
        self, work: Callable[[W, Item], Outcome], left: dict[int, Item]
    ) -> Generator[tuple[Item, Outcome], None, bool]:
        """Work on what is left, and take out of it what is done. Returns whether a process died."""
        pool = self._opened()
        waiting = iter(list(left.items()))
        running: dict[Future[Outcome | Raised], int] = {}
        finished = False
        try:
            while True:
                for _, (number, item) in zip(range(self._workers * _AHEAD - len(running)), waiting, strict=False):
                    running[pool.submit(_do, work, item)] = number
                if not running:
                    finished = True
                    return False
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    number = running.pop(future)
                    outcome = attempt(future.result())
                    self._lived = True
                    yield left.pop(number), outcome
        except BrokenProcessPool:
            return True
        finally:
            if not finished:  # also when the caller has had enough, or an item's error ends it
                self.close()

    def _opened(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Spawned, since runtimes that were loaded before a fork don't work after it.
            self._pool = ProcessPoolExecutor(
                self._workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_begin,
                initargs=(self._open, self._threads),
            )
        return self._pool


_attempt: Attempt | None = None


def _begin(open_worker: OpenWorker[Any], threads: int | None) -> None:
    global _attempt  # noqa: PLW0603 (a process of the pool has no other place)
    _attempt = Attempt(open_worker, threads)


def _do(work: Callable[[Any, Any], Any], item: Any) -> Any:
    assert _attempt is not None
    return _attempt(work, item)
