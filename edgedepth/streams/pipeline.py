"""Items through steps, each step in a thread of its own, in order, with little room between them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from edgedepth.core.daemons import start_daemon, stop_before_exit

__all__ = ["DROP", "Pipeline"]

DROP = object()
"""What a step gives for an item that goes no further."""

_REST = 9
"""How much longer the first step rests than it worked on an item, before it makes a newer one in place of one that
still waits: at most a tenth of a core works for nothing."""

Step = Callable[[Any], Any]


class _End:
    """The last item: the end, or the error that ended it."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _ClosedError(Exception):
    """The pipeline was closed while somebody waited."""


class _Channel:
    """A queue between two threads that holds few items, and wakes everybody when it is closed."""

    def __init__(self, room: int) -> None:
        self._items: deque[Any] = deque()
        self._room = room
        self._changed = threading.Condition()
        self._closed = False
        self.dropped = 0
        """Items that newer ones pushed out."""

    def put(self, item: Any) -> None:
        """Add an item; wait while there is no room. Raises _ClosedError."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._room)
            self._add(item)

    def put_newest(self, item: Any) -> None:
        """Add an item; where there is no room the oldest ones go. Raises _ClosedError."""
        with self._changed:
            while len(self._items) >= self._room:
                self._items.popleft()
                self.dropped += 1
            self._add(item)

    def wait_for_room(self, timeout_s: float) -> None:
        """Wait until there is room, it is closed, or the time is up."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._room, timeout_s)

    def get(self) -> Any:
        """Take the oldest item; wait for one. Raises _ClosedError."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items)
            if self._closed:
                raise _ClosedError
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Wake everybody; what is in it is let go."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def _add(self, item: Any) -> None:
        if self._closed:
            raise _ClosedError
        self._items.append(item)
        self._changed.notify_all()


class Pipeline:
    """Runs items through steps.

    An error, of the source or of a step, ends the pipeline after the items before it: it is raised where they are
    taken. Threads are daemons: a step that hangs can't keep the process.

    Args:
        items: the source; it is iterated, and closed, in a thread of its own.
        steps: functions of an item, each run in a thread of its own; DROP for an item ends its way.
        drop_oldest: whether the source goes on while the steps are busy, and what waited longest is given up, before
            the first step and behind it; else the source waits.
        room: items that may wait between two steps.
    """

    def __init__(self, items: Iterator[Any], steps: Sequence[Step], *, drop_oldest: bool, room: int = 1) -> None:
        self.taken = 0
        """Items that the source gave."""
        channels = [_Channel(room) for _ in range(len(steps) + 1)]
        self._channels = channels
        self._stopped = threading.Event()
        self._items = items
        self._drop_oldest = drop_oldest
        stop_before_exit(self)
        self._threads = [start_daemon(self._read, name="edgedepth-read")]
        for number, step in enumerate(steps):
            put = _put_newest if drop_oldest and number == 0 else _put
            arguments = (step, channels[number], channels[number + 1], put)
            self._threads.append(start_daemon(_work, *arguments, name=f"edgedepth-step-{number}"))

    @property
    def dropped(self) -> int:
        """Items that newer ones pushed out."""
        return sum(channel.dropped for channel in self._channels)

    def take(self) -> Any:
        """The next item that went through all steps.

        Raises:
            StopIteration: the source has ended, or the pipeline was closed.
            BaseException: what the source or a step raised.
        """
        try:
            item = self._channels[-1].get()
        except _ClosedError:
            raise StopIteration from None
        if isinstance(item, _End):
            self.stop()
            if item.error is not None:
                raise item.error
            raise StopIteration
        return item

    def stop(self) -> None:
        """Let everything go; threads end with what they are at. Doesn't wait for them."""
        self._stopped.set()
        for channel in self._channels:
            channel.close()

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait for the threads after stop(). Returns whether all have ended."""
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads if thread is not threading.current_thread())

    def _read(self) -> None:
        channel = self._channels[0]
        try:
            error: BaseException | None = None
            try:
                for item in self._items:
                    if self._stopped.is_set():
                        return
                    self.taken += 1
                    if self._drop_oldest:
                        channel.put_newest(item)
                    else:
                        channel.put(item)
            except _ClosedError:
                return
            except BaseException as raised:  # raised again where items are taken
                error = raised
            finally:
                if callable(close := getattr(self._items, "close", None)):
                    close()
            channel.put(_End(error))
        except _ClosedError:
            return


def _put(sink: _Channel, item: Any, spent_s: float) -> None:
    del spent_s
    sink.put(item)


def _put_newest(sink: _Channel, item: Any, spent_s: float) -> None:
    sink.put_newest(item)
    sink.wait_for_room(_REST * spent_s)


def _work(step: Step, source: _Channel, sink: _Channel, put: Callable[[_Channel, Any, float], None]) -> None:
    try:
        while True:
            item = source.get()
            if isinstance(item, _End):
                sink.put(item)
                return
            started = time.perf_counter()
            try:
                item = step(item)
            except BaseException as error:  # raised again where items are taken
                sink.put(_End(error))
                return
            if item is not DROP:
                put(sink, item, time.perf_counter() - started)
            del item
    except _ClosedError:
        return
