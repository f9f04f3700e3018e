"""Stages that don't run twice on the same inputs: a search changes one stage, and the rest stay."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.declared import DeclaredSession
from edgedepth.core.feeds import check_feeds, output_buffers
from edgedepth.core.session import Array, Session
from edgedepth.core.spec import StageSpec

__all__ = ["MemoSession"]


class MemoSession(DeclaredSession):
    """A session that looks its answer up before it runs, and isn't opened before it has to run.

    Args:
        stage: what the session declares.
        open_session: opens it.
        folder: where answers are kept; None: nothing is.
    """

    def __init__(self, stage: StageSpec, open_session: Callable[[], Session], folder: Path | None) -> None:
        super().__init__(stage)
        self._open = open_session
        self._folder = folder
        self._session: Session | None = None

    @property
    def device(self) -> str:
        """The session's, once it is open."""
        return self._session.device if self._session else "memory of earlier runs"

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the stage, or remember what it gave."""
        if self._folder is None:
            return self._opened().run(feeds, out)
        path = self._folder / f"{_digest(feeds)}.npz"
        if not path.is_file():
            results = self._opened().run(feeds, out)
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".new.npz")
            arrays: dict[str, Any] = dict(results)
            np.savez(temporary, **arrays)
            temporary.replace(path)
            return results
        results = output_buffers(self._stage, out, check_feeds(self._stage, feeds))
        with np.load(path) as archive:
            for name, result in results.items():
                np.copyto(result, archive[name])
        return results

    def close(self) -> None:
        """Close the session, if it was opened."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _opened(self) -> Session:
        if self._session is None:
            self._session = self._open()
        return self._session


def _digest(feeds: Mapping[str, npt.NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, array in sorted(feeds.items()):
        digest.update(f"{name} {array.dtype} {array.shape}\0".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
