"""Several opened models for several callers at once."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

from edgedepth.core.errors import OptionError, StageError
from edgedepth.facade import EdgeDepth
from edgedepth.result import DepthResult

__all__ = ["EdgeDepthPool"]


class EdgeDepthPool:
    """As many EdgeDepths as callers that shall not wait for each other: each holds the model in memory.

    On a CPU that one model keeps busy a pool is no faster, and takes more memory: measure it.

    Args:
        size: how many.
        model: as of EdgeDepth.
        options: of EdgeDepth, the same for all.

    Raises:
        OptionError: a size that isn't one.
        EdgeDepthError: as EdgeDepth.
    """

    def __init__(self, size: int, model: Any = None, **options: Any) -> None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise OptionError(f"size is {size!r}; allowed are whole numbers from 1 on", remedy="EdgeDepthPool(2)")
        self._idle: queue.SimpleQueue[EdgeDepth] = queue.SimpleQueue()
        self._closed = False
        with ExitStack() as stack:
            self._models = [stack.enter_context(EdgeDepth(model, **options)) for _ in range(size)]
            self._stack = stack.pop_all()
        for opened in self._models:
            self._idle.put(opened)

    @contextmanager
    def borrow(self) -> Iterator[EdgeDepth]:
        """One of them, for the time of a with statement; waits until one is idle."""
        if self._closed:
            raise StageError("the pool was closed", remedy="open it again")
        model = self._idle.get()
        try:
            yield model
        finally:
            self._idle.put(model)

    def infer(self, frame: object, **options: Any) -> DepthResult:
        """EdgeDepth.infer() of one that is idle."""
        with self.borrow() as model:
            return model.infer(frame, **options)

    def close(self) -> None:
        """Close all. Twice is fine."""
        self._closed = True
        self._stack.close()

    def __enter__(self) -> EdgeDepthPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
