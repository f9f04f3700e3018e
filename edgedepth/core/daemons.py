"""Daemon threads, and what becomes of them when the interpreter ends.

Daemons of ours call backends. One that comes back from native code while the interpreter is being taken down is ended
by unwinding C++ frames that don't bear it, and the process dies of SIGABRT in place of its exit code. So they are told
to stop before, and waited for.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

__all__ = ["Stoppable", "leave", "start_daemon", "stop_before_exit"]

_PATIENCE_S = 2.0
"""For all of them together. What hangs mustn't keep the process."""


class Stoppable(Protocol):
    """What owns daemons."""

    def stop(self) -> None:
        """Have them end with what they are at; doesn't wait."""
        ...


_daemons: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
_owners: weakref.WeakSet[Stoppable] = weakref.WeakSet()


def start_daemon(target: Callable[..., Any], *args: Any, name: str) -> threading.Thread:
    """Start a thread that can't keep the process alive."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    _daemons.add(thread)
    return thread


def stop_before_exit(owner: Stoppable) -> None:
    """Have an owner of daemons stop them before the interpreter ends, if it is still there."""
    _owners.add(owner)


def leave(code: int) -> NoReturn:
    """End a process of our own with this exit code, also where a daemon hangs in native code."""
    if not _settle():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


@atexit.register
def _settle() -> bool:
    """Stop all owners. Returns whether every daemon has ended."""
    for owner in list(_owners):
        owner.stop()
    deadline = time.monotonic() + _PATIENCE_S
    daemons = list(_daemons)
    for thread in daemons:
        thread.join(max(0.0, deadline - time.monotonic()))
    return not any(thread.is_alive() for thread in daemons)
