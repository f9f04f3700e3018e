"""Sessions for a program: opened when they are needed, closed when memory is short, checked as they are used."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Literal, get_args

import numpy.typing as npt

from edgedepth.core.arrays import arrays_of
from edgedepth.core.errors import OptionError, StageError
from edgedepth.core.feeds import check_feeds
from edgedepth.core.heap import give_back
from edgedepth.core.session import Array, OpenStage, Session
from edgedepth.core.spec import StageSpec

__all__ = ["Resident", "StagePool", "run_stage"]

Resident = Literal["all", "one"]


class StagePool:
    """Opens stages lazily and keeps them.

    Args:
        open_stage: opens a stage by its name.
        resident: "all" keeps every stage that was opened. "one" keeps a single stage in memory: the previous one
            is closed before the next is opened, so each frame loads every stage again. For boards of 8 GB; slow.

    Not thread-safe.

    Raises:
        OptionError: another value of resident.
    """

    def __init__(self, open_stage: OpenStage, *, resident: Resident = "all") -> None:
        if resident not in get_args(Resident):
            raise OptionError(f"resident is {resident!r}; allowed are 'all' and 'one'", remedy="resident='all'")
        self.resident = resident
        self._loaded_ms = 0.0
        self._loading_since: float | None = None
        self._open_stage = open_stage
        self._sessions: dict[str, Session] = {}
        self._closed = False

    @property
    def opened(self) -> tuple[str, ...]:
        """The stages that are in memory now."""
        return tuple(self._sessions)

    @property
    def load_ms(self) -> float:
        """Spent on opening and closing stages since the pool was made, one that is being opened included."""
        since = self._loading_since  # read first: another thread may be about to finish, and nothing must be missed
        return self._loaded_ms + (0.0 if since is None else 1e3 * (time.perf_counter() - since))

    def session(self, stage: str) -> Session:
        """The session of a stage. With resident="one" it is closed when another is asked for.

        Raises:
            StageError: the pool is closed.
        """
        if self._closed:
            raise StageError(f"stage {stage} was asked for after close()", remedy="open the model again")
        if stage not in self._sessions:
            self._loading_since = start = time.perf_counter()
            try:
                if self.resident == "one":
                    self._close_sessions()
                self._sessions[stage] = self._open_stage(stage)
            finally:
                self._loaded_ms += 1e3 * (time.perf_counter() - start)
                self._loading_since = None
        return self._sessions[stage]

    def release(self, stage: str) -> None:
        """Close one stage, if it is open; it is opened again when it is asked for."""
        session = self._sessions.pop(stage, None)
        if session is not None:
            session.close()
            give_back()

    def close(self) -> None:
        """Close every session, also when closing one of them fails. Closing twice is fine."""
        self._closed = True
        self._close_sessions()

    def _close_sessions(self) -> None:
        sessions, self._sessions = self._sessions, {}
        with ExitStack() as stack:
            if sessions:
                stack.callback(give_back)  # else a stage's gigabyte of weights may stay in the C library's heap
            for session in sessions.values():
                stack.callback(session.close)

    def __enter__(self) -> StagePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def run_stage(
    session: Session,
    stage: StageSpec,
    feeds: Mapping[str, npt.NDArray[Any]],
    out: Mapping[str, Array] | None = None,
) -> dict[str, Array]:
    """Run a stage once and check what it returns against what the model declares.

    Args:
        session: of that stage.
        stage: what the model declares.
        feeds: inputs by name.
        out: outputs to write into, see Session.run.

    Returns:
        Every output of the stage by its name.

    Raises:
        StageError: a tensor is missing, or has another shape or dtype. Values are not looked at.
    """
    sizes = check_feeds(stage, feeds, arrays_of(session).kinds)
    outputs = session.run(feeds, out)
    for tensor in stage.outputs:
        declared = tuple(sizes.get(size, -1) if isinstance(size, str) else size for size in tensor.shape)
        array = outputs.get(tensor.name)
        if array is None or array.shape != declared or array.dtype != tensor.dtype:
            got = f"none; it gives {sorted(outputs)}" if array is None else f"{array.dtype} {array.shape}"
            raise StageError(
                f"stage {stage.name} declares {tensor.name} as {tensor.dtype} {declared}; got {got}",
                remedy="check the bundle with 'edgedepth verify BUNDLE', or export it again",
            )
    return outputs
