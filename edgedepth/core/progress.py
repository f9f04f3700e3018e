"""How long work tells how far it is."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """Called before each step of long work, and once more when all is done."""

    def __call__(self, step: str, done: int, total: int, /) -> None:
        """`step` begins; `done` of `total` steps lie behind. With done == total, step is what was finished."""
        ...


def silent(step: str, done: int, total: int, /) -> None:
    """Tell nobody."""
