"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Announce", "Progress", "silent", "unheard"]

Announce = Callable[[str], None]
"""Told, in one line each, what a person has to know: the licence before a download."""


class Progress(Protocol):
    """Called before each step of long work, and once more when all is done."""

    def __call__(self, step: str, done: int, total: int, /) -> None:
        """`step` begins; `done` of `total` steps lie behind. With done == total, step is what was finished."""
        ...


def unheard(line: str, /) -> None:
    """Announce to nobody."""


def silent(step: str, done: int, total: int, /) -> None:
    """Tell nobody."""
