"""Memory estimates, remembered stages, figures and timings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgedepth.calibration.memory import StageNeed, available_memory, check_memory, need_of
from edgedepth.calibration.recording import Recording, RecordingSession, record
from edgedepth.core.bundle import open_bundle
from edgedepth.core.errors import UnsupportedError
from edgedepth.programs.fake_session import FakeSession, open_fake_stages
from edgedepth.programs.opening import open_program
from edgedepth.programs.stages import StagePool
from edgedepth.quantizing.figures import boundary_share, measure_figures
from edgedepth.quantizing.memo import MemoSession
from edgedepth.quantizing.speed import Speed, compare_speed


class TestMemory:
    def test_a_smaller_tile_batch_that_fits_is_named(self) -> None:
        need = StageNeed(weights=1_200_000_000, activations=5_000_000_000, batch=5)
        with pytest.raises(UnsupportedError, match=r"patch_encoder takes about 8\.4 GB at 5 tiles") as caught:
            check_memory({"patch_encoder": need}, 6_500_000_000)
        assert caught.value.remedy.startswith("use --tile-batch 3")

    def test_where_nothing_fits_no_batch_is_named(self) -> None:
        with pytest.raises(UnsupportedError) as caught:
            check_memory({"decoder": StageNeed(weights=10**9, activations=10**9)}, 10**9)
        assert "larger machine" in caught.value.remedy

    def test_what_fits_and_what_nobody_knows_is_let_pass(self) -> None:
        need = {"fov": StageNeed(weights=1, activations=1)}
        check_memory(need, 10**9)
        check_memory(need, None)

    def test_this_machine_has_room_for_the_mini(self, mini_bundle: Path) -> None:
        need = need_of(mini_bundle / "patch_encoder" / "patch_encoder.onnx", batch=5)
        assert need.weights > 10**7
        check_memory({"patch_encoder": need}, available_memory())


class TestMemo:
    def test_the_same_inputs_run_once_and_give_the_same(self, mini_bundle: Path, tmp_path: Path) -> None:
        stage = open_bundle(mini_bundle).manifest.model.stage("image_encoder")
        opened: list[FakeSession] = []

        def open_session() -> FakeSession:
            opened.append(FakeSession(stage))
            return opened[-1]

        rng = np.random.default_rng(0)
        feeds = [{"image": rng.random((1, 3, 128, 128), np.float32)} for _ in range(2)]
        first = MemoSession(stage, open_session, tmp_path / "memo")
        expected = [first.run(feed)["image_features"].copy() for feed in feeds]
        assert [session.runs for session in opened] == [2]
        second = MemoSession(stage, open_session, tmp_path / "memo")
        out = {"image_features": np.empty_like(expected[0])}
        for feed, answer in zip(feeds, expected, strict=True):
            assert second.run(feed, out)["image_features"] is out["image_features"]
            np.testing.assert_array_equal(out["image_features"], answer)
        assert len(opened) == 1  # never opened again
        second.close()

    def test_without_a_folder_it_always_runs(self, mini_bundle: Path) -> None:
        stage = open_bundle(mini_bundle).manifest.model.stage("image_encoder")
        session = FakeSession(stage)
        memo = MemoSession(stage, lambda: session, None)
        feed = {"image": np.zeros((1, 3, 128, 128), np.float32)}
        memo.run(feed)
        memo.run(feed)
        assert session.runs == 2
        memo.close()
        assert session.closed


class TestRecording:
    def frames(self) -> list[Any]:
        rng = np.random.default_rng(0)
        return [rng.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(3)]

    def go(self, bundle: Path, folder: Path, sessions: list[Any]) -> Recording:
        manifest = open_bundle(bundle).manifest
        open_stage = open_fake_stages(manifest.model)

        def counted(stage: str) -> FakeSession:
            sessions.append(open_stage(stage))
            return sessions[-1]

        return record(
            iter(self.frames()),
            3,
            open_stage=counted,
            open_program=lambda open_: open_program(
                manifest.model, StagePool(open_), layout="staged", tile_batch=manifest.tile_batch or 5
            ),
            folder=folder,
        )

    def test_every_call_of_every_stage_is_kept_and_nothing_runs_twice(self, mini_bundle: Path, tmp_path: Path) -> None:
        sessions: list[Any] = []
        recording = self.go(mini_bundle, tmp_path / "recording", sessions)
        assert len(recording.calls("patch_encoder")) == 3 * 7
        assert len(recording.calls("decoder")) == 3
        feeds = recording.load_feeds(recording.only([1]).calls("decoder")[0])
        assert sorted(feeds) == ["image_features", "latent0", "latent1", "level0", "level1", "level2"]
        depth, fov_deg = recording.answer(2)
        assert depth.shape == (64, 96)
        assert 0 < fov_deg < 180
        before = sum(session.runs for session in sessions)
        (tmp_path / "recording" / "frame-00002").rename(tmp_path / "recording" / "frame-00002.new")  # a killed run's
        self.go(mini_bundle, tmp_path / "recording", sessions)
        assert sum(session.runs for session in sessions) == before + before // 3

    def test_it_is_a_session(self, mini_bundle: Path) -> None:
        stage = open_bundle(mini_bundle).manifest.model.stage("image_encoder")
        kept: list[Mapping[str, Any]] = []
        session = RecordingSession(FakeSession(stage), kept.append)
        session.run({"image": np.zeros((1, 3, 128, 128), np.float32)})
        assert [list(feeds) for feeds in kept] == [["image"]]
        assert (session.inputs, session.outputs, session.device) == (stage.inputs, stage.outputs, "fake")
        session.close()


@dataclass
class Constant:
    """A predictor that always gives the same."""

    depth: Any
    fov_deg: float = 60.0

    def predict(self, rgb: Any, /) -> Constant:
        return self


class TestFigures:
    def step(self, near: float) -> Any:
        depth = np.full((32, 32), 5.0, np.float32)
        depth[8:24, 8:24] = near
        return depth

    def test_what_is_equal_costs_nothing(self, tmp_path: Path) -> None:
        recording = self.recorded(tmp_path)
        frame = np.zeros((32, 32, 3), np.uint8)
        figures = measure_figures(Constant(self.step(2)), lambda _: frame, recording, [0, 1])
        assert (figures.abs_rel, figures.delta1, figures.boundary_f1, figures.fov_deg) == (0, 1, 1, 0)

    def test_a_known_error_comes_out(self, tmp_path: Path) -> None:
        recording = self.recorded(tmp_path)
        frame = np.zeros((32, 32, 3), np.uint8)
        figures = measure_figures(Constant(self.step(2) * np.float32(1.1), 61.5), lambda _: frame, recording, [0, 1])
        assert figures.abs_rel == pytest.approx(0.1, rel=1e-5)
        assert (figures.delta1, figures.boundary_f1) == (1, 1)  # ratios of neighbours don't see a scale
        assert figures.fov_deg == pytest.approx(1.5)

    def test_lost_edges_show(self) -> None:
        assert boundary_share(np.full((32, 32), 5, np.float32), self.step(2)) == 0
        assert math.isnan(boundary_share(self.step(2), np.full((32, 32), 5, np.float32)))
        assert boundary_share(np.full((32, 32), np.nan, np.float32), self.step(2)) == 0

    def recorded(self, folder: Path) -> Recording:
        for number in range(2):
            frame = folder / f"frame-{number:05d}"
            frame.mkdir()
            np.savez(frame / "answer.npz", depth=self.step(2), fov_deg=np.float32(60))
        return Recording(folder, range(2))


class TestSpeed:
    def test_ratios_and_what_is_not_beaten(self) -> None:
        speed = Speed(ms={"int8": 10.0, "fp32": 20.0, "fp16": 9.0})
        assert speed.ratios == {"fp32": 2.0, "fp16": 0.9}
        assert speed.slower_than == ["fp16"]
        assert speed.to_manifest() == {
            "int8_ms": 10.0, "fp32_ms": 20.0, "fp16_ms": 9.0, "times_fp32": 2.0, "times_fp16": 0.9,
        }  # fmt: skip

    def test_programs_take_turns(self) -> None:
        order: list[str] = []

        @dataclass
        class Noting:
            name: str

            def predict(self, rgb: Any, /) -> Any:
                order.append(self.name)
                return SimpleNamespace(timings_ms={"load": 0.0})

        speed = compare_speed(
            {"int8": Noting("int8"), "fp32": Noting("fp32")}, np.zeros((1, 1, 3), np.float32), rounds=2
        )
        assert order == ["int8", "fp32"] * 3
        assert set(speed.ms) == {"int8", "fp32"}
