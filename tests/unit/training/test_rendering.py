"""Scenes that are rendered beside a training: which are there when, and what stops and fails."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Timer, current_thread, main_thread

import numpy as np
import pytest
import torch

from edgedepth.core.errors import OutputError, TrainingError
from edgedepth.training import scene_cache
from edgedepth.training.rendering import Rendering
from edgedepth.training.scene_cache import CacheSettings, SceneCache, build_scene_cache
from edgedepth.training.scenes import Scene, render_scene

TEN = CacheSettings(first_seed=20, count=10, side=16)
PATIENCE_S = 60.0
"""For what takes a second here."""


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> SceneCache:
    return build_scene_cache(tmp_path_factory.mktemp("ten"), TEN)


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker renders a scene at a time, so that there is something between nothing and all."""
    monkeypatch.setattr(scene_cache, "_SHARE", 1)


def content(cache: SceneCache) -> tuple[bytes, bytes, bytes]:
    return cache.images.tobytes(), cache.inverse_depth.tobytes(), cache.focal_over_width.tobytes()


def wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        assert time.monotonic() < deadline, "it didn't happen"
        time.sleep(0.005)


def rendering_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "rendering"]


def beside(rendering: Rendering, train: Callable[[], None], more: Callable[[], None] = lambda: None) -> None:
    with rendering.going_on(more):
        train()


class Gate:
    """Renders scenes in the rendering thread only as far as it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, allowed: int, failure: BaseException | None = None) -> None:
        self.rendered, self._allowed, self._failure, self.opened = list[int](), allowed, failure, Event()
        monkeypatch.setattr(scene_cache, "render_scene", self._render)

    def _render(self, seed: int, **size: float) -> Scene:
        if current_thread() is not main_thread():
            if len(self.rendered) == self._allowed:
                if self._failure is not None:
                    raise self._failure
                assert self.opened.wait(PATIENCE_S)
            self.rendered.append(seed)
        return render_scene(seed, **size)  # type: ignore[arg-type]


# --- a share, then all


def test_a_share_is_there_at_first_and_all_of_it_in_the_end(ten: SceneCache, tmp_path: Path) -> None:
    lines, waited, later = list[str](), list[tuple[int, int]](), list[int]()
    rendering = Rendering(
        tmp_path, ahead=0.25, announce=lines.append, progress=lambda _, done, total: waited.append((done, total))
    )
    cache = rendering.begun("ten", TEN)
    assert cache.rendered.tolist() == [0, 1, 2]  # a quarter, and not less
    for index in cache.rendered:
        assert np.array_equal(cache.images[index], ten.images[index])
    with rendering.going_on(lambda: later.append(cache.rendered.size)):
        wait_for(lambda: len(lines) == 2)
        # The cache that was opened before shows them.
        assert content(cache) == content(ten)
    assert lines == [f"rendering 3 scenes of 16x16 into {tmp_path / 'ten'}", "all scenes of ten are rendered"]
    assert waited == [(0, 3), (3, 3)]  # training doesn't wait for the others
    assert later == sorted(later)
    assert later[-1] == 10
    assert sorted(file.name for file in (tmp_path / "ten").iterdir()) == [
        "focal_over_width.npy",
        "images.npy",
        "inverse_depth.npy",
        "settings.json",
    ]


def test_two_caches_are_gone_on_with_in_their_order(tmp_path: Path, one_by_one: None) -> None:
    settings = {name: CacheSettings(first_seed=seed, count=4, side=16) for name, seed in (("one", 20), ("two", 40))}
    rendering = Rendering(tmp_path, ahead=0.5)
    caches = [rendering.begun(name, each) for name, each in settings.items()]
    seen: list[tuple[int, ...]] = []

    def look() -> None:
        seen.append(tuple(cache.rendered.size for cache in caches))

    with rendering.going_on(look):
        wait_for(lambda: bool(seen) and seen[-1] == (4, 4))
    assert list(dict.fromkeys(seen)) == [(2, 2), (3, 2), (4, 2), (4, 3), (4, 4)]


def test_processes_render_what_one_thread_does(ten: SceneCache, tmp_path: Path) -> None:
    rendering = Rendering(tmp_path, ahead=0.1, workers=4)
    cache = rendering.begun("ten", TEN)
    with rendering.going_on(lambda: None):
        wait_for(lambda: cache.rendered.size == 10)
    assert content(cache) == content(ten)


def test_a_whole_cache_is_whole_and_nothing_goes_on(ten: SceneCache, tmp_path: Path) -> None:
    called: list[int] = []
    some, all_of_them = Rendering(tmp_path / "some", ahead=0.1), Rendering(tmp_path / "all")
    caches = some.whole("ten", TEN), all_of_them.begun("ten", TEN)
    assert all(content(cache) == content(ten) for cache in caches)
    for rendering in (some, all_of_them):
        with rendering.going_on(lambda: called.append(1)):
            pass
    assert called == []


def test_scenes_that_are_there_are_not_rendered_again(
    ten: SceneCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_scene_cache(tmp_path / "ten", TEN)
    gate, lines = Gate(monkeypatch, allowed=0, failure=AssertionError("rendered")), list[str]()
    rendering = Rendering(tmp_path, ahead=0.2, announce=lines.append)
    assert content(rendering.begun("ten", TEN)) == content(ten)
    with rendering.going_on(lambda: None):
        wait_for(lambda: bool(lines))
    assert (lines, gate.rendered) == (["all scenes of ten are rendered"], [])


@pytest.mark.parametrize("ahead", [0, -0.5, 1.01, float("nan")])
def test_a_share_that_is_none_is_refused_before_anything_is_made(tmp_path: Path, ahead: float) -> None:
    with pytest.raises(TrainingError, match="more than 0 and at most 1") as caught:
        Rendering(tmp_path / "scenes", ahead=ahead)
    assert caught.value.remedy == "--ahead 1"
    assert not (tmp_path / "scenes").exists()


# --- stopped


def test_the_block_s_end_stops_it_and_the_cache_can_be_gone_on_with(
    ten: SceneCache, tmp_path: Path, one_by_one: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, allowed=2)
    rendering = Rendering(tmp_path, ahead=0.1)
    cache = rendering.begun("ten", TEN)
    with rendering.going_on(lambda: None):
        wait_for(lambda: cache.rendered.size == 3)
        Timer(0.5, gate.opened.set).start()  # by when the block has ended long since
    # The scene that was being rendered is finished, and no other is begun.
    assert cache.rendered.tolist() == [0, 1, 2, 3]
    assert rendering_threads() == []
    monkeypatch.undo()
    again = Rendering(tmp_path, ahead=0.1)
    cache = again.begun("ten", TEN)
    assert cache.rendered.size == 4
    with again.going_on(lambda: None):
        wait_for(lambda: cache.rendered.size == 10)
    assert content(cache) == content(ten)


@pytest.mark.parametrize("problem", [RuntimeError("the training's own"), KeyboardInterrupt()])
def test_what_goes_wrong_in_the_block_stops_it_and_is_told(
    tmp_path: Path, one_by_one: None, monkeypatch: pytest.MonkeyPatch, problem: BaseException
) -> None:
    gate = Gate(monkeypatch, allowed=2)
    rendering = Rendering(tmp_path, ahead=0.1)
    cache = rendering.begun("ten", TEN)

    def train() -> None:
        wait_for(lambda: cache.rendered.size == 3)
        Timer(0.5, gate.opened.set).start()
        raise problem

    with pytest.raises(type(problem)) as caught:
        beside(rendering, train)
    assert caught.value is problem
    assert cache.rendered.size == 4
    assert rendering_threads() == []


# --- failures


def test_a_full_disk_is_announced_at_once_and_raised_at_the_block_s_end(
    ten: SceneCache, tmp_path: Path, one_by_one: None, file_size_limit: Callable[[int], None]
) -> None:
    lines, done = list[str](), list[str]()
    rendering = Rendering(tmp_path, ahead=0.1, announce=lines.append)
    cache = rendering.begun("ten", TEN)
    file_size_limit(128 + 3 * 16 * 16 * 3 + 100)  # npy's header, three pictures and a piece of the fourth

    def train() -> None:
        wait_for(lambda: len(lines) == 2)
        file_size_limit(1 << 30)
        done.append("trained on")

    with pytest.raises(OutputError, match="File too large") as caught:
        beside(rendering, train)
    assert done == ["trained on"]
    assert "free the disk" in caught.value.remedy
    assert lines[1] == f"no more scenes are rendered: {caught.value}"
    assert cache.rendered.tolist() == [0, 1, 2]
    # The rest follows when there is room.
    assert content(build_scene_cache(tmp_path / "ten", TEN)) == content(ten)


@pytest.mark.parametrize("problem", [RuntimeError("the training's own"), KeyboardInterrupt()])
def test_a_failure_of_rendering_does_not_hide_the_block_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: BaseException
) -> None:
    Gate(monkeypatch, allowed=0, failure=OSError("a disk that is gone"))
    lines: list[str] = []
    rendering = Rendering(tmp_path, ahead=0.1, announce=lines.append)
    rendering.begun("ten", TEN)

    def train() -> None:
        wait_for(lambda: len(lines) == 2)
        raise problem

    with pytest.raises(type(problem)) as caught:
        beside(rendering, train)
    assert caught.value is problem


def test_a_worker_that_is_killed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    rendering = Rendering(tmp_path, ahead=0.1, workers=4, announce=lines.append)
    rendering.begun("ten", TEN)
    monkeypatch.setattr(scene_cache, "_render_share", kill_this_process)
    with pytest.raises(TrainingError, match="was killed") as caught:
        beside(rendering, lambda: wait_for(lambda: len(lines) == 2))
    assert "--workers" in caught.value.remedy


def kill_this_process(*_: object) -> None:
    os._exit(9)


def test_an_interrupted_worker_interrupts_without_a_thread_s_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C reaches the workers, too, and comes home from them."""
    Gate(monkeypatch, allowed=0, failure=KeyboardInterrupt())
    rendering = Rendering(tmp_path, ahead=0.1)
    rendering.begun("ten", TEN)
    with pytest.raises(KeyboardInterrupt):
        beside(rendering, lambda: wait_for(lambda: rendering_threads() == []))


def test_a_failure_of_what_is_called_after_scenes_is_raised(tmp_path: Path) -> None:
    """A GPU may have no room left."""
    rendering = Rendering(tmp_path, ahead=0.1)
    cache = rendering.begun("ten", TEN)

    def no_room() -> None:
        raise torch.OutOfMemoryError("no room on the GPU")

    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        beside(rendering, lambda: wait_for(lambda: rendering_threads() == []), no_room)
    assert cache.rendered.size == 1
