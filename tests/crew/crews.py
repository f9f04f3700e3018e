"""A worker that counts, and work that goes wrong: of a module, so that other processes can import them."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from edgedepth.core.errors import OptionError, StageError


class Counter:
    """A worker."""

    def __init__(self, threads: int | None) -> None:
        self.threads = threads
        self.done = 0

    def close(self) -> None:
        """Nothing to free."""


def unopened(threads: int | None) -> Counter:
    """A worker that doesn't open."""
    raise OptionError("the model is broken", remedy="mend it")


def doubled(worker: Counter, item: int) -> tuple[int, int | None, int]:
    """Twice the item, the worker's threads, and its process."""
    worker.done += 1
    return 2 * item, worker.threads, os.getpid()


def refused(worker: Counter, item: int) -> int:
    """An error of ours, at one item."""
    if item == 3:
        raise StageError("the backend broke", remedy="open it anew")
    return item


@dataclass(frozen=True)
class Deadly:
    """An item that kills its process, each time, or only the first."""

    item: int
    once: Path | None = None

    def __call__(self, worker: Counter, item: int) -> int:
        """Die at the item."""
        if item == self.item and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item
