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
        ahead: share of the scenes that `begun` renders.
        workers: processes that render.
        announce: is told what is being done.
        progress: is told how many scenes are rendered, where training waits for them.

    Raises:
        TrainingError: a share outside 0..1.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ahead: float = 1.0,
        workers: int = 1,
        announce: Announce = unheard,
        progress: Progress = silent,
    ) -> None:
        if not 0 < ahead <= 1:
            raise TrainingError(
                f"the share of scenes rendered ahead is {ahead}; more than 0 and at most 1 is allowed",
                remedy="--ahead 1",
            )
        self._folder, self._ahead, self._workers = folder, ahead, workers
        self._announce, self._progress = announce, progress
        self._begun: list[tuple[str, CacheSettings]] = []

    def whole(self, name: str, settings: CacheSettings) -> SceneCache:
        """A cache with all of its scenes. Errors as `build_scene_cache`."""
        return self._built(name, settings, None)

    def begun(self, name: str, settings: CacheSettings) -> SceneCache:
        """A cache with a share of its scenes; `going_on` renders the others. Errors as `build_scene_cache`."""
        if self._ahead == 1:
            return self.whole(name, settings)
        self._begun.append((name, settings))
        return self._built(name, settings, math.ceil(self._ahead * settings.count))

    def _built(self, name: str, settings: CacheSettings, first: int | None) -> SceneCache:
        return build_scene_cache(
            self._folder / name,
            settings,
            first=first,
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
            TrainingError: at the block's end, what rendering failed with, which is announced at once; OutputError
                likewise.
        """
        stopped, failures = Event(), list[BaseException]()

        def watch(_step: str, _done: int, _total: int) -> None:
            more()
            if stopped.is_set():
                raise _StoppedError

        def render() -> None:
            try:
                for name, settings in self._begun:
                    # Two cores are left: one to the training, one to what `more` does.
                    workers = max(1, self._workers - 2)
                    build_scene_cache(self._folder / name, settings, workers=workers, progress=watch)
                    self._announce(f"all scenes of {name} are rendered")
            except _StoppedError:
                pass
            except BaseException as problem:  # an interrupted worker's KeyboardInterrupt too
                failures.append(problem)
                self._announce(f"no more scenes are rendered: {problem}")

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
