"""tile_batch="auto": what is measured, and when."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.errors import OptionError
from edgedepth.core.store import home
from edgedepth.facade import EdgeDepth
from edgedepth.models.depth_pro_config import DEPTH_PRO, DEPTH_PRO_MINI, depth_pro_stages, depth_pro_tiling
from edgedepth.programs.fake_session import FakeSession
from edgedepth.programs.tile_batches import frame_seconds_by_tile_batch, tile_batch_candidates

FRAME = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
TILING = depth_pro_tiling(DEPTH_PRO_MINI)


class Device:
    """A clock, and a patch encoder whose run takes a cost of its batch and is slow the first time."""

    def __init__(self, cost) -> None:
        stage = next(stage for stage in depth_pro_stages(DEPTH_PRO_MINI) if stage.name == "patch_encoder")
        self.now, self.cost, self.sizes = 0.0, cost, []
        self.session = FakeSession(stage)
        run = self.session.run

        def timed(feeds, out=None):
            size = len(feeds["tiles"])
            self.now += self.cost(size) * (1 if size in self.sizes else 10)
            self.sizes.append(size)
            return run(feeds, out)

        self.session.run = timed

    def measured(self) -> dict[int, float]:
        return frame_seconds_by_tile_batch(self.session, TILING, clock=lambda: self.now)


def test_candidates_are_the_smallest_of_each_number_of_calls():
    candidates = tile_batch_candidates(depth_pro_tiling(DEPTH_PRO).count)
    assert candidates == (1, 2, 3, 4, 5, 6, 7, 9, 12, 18, 35)
    calls = [-(-35 // size) for size in candidates]
    assert len(set(calls)) == len(calls)


def test_a_frames_seconds_are_told_without_the_first_run():
    seconds = Device(lambda size: 0.25 + size).measured()
    assert seconds[1] == pytest.approx(35 * 1.25)
    assert seconds[5] == pytest.approx(7 * 5.25)


def test_larger_batches_are_not_tried_when_two_brought_nothing():
    device = Device(lambda size: size if size <= 3 else 2 * size)  # a cache that 4 tiles no longer fit in
    seconds = device.measured()
    assert list(seconds) == [1, 2, 3]  # 2 and 3 are no faster than 1: 36 tiles' time for 35
    assert max(device.sizes) == 3


def test_a_device_that_likes_large_batches_gets_them():
    seconds = Device(lambda size: 10 + size / 100).measured()
    assert min(seconds, key=seconds.get) == 35


@pytest.fixture(scope="module")
def dynamic(exported: Callable[..., Path]) -> Path:
    return exported("--model", "depth-pro-mini", "--dynamic-batch")


def test_it_is_measured_once_and_gives_the_same_depth(dynamic: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "edgedepth")
    with EdgeDepth(dynamic, tile_batch=5, self_test="never") as fixed:
        expected = fixed.infer(FRAME).depth
    for measured in (True, False):
        caplog.clear()
        with EdgeDepth(dynamic, tile_batch="auto", self_test="never") as tuned:
            depth = tuned.infer(FRAME).depth
        assert ("measuring" in caplog.text) is measured
        np.testing.assert_allclose(depth, expected, rtol=1e-3)  # the fp32 row of core/tolerances.py
    (file,) = (home() / "tile-batch").iterdir()
    found = json.loads(file.read_text())
    assert found["tile_batch"] == int(min(found["frame_s"], key=found["frame_s"].get))


@pytest.mark.parametrize("content", ["", "{", '{"tile_batch": 36}', '{"tile_batch": "5"}', "[]", '{"other": 1}'])
def test_what_cannot_be_understood_is_measured_anew(dynamic: Path, content: str, caplog: pytest.LogCaptureFixture):
    with EdgeDepth(dynamic, tile_batch="auto", self_test="never"):
        pass
    (file,) = (home() / "tile-batch").iterdir()
    file.write_text(content)
    caplog.set_level(logging.INFO, "edgedepth")
    with EdgeDepth(dynamic, tile_batch="auto", self_test="never") as tuned:
        assert tuned.infer(FRAME).depth.shape == (48, 64)
    assert "measuring" in caplog.text
    assert json.loads(file.read_text())["tile_batch"] in range(1, 36)


def test_a_store_that_cannot_be_written_is_a_warning(dynamic: Path, caplog: pytest.LogCaptureFixture):
    home().mkdir(parents=True)
    (home() / "tile-batch").write_text("in the way")
    with EdgeDepth(dynamic, tile_batch="auto", self_test="never") as tuned:
        assert tuned.infer(FRAME).depth.shape == (48, 64)
    assert "can't be remembered" in caplog.text


def test_where_nothing_is_to_be_chosen(mini_bundle: Path):
    with pytest.raises(OptionError, match="exported for batches of 5"):
        EdgeDepth(mini_bundle, tile_batch="auto")
    with pytest.raises(OptionError, match="runs none"):
        EdgeDepth("depth-pro-mini", backend="torch", weights="random:0", tile_batch="auto")


def test_every_finding_has_its_own_runtime(dynamic: Path):
    for threads in (1, 2):
        with EdgeDepth(dynamic, tile_batch="auto", self_test="never", threads=threads):
            pass
    files = list((home() / "tile-batch").iterdir())
    assert len(files) == 2
    assert not any(a.read_text() == b.read_text() for a, b in itertools.combinations(files, 2))
