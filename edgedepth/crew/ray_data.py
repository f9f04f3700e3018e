"""A crew on a Ray cluster, through Ray Data: one worker an actor, items of lost machines done again."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from edgedepth.core.errors import DeviceError, OptionError
from edgedepth.core.optional import require
from edgedepth.crew.base import Attempt, CrewOptions, Lost, OpenWorker, W, attempt

__all__ = ["RayActors"]

_BLOCK = 8  # items, at most, that are given out, and lost with a machine, together
_BLOCKS_A_WORKER = 8  # at least, where there are items enough: so that all end at about the same time
_BACKEND_LEVEL = "RAY_BACKEND_LOG_LEVEL"
_PATIENCE_S = 10
_TRIES = 3  # of a block whose actor dies. Ray's default is for ever, and an item may kill its worker each time

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class RayActors(Generic[W]):
    """Actors of Ray Data; each round of work has actors of its own.

    Args:
        open_worker: is pickled, and opens the same on every machine.
        options: address, workers, threads and GPUs of each.
        uses_gpu: whether a worker takes a GPU where there is one.

    Raises:
        MissingExtraError: ray isn't installed.
        DeviceError: there is no cluster at that address.
        OptionError: no machine of the cluster has what an actor is to reserve.
    """

    def __init__(self, open_worker: OpenWorker[W], options: CrewOptions, *, uses_gpu: bool) -> None:
        self._ray = require("ray", extra="ray", purpose="for clusters")
        self._data = require("ray.data", extra="ray", purpose="for clusters")
        self._started = not self._ray.is_initialized()
        self._open = open_worker
        self._workers = options.workers
        if self._started:
            self._start(options.address)
        try:
            self._threads, self._gpus = self._shares(options, uses_gpu)
        except BaseException:
            self.close()
            raise

    def map(self, work: Callable[[W, Item], Outcome], items: Sequence[Item]) -> Iterator[tuple[Item, Outcome | Lost]]:
        """As of Crew; an item comes once although two machines may have worked on it."""
        left = dict(enumerate(items))
        block = max(1, min(_BLOCK, len(left) // (self._workers * _BLOCKS_A_WORKER)))
        yield from self._round(work, left, block)
        if left:  # given up: one of each block killed its worker every time
            yield from self._round(work, left, 1)
        for item in left.values():
            yield item, Lost()

    def close(self) -> None:
        """As of Crew; a cluster that was there before stays."""
        if self._started:
            self._ray.shutdown()
        self._started = False

    def _round(
        self, work: Callable[[W, Item], Outcome], left: dict[int, Item], block: int
    ) -> Iterator[tuple[Item, Outcome]]:
        rows = [{"number": number, "item": pickle.dumps(item)} for number, item in left.items()]
        if not rows:
            return
        context = self._data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1
        with warnings.catch_warnings():  # that Ray 2.64 will take retries in another way
            warnings.simplefilter("ignore")
            outcomes = self._data.from_items(rows, override_num_blocks=-(-len(rows) // block)).map(
                _Actor,
                fn_constructor_kwargs={"spec": self._ray.cloudpickle.dumps((self._open, self._threads, work))},
                compute=self._data.ActorPoolStrategy(min_size=1, max_size=self._workers, initial_size=self._workers),
                num_cpus=self._threads,
                num_gpus=self._gpus,
                max_restarts=-1,
                max_task_retries=_TRIES - 1,
            )
        try:
            with _quiet():
                for row in outcomes.iter_rows():
                    outcome = attempt(pickle.loads(row["outcome"]))  # noqa: S301 (our own actors wrote it)
                    if row["number"] in left:
                        yield left.pop(row["number"]), outcome
        except self._ray.exceptions.RayError as error:
            raise DeviceError(
                f"the cluster gave up: {type(error).__name__}: {str(error).strip()}",
                remedy="the same edgedepth and packages on every machine; then run the same command again: it goes on",
            ) from error

    def _start(self, address: str | None) -> None:
        try:
            _knock(address)
            with _quiet():
                self._ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="error")
        except (OSError, ValueError, RuntimeError, self._ray.exceptions.RayError) as error:
            raise DeviceError(
                f"there is no Ray cluster at {address}: {error}", remedy="ray start --head, or leave --address out"
            ) from error

    def _shares(self, options: CrewOptions, uses_gpu: bool) -> tuple[int, float]:
        """Cores and GPUs of each actor: as told, else what the cluster has, shared out."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in ("CPU", "GPU")}
        cores = sum(node.get("CPU", 0) for node in nodes)
        threads = options.threads or max(1, int(min(most["CPU"], cores // self._workers)))
        gpus = (1.0 if uses_gpu and most["GPU"] else 0.0) if options.gpus is None else options.gpus
        for name, wanted, option in (("CPU", threads, "--threads"), ("GPU", gpus, "--gpus")):
            if wanted > most[name]:  # Ray would wait for such a machine for ever
                raise OptionError(
                    f"each worker is to reserve {wanted:g} {name}s, and the largest machine of the cluster has "
                    f"{most[name]:g}",
                    remedy=f"{option} {most[name]:g}",
                )
        return threads, gpus


def _knock(address: str | None) -> None:
    """Raise OSError where nobody listens: Ray itself asks for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE_S).close()


class _Actor:
    """An actor of Ray Data."""

    def __init__(self, spec: bytes) -> None:
        open_worker, threads, self._work = pickle.loads(spec)  # noqa: S301 (as Ray itself sends objects)
        self._attempt = Attempt(open_worker, threads)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        item = pickle.loads(row["item"])  # noqa: S301 (likewise)
        outcome = self._attempt(self._work, item)
        return {"number": row["number"], "outcome": pickle.dumps(outcome)}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Ray's notes on its plans from our users: what fails is in the outcomes."""
    logger = logging.getLogger("ray.data")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    # What Ray's own core says of how Ray Data passes arguments is nothing that a user could cure.
    backend = os.environ.get(_BACKEND_LEVEL)
    os.environ[_BACKEND_LEVEL] = "fatal"
    try:
        yield
    finally:
        logger.setLevel(level)
        if backend is None:
            os.environ.pop(_BACKEND_LEVEL, None)
        else:
            os.environ[_BACKEND_LEVEL] = backend
