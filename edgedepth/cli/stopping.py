"""SIGTERM, which service managers and `docker stop` send, ends a command as Ctrl-C does."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

__all__ = ["TerminatedError", "exit_code_of", "sigterm_interrupts"]


class TerminatedError(KeyboardInterrupt):
    """SIGTERM came."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Raise TerminatedError where SIGTERM finds the main thread: what is open is closed, what is written is whole."""
    if threading.current_thread() is not threading.main_thread():  # Python's handlers run, and are set, there alone
        yield
        return
    before = signal.signal(signal.SIGTERM, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def exit_code_of(interruption: KeyboardInterrupt) -> int:
    """128 and the signal's number, as shells tell it."""
    return 128 + (signal.SIGTERM if isinstance(interruption, TerminatedError) else signal.SIGINT)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    raise TerminatedError
