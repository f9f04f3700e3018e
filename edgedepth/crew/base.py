"""What a crew is: workers that each hold something costly (an opened model), and items that any of them may take."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, get_args

from edgedepth.core.errors import EdgeDepthError, OptionError

__all__ = ["Attempt", "Crew", "CrewOptions", "Engine", "Lost", "OpenWorker", "Raised", "Worker", "attempt"]

Engine = Literal["local", "ray"]

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class Worker(Protocol):
    """What a worker holds; one caller at a time."""

    def close(self) -> None:
        """Free it."""
        ...


W_co = TypeVar("W_co", bound=Worker, covariant=True)
W = TypeVar("W", bound=Worker)

OpenWorker = Callable[[int | None], W]
"""Opens a worker that may use so many threads; None: as many as its backend likes. It is pickled to where it runs."""


@dataclass(frozen=True, slots=True)
class Lost:
    """An item whose worker died on it, and the one that tried it again as well.

    Args:
        reason: for people.
    """

    reason: str = "its worker died twice on it: out of memory, or a crash of the runtime"


class Crew(Protocol[W_co]):
    """Workers that stay for several rounds of work."""

    def map(
        self, work: Callable[[W_co, Item], Outcome], items: Sequence[Item]
    ) -> Iterator[tuple[Item, Outcome | Lost]]:
        """Do some work on each item, by whichever worker is free.

        Args:
            work: a function of a module, or an object that can be pickled; it is sent to the workers.
            items: that can be pickled.

        Yields:
            Each item once, in any order, with what came of it.

        Raises:
            EdgeDepthError: that `work` raised, or that opening a worker raised: that ends the round.
        """
        ...

    def close(self) -> None:
        """Let the workers go. Twice is fine."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CrewOptions:
    """Who works.

    Args:
        workers: at once. One and "local": this process.
        engine: "local": processes of this machine; "ray": actors of Ray Data.
        address: of a Ray cluster: "auto", "ray://head:10001"; None starts one on this machine.
        threads: of each worker's arithmetic; None: the cores there are, shared out.
        gpus: that each Ray actor reserves; None: one, where the cluster has any and the work may use it.

    Raises:
        OptionError: values that are none, or don't go together.
    """

    workers: int = 1
    engine: Engine = "local"
    address: str | None = None
    threads: int | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.engine not in get_args(Engine):
            raise OptionError(f"engine is {self.engine!r}; allowed are {', '.join(get_args(Engine))}", remedy="local")
        for name, count in (("workers", self.workers), ("threads", self.threads)):
            if count is not None and count < 1:
                raise OptionError(f"{name} is {count}; allowed are 1 and more", remedy=f"--{name} 2")
        if self.gpus is not None and not 0 <= self.gpus < math.inf:
            raise OptionError(f"gpus is {self.gpus}; allowed are 0 and more", remedy="leave --gpus out")
        if self.engine != "ray" and (self.address is not None or self.gpus is not None):
            raise OptionError("an address and reserved GPUs are a Ray cluster's", remedy="--engine ray")


@dataclass(frozen=True, slots=True)
class Raised:
    """An error of ours on its way from a worker: each engine would wrap it in its own."""

    error: EdgeDepthError


class Attempt:
    """A worker's side of a round: opens when the first item comes, so that what opening raises is an answer too."""

    def __init__(self, open_worker: OpenWorker[Any], threads: int | None) -> None:
        self._open, self._threads = open_worker, threads
        self._worker: Worker | None = None

    def __call__(self, work: Callable[[Any, Item], Outcome], item: Item) -> Outcome | Raised:
        """Do the work, or tell why not."""
        try:
            if self._worker is None:
                self._worker = self._open(self._threads)
            return work(self._worker, item)
        except EdgeDepthError as error:
            return Raised(error)

    def close(self) -> None:
        """Free the worker, if there is one."""
        if self._worker is not None:
            self._worker.close()
        self._worker = None


def attempt(outcome: Outcome | Raised) -> Outcome:
    """What came of an item, at home.

    Raises:
        EdgeDepthError: that the worker raised.
    """
    if isinstance(outcome, Raised):
        raise outcome.error
    return outcome
