"""Workers on this machine: in this process, or processes of their own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from edgedepth.core.errors import EdgeDepthError, OptionError
from edgedepth.labelling.frames import FrameRef
from edgedepth.labelling.labels import Label
from edgedepth.labelling.worker import Labeller, LabellerSettings

__all__ = ["label_here", "label_in_processes"]

_AHEAD = 2  # frames that wait at each worker: it never idles, and little is lost with it


def label_here(refs: Sequence[FrameRef], settings: LabellerSettings) -> Iterator[Label]:
    """Label in this process, one after the other."""
    labeller = Labeller(settings)
    try:
        yield from map(labeller, refs)
    finally:
        labeller.close()


def label_in_processes(refs: Sequence[FrameRef], settings: LabellerSettings, workers: int) -> Iterator[Label]:
    """Label in processes, each with a model of its own; labels come in the order in which they are done.

    A frame whose worker dies (out of memory, a crash of a runtime) is tried once more, alone; then it has failed.

    Raises:
        EdgeDepthError: a worker can't open the model.
    """
    left = list(refs)
    while left:
        done: set[FrameRef] = set()
        try:
            for label in _labels(left, settings, workers):
                done.add(label.ref)
                yield label
            return
        except BrokenProcessPool:
            left = [ref for ref in left if ref not in done]
        # Somebody among the first of them was being worked on: find out who, one at a time.
        suspects, left = left[: workers * (_AHEAD + 1)], left[workers * (_AHEAD + 1) :]
        for ref in suspects:
            try:
                yield from _labels([ref], settings, 1)
            except BrokenProcessPool:
                yield _killed(ref)


def _labels(refs: Sequence[FrameRef], settings: LabellerSettings, workers: int) -> Iterator[Label]:
    # Spawned, since runtimes that were loaded before a fork don't work after it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(refs)), mp_context=context, initializer=_open, initargs=(settings,)
    ) as pool:
        waiting = iter(refs)
        running: set[Future[Label]] = set()
        try:
            while True:
                for _, ref in zip(range(workers * _AHEAD - len(running)), waiting, strict=False):
                    running.add(pool.submit(_label, ref))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_labeller: Labeller | EdgeDepthError | None = None


def _open(settings: LabellerSettings) -> None:
    """Open the process's model. An initializer that raises looks like a crash: its error waits for a frame."""
    global _labeller  # noqa: PLW0603 (a process of the pool has no other place)
    try:
        _labeller = Labeller(settings)
    except EdgeDepthError as error:
        _labeller = error


def _label(ref: FrameRef) -> Label:
    if isinstance(_labeller, EdgeDepthError):
        raise OptionError(_labeller.problem, remedy=_labeller.remedy)
    assert _labeller is not None
    return _labeller(ref)


def _killed(ref: FrameRef) -> Label:
    return Label(
        name=ref.name,
        path=ref.path,
        place=ref.place,
        member=ref.member,
        version=ref.version,
        status="failed",
        error="WorkerKilled: its worker died twice on it: out of memory, or a crash of the runtime",
    )
