from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest

from edgedepth.core.errors import OptionError, StageError
from edgedepth.core.heap import give_back
from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.programs.fake_session import FakeSession
from edgedepth.programs.stages import StagePool, run_stage


class Opener:
    """Opens fake sessions and writes down what is opened and closed, in order."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.failing: set[str] = set()

    def __call__(self, stage: str, /) -> FakeSession:
        self.log.append(f"open {stage}")
        if stage in self.failing:
            raise OSError(stage)
        return _Logged(stage, self)


class _Logged(FakeSession):
    def __init__(self, name: str, opener: Opener) -> None:
        super().__init__(StageSpec(name=name, inputs=(), outputs=()))
        self._opener = opener

    def close(self) -> None:
        self._opener.log.append(f"close {self.stage.name}")
        super().close()
        if f"close {self.stage.name}" in self._opener.failing:
            raise OSError(self.stage.name)


def test_all_stay_open_and_open_once():
    opener = Opener()
    pool = StagePool(opener)
    assert opener.log == []
    first = pool.session("a")
    pool.session("b")
    assert pool.session("a") is first
    assert opener.log == ["open a", "open b"]
    assert pool.opened == ("a", "b")
    pool.close()
    assert sorted(opener.log[2:]) == ["close a", "close b"]


def test_one_closes_before_it_opens():
    opener = Opener()
    with StagePool(opener, resident="one") as pool:
        for stage in ("a", "a", "b", "a"):
            pool.session(stage)
            assert pool.opened == (stage,)
    assert opener.log == ["open a", "close a", "open b", "close b", "open a", "close a"]


@pytest.mark.skipif(sys.platform != "linux", reason="heaps of glibc")
def test_a_closed_stages_memory_goes_back_to_the_system():
    """Weights in pieces below what glibc maps one by one, and something small behind them that stays."""
    stay: list[np.ndarray] = []

    class Heavy(FakeSession):
        def __init__(self, name: str) -> None:
            super().__init__(StageSpec(name=name, inputs=(), outputs=()))
            self.weights = [np.ones(12_000) for _ in range(1000)] if name == "heavy" else []
            stay.append(np.ones(12_000))

        def close(self) -> None:
            self.weights.clear()
            super().close()

    pool = StagePool(Heavy, resident="one")
    give_back()  # what other tests have left free would be used again, and not seen
    before = psutil.Process().memory_info().rss
    pool.session("heavy")
    heavy = psutil.Process().memory_info().rss - before
    assert heavy > 80e6  # of 96 MB; some may have been in pages that are used otherwise, too
    pool.session("light")
    assert psutil.Process().memory_info().rss - before < 0.2 * heavy


def test_loading_is_timed():
    pool = StagePool(Opener())
    assert pool.load_ms == 0
    pool.session("a")
    loaded = pool.load_ms
    assert loaded > 0
    pool.session("a")
    assert pool.load_ms == loaded


def test_closed_means_closed():
    pool = StagePool(Opener())
    pool.close()
    pool.close()
    with pytest.raises(StageError, match="close"):
        pool.session("a")


def test_a_stage_that_does_not_open_leaves_the_pool_usable():
    opener = Opener()
    opener.failing = {"b"}
    pool = StagePool(opener, resident="one")
    pool.session("a")
    with pytest.raises(OSError, match="b"):
        pool.session("b")
    assert pool.opened == ()
    assert pool.session("a").device == "fake"


def test_one_that_does_not_close_keeps_none_of_the_others_open():
    opener = Opener()
    opener.failing = {"close b"}
    pool = StagePool(opener)
    for stage in "abc":
        pool.session(stage)
    with pytest.raises(OSError, match="b"):
        pool.close()
    assert {"close a", "close b", "close c"} <= set(opener.log)


def test_unknown_residence():
    with pytest.raises(OptionError, match="'two'"):
        StagePool(Opener(), resident="two")


def tensor(name: str, *shape: int | str) -> TensorSpec:
    return TensorSpec(name=name, dtype="float32", shape=shape)


STAGE = StageSpec(name="double", inputs=(tensor("x", "n", 2),), outputs=(tensor("y", "n", 2),))


def doubled(stage, feeds):
    return {"y": feeds["x"] * 2}


def test_run_stage():
    x = np.ones((3, 2), np.float32)
    y = np.empty((3, 2), np.float32)
    outputs = run_stage(FakeSession(STAGE, doubled), STAGE, {"x": x}, {"y": y})
    assert outputs["y"] is y
    assert (y == 2).all()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda s, f: {}, r"declares y .* got none; it gives \[\]"),
        (lambda s, f: {"Y": f["x"]}, r"declares y .* got none; it gives \['Y'\]"),
        (lambda s, f: {"y": f["x"][:2]}, r"as float32 \(3, 2\); got float32 \(2, 2\)"),
        (lambda s, f: {"y": f["x"][None]}, r"\(1, 3, 2\)"),
        (lambda s, f: {"y": f["x"].astype(np.float16)}, "float16"),
    ],
)
def test_what_a_stage_returns_is_checked(fault, message):
    with pytest.raises(StageError, match=message):
        run_stage(FakeSession(STAGE, fault), STAGE, {"x": np.ones((3, 2), np.float32)})


@pytest.mark.parametrize("feeds", [{}, {"x": np.ones((3, 3), np.float32)}, {"x": np.ones((3, 2))}])
def test_what_a_stage_is_fed_is_checked(feeds):
    with pytest.raises(StageError):
        run_stage(FakeSession(STAGE, doubled), STAGE, feeds)
