"""Rendering the scenes of a training: before it, or its rest beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from edgedepth.core.errors import TrainingError
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.training.scene_cache import CacheSettings, SceneCache, build_scene_cache

__all__ = ["Rendering"]


class Rendering:
    """Scene caches in one folder.

    Args:
        folder: of the caches.
        workers: processes that render.
        announce: is told what is being done.
        progress: is told how many scenes are rendered, where training waits for them.
    """

    def __init__(
        self, folder: Path, *, workers: int = 1, announce: Announce = unheard, progress: Progress = silent
    ) -> None:
        self._folder, self._workers, self._announce, self._progress = folder, workers, announce, progress
        self._begun: list[tuple[str, CacheSettings]] = []

    def begun(self, name: str, settings: CacheSettings, share: float = 1.0) -> SceneCache:
        """A cache with a share of its scenes; `going_on` renders the others.

        Raises:
            TrainingError: a share outside 0..1, or as `build_scene_cache`.
            OutputError: a full disk.
        """
        if not 0 < share <= 1:
            raise TrainingError(
                f"the share of scenes rendered ahead is {share}; more than 0 and at most 1 is allowed",
                remedy="--ahead 1",
            )
        if share < 1:
            self._begun.append((name, settings))
        return build_scene_cache(
            self._folder / name,
            settings,
            first=math.ceil(share * settings.count),
            workers=self._workers,
            announce=self._announce,
            progress=self._progress,
        )

    @contextmanager
    def going_on(self, more: Callable[[], None]) -> Iterator[None]:
        """Render what was only begun beside the block, and stop with it.

        Args:
            more: called in the rendering thread after some more scenes.

        Raises:
            TrainingError: at the block's end, what rendering failed with; OutputError likewise.
        """
        stopped, failures = Event(), list[Exception]()

        def watch(_step: str, _done: int, _total: int) -> None:
            more()
            if stopped.is_set():
                raise _StoppedError

        def render() -> None:
            try:
                for name, settings in self._begun:
                    # A core is left to the training.
                    workers = max(1, self._workers - 2)
                    build_scene_cache(self._folder / name, settings, workers=workers, progress=watch)
                    self._announce(f"all scenes of {name} are rendered")
            except _StoppedError:
                pass
            except Exception as problem:
                failures.append(problem)

        thread = Thread(target=render, name="rendering")
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
        if failures:
            raise failures[0]


class _StoppedError(Exception):
    """Training is done: scenes aren't wanted any more."""
