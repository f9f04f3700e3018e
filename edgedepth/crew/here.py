"""A crew of one: this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from edgedepth.crew.base import Lost, OpenWorker, W

__all__ = ["Here"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Here(Generic[W]):
    """Does one item after the other, in their order; whatever is raised comes through.

    Args:
        open_worker: called when the first item is there.
        threads: of the worker; None: as many as its backend likes.
    """

    def __init__(self, open_worker: OpenWorker[W], threads: int | None = None) -> None:
        self._open, self._threads = open_worker, threads
        self._worker: W | None = None

    def map(self, work: Callable[[W, Item], Outcome], items: Sequence[Item]) -> Iterator[tuple[Item, Outcome | Lost]]:
        """As of Crew."""
        for item in items:
            if self._worker is None:
                self._worker = self._open(self._threads)
            yield item, work(self._worker, item)

    def close(self) -> None:
        """As of Crew."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None
