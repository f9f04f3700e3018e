from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from edgedepth.core.errors import FrameError, OptionError, StageError, UnsupportedError, UnusableOutputError
from edgedepth.core.spec import ModelSpec, StageSpec
from edgedepth.programs.depth_pro import DepthProProgram
from edgedepth.programs.fake_session import FakeSession, fake_compute, open_fake_stages, with_tile_batch
from edgedepth.programs.opening import open_program
from edgedepth.programs.prediction import Prediction
from edgedepth.programs.resize import resize_bilinear
from edgedepth.programs.single_graph import SingleGraphProgram
from edgedepth.programs.stages import StagePool

# Means of float32 in another order: what a tiled mean and a mean over the uncut image may differ by.
ROUNDING = 1e-6


class Stages:
    """An OpenStage that remembers every session it opened."""

    def __init__(self, spec: ModelSpec, *, fixed: int | None = None, **faults) -> None:
        self.spec, self.fixed, self.faults = spec, fixed, faults
        self.sessions: list[FakeSession] = []

    def __call__(self, name: str, /) -> FakeSession:
        stage = self.spec.stage(name)
        if self.fixed and name == "patch_encoder":
            stage = with_tile_batch(stage, self.fixed)
        self.sessions.append(self.new(stage))
        return self.sessions[-1]

    def new(self, stage: StageSpec) -> FakeSession:
        return FakeSession(stage, self.faults.get(stage.name))

    @property
    def opened(self) -> list[str]:
        return [session.stage.name for session in self.sessions]


def predict(spec: ModelSpec, rgb: np.ndarray, tile_batch: int = 5, focal_px: float | None = None, **faults):
    program = DepthProProgram(spec, StagePool(Stages(spec, **faults)), tile_batch=tile_batch)
    return program.predict(rgb, focal_px=focal_px)


def uncut(single: ModelSpec, rgb: np.ndarray, focal_px: float | None = None) -> Prediction:
    return SingleGraphProgram(single, StagePool(open_fake_stages(single))).predict(rgb, focal_px=focal_px)


@pytest.mark.parametrize("resident", ["all", "one"])
@pytest.mark.parametrize("fixed", [False, True], ids=["dynamic", "fixed"])
@pytest.mark.parametrize("tile_batch", [1, 2, 4, 5, 16, 34, 35])
def test_tiles_in_any_micro_batch_equal_the_uncut_model(staged, single, rgb, tile_batch, fixed, resident):
    stages = Stages(staged, fixed=tile_batch if fixed else None)
    with StagePool(stages, resident=resident) as pool:
        program = DepthProProgram(staged, pool, tile_batch=tile_batch)
        got = program.predict(rgb)
        again = program.predict(rgb)
    want = uncut(single, rgb)
    assert_allclose(got.canonical_inverse_depth, want.canonical_inverse_depth, rtol=ROUNDING)
    assert_allclose(got.depth, want.depth, rtol=ROUNDING)
    assert got.focal_px == pytest.approx(want.focal_px, rel=ROUNDING)
    assert_array_equal(again.depth, got.depth)
    full, rest = divmod(35, tile_batch)
    expected = [tile_batch] * full + ([tile_batch if fixed else rest] if rest else [])
    assert stages.sessions[0].batches[: len(expected)] == expected


def test_the_oracle_sees_misplaced_tiles(staged, single, rgb, monkeypatch):
    """A planted fault: two tiles of a level change places, and the comparison above must notice."""
    from edgedepth.programs import tile_encoder

    boxes = tile_encoder.tile_boxes

    def swapped(tiling, level):
        first, *rest = boxes(tiling, level)
        if not rest:
            return [first]
        second = rest[0]
        return [replace(first, row=second.row, column=second.column),
                replace(second, row=first.row, column=first.column), *rest[1:]]  # fmt: skip

    monkeypatch.setattr(tile_encoder, "tile_boxes", swapped)
    got = predict(staged, rgb).canonical_inverse_depth
    want = uncut(single, rgb).canonical_inverse_depth
    assert np.abs(got - want).max() > 100 * ROUNDING


@pytest.mark.parametrize("shape", [(16, 16), (512, 512), (97, 351), (1000, 700)])
def test_metres(staged, rgb, shape):
    """Resized, scaled by W / f, resized back, clamped, inverted: from the canonical map by the definition."""
    frame = resize_bilinear(rgb, shape)
    got = predict(staged, frame, focal_px=800.0)
    assert got.canonical_inverse_depth.shape == (512, 512)
    want = got.canonical_inverse_depth * np.float32(shape[1] / 800.0)
    if shape != (512, 512):
        want = resize_bilinear(want, shape)
    assert got.depth.shape == got.inverse_depth.shape == shape
    assert got.depth.dtype == got.inverse_depth.dtype == np.float32
    assert_array_equal(got.inverse_depth, want)
    assert_allclose(got.depth, 1 / np.clip(want, 1e-4, 1e4), rtol=2e-7)  # one more rounding


def test_predicted_focal_length(staged, rgb):
    got = predict(staged, rgb, fov=lambda s, f: {"fov_deg": np.full((1, 1), 90, np.float32)})
    assert got.focal_source == "predicted"
    assert got.fov_deg == 90
    assert got.focal_px == pytest.approx(351 / 2)  # tan 45 degrees = 1


@pytest.mark.parametrize("resident", ["all", "one"])
def test_with_a_focal_length_the_fov_stage_is_neither_run_nor_loaded(staged, rgb, resident):
    stages = Stages(staged)
    program = DepthProProgram(staged, StagePool(stages, resident=resident), tile_batch=5)
    got = program.predict(rgb, focal_px=351 / 2)
    assert got.focal_source == "given"
    assert got.focal_px == 351 / 2
    assert got.fov_deg == pytest.approx(90)
    assert stages.opened == ["patch_encoder", "image_encoder", "decoder"]
    assert "fov" not in got.timings_ms
    assert "fov" in program.predict(rgb).timings_ms
    assert stages.opened.count("fov") == 1


def test_timings_hold_every_step(staged, rgb):
    timings = predict(staged, rgb).timings_ms
    assert list(timings) == [
        "preprocess", "tiling", "patch_encoder", "image_encoder", "decoder", "fov", "postprocess", "load"
    ]  # fmt: skip
    assert min(timings.values()) > 0


def test_a_result_outlives_the_next_frame(staged, rgb):
    program = DepthProProgram(staged, StagePool(open_fake_stages(staged)), tile_batch=5)
    first = program.predict(rgb)
    arrays = {name: getattr(first, name) for name in ("depth", "inverse_depth", "canonical_inverse_depth")}
    before = {name: array.copy() for name, array in arrays.items()}
    second = program.predict(1 - rgb)
    for name, array in arrays.items():
        assert_array_equal(array, before[name])
        assert not np.array_equal(array, getattr(second, name))


def test_a_frame_of_the_models_own_size_is_not_aliased(staged, rgb):
    got = predict(staged, resize_bilinear(rgb, (512, 512)), focal_px=512.0)  # scale 1, no resize
    assert not np.shares_memory(got.inverse_depth, got.canonical_inverse_depth)
    assert not np.shares_memory(got.depth, got.inverse_depth)


def test_the_frame_is_not_written_to(staged, rgb):
    frame = rgb.copy()
    frame.flags.writeable = False
    predict(staged, frame)
    assert_array_equal(frame, rgb)


class Recording(FakeSession):
    """Notes where the feeds and the outputs of each run lie."""

    def run(self, feeds, out=None):
        arrays = [*feeds.values(), *(out or {}).values()]
        self.addresses = [*getattr(self, "addresses", []), [a.__array_interface__["data"][0] for a in arrays]]
        return super().run(feeds, out)


def test_two_micro_batches_of_tiles_and_features_exist(staged, rgb):
    """Runs of the patch encoder take turns with two sets of buffers: one is cut and fused while the other runs."""
    stages = Stages(staged)
    stages.new = Recording
    program = DepthProProgram(staged, StagePool(stages), tile_batch=4)
    program.predict(rgb)
    program.predict(rgb)
    addresses = [tuple(a) for a in stages.sessions[0].addresses]
    assert len(addresses) == 2 * 9
    assert len(addresses[0]) == 4  # tiles, latent0, latent1, features
    first, second = addresses[:2]
    assert not set(first) & set(second)
    assert addresses == ([first, second] * 5)[:9] * 2


class Waiting(FakeSession):
    """A patch encoder whose run doesn't end before the next tiles have been cut, or for five seconds."""

    def __init__(self, stage: StageSpec) -> None:
        super().__init__(stage)
        self.cut_meanwhile: list[bool] = []
        self.next_tile: np.ndarray | None = None

    def run(self, feeds, out=None):
        if self.next_tile is not None:
            deadline = time.monotonic() + 5
            while np.isnan(self.next_tile).any() and time.monotonic() < deadline:
                time.sleep(0.001)
            self.cut_meanwhile.append(not np.isnan(self.next_tile).any())
            self.next_tile = None
        return super().run(feeds, out)


def test_the_next_tiles_are_cut_while_a_micro_batch_runs(staged, rgb):
    stages = Stages(staged)
    stages.new = Waiting
    program = DepthProProgram(staged, StagePool(stages), tile_batch=5)
    expected = program.predict(rgb).canonical_inverse_depth
    assert program._encoder._buffers is not None
    patch_encoder = stages.sessions[0]
    patch_encoder.next_tile = program._encoder._buffers[1].tiles  # what the second micro-batch is cut into
    patch_encoder.next_tile[...] = np.nan
    again = program.predict(rgb).canonical_inverse_depth
    assert patch_encoder.cut_meanwhile == [True]
    assert_array_equal(again, expected)


def test_a_failing_micro_batch_is_an_error_and_leaves_no_thread(staged, rgb):
    calls = iter(range(7))

    def fails_late(stage, feeds):
        if next(calls) == 3:
            raise StageError("out of memory", remedy="a smaller batch")
        return fake_compute(stage, feeds)

    with pytest.raises(StageError, match="out of memory"):
        predict(staged, rgb, patch_encoder=fails_late)
    assert not [t for t in threading.enumerate() if t.name.startswith("edgedepth-tiles")]


def test_one_resident_stage_frees_the_buffers(staged, rgb):
    program = DepthProProgram(staged, StagePool(open_fake_stages(staged), resident="one"), tile_batch=5)
    program.predict(rgb)
    assert program._encoder._buffers is None
    assert program._encoder._fused is None


def test_single_layout(single, rgb):
    got = uncut(single, rgb, focal_px=300.0)
    assert got.focal_source == "given"
    assert list(got.timings_ms) == ["preprocess", "whole", "postprocess", "load"]


def without(name: str):
    return lambda stage, feeds: {k: v for k, v in fake_compute(stage, feeds).items() if k != name}


def changed(name: str, change):
    def compute(stage, feeds):
        outputs = fake_compute(stage, feeds)
        return outputs | {name: change(outputs[name])}

    return compute


def poisoned(value: float):
    def poison(array: np.ndarray) -> np.ndarray:
        array = array.copy()
        array.flat[0] = value  # the corner of the first tile, which no padding drops
        return array

    return poison


FAULTS = {
    "missing features": (StageError, "features", {"patch_encoder": without("features")}),
    "missing latent": (StageError, "latent1", {"patch_encoder": without("latent1")}),
    "missing image features": (StageError, "image_features", {"image_encoder": without("image_features")}),
    "missing depth": (StageError, "canonical", {"decoder": without("canonical_inverse_depth")}),
    "missing lowres": (StageError, "lowres", {"decoder": without("lowres_features")}),
    "missing fov": (StageError, "fov_deg", {"fov": without("fov_deg")}),
    "wrong shape": (StageError, "image_features", {"image_encoder": changed("image_features", lambda a: a[..., :3])}),
    "channels first": (StageError, "features", {"patch_encoder": changed("features", lambda a: a.swapaxes(1, 3))}),
    "half": (StageError, "float16", {"image_encoder": changed("image_features", lambda a: a.astype(np.float16))}),
    "nan depth": (
        UnusableOutputError,
        "1 of 262144",
        {"decoder": changed("canonical_inverse_depth", poisoned(np.nan))},
    ),
    "inf depth": (
        UnusableOutputError,
        "1 of 262144",
        {"decoder": changed("canonical_inverse_depth", poisoned(np.inf))},
    ),
    "nan tile": (UnusableOutputError, "NaN", {"patch_encoder": changed("latent0", poisoned(np.nan))}),
    "nan fov": (UnusableOutputError, "nan degrees", {"fov": changed("fov_deg", lambda a: a * np.nan)}),
    "no fov": (UnusableOutputError, "0 degrees", {"fov": changed("fov_deg", lambda a: a * 0)}),
    "flat fov": (UnusableOutputError, "180 degrees", {"fov": changed("fov_deg", lambda a: a * 0 + 180)}),
}


@pytest.mark.parametrize(("error", "message", "faults"), FAULTS.values(), ids=FAULTS.keys())
def test_planted_faults_are_caught(staged, rgb, error, message, faults):
    with pytest.raises(error, match=message):
        predict(staged, rgb, **faults)


def test_a_frame_after_a_fault_is_sound(staged, rgb):
    faults = {"decoder": without("lowres_features")}
    program = DepthProProgram(staged, StagePool(stages := Stages(staged, **faults)), tile_batch=5)
    with pytest.raises(StageError):
        program.predict(rgb)
    stages.sessions[-1]._compute = fake_compute
    assert_array_equal(program.predict(rgb).depth, predict(staged, rgb).depth)


@pytest.mark.parametrize("tile_batch", [0, -1, 36, 2.0, True, "5", None])
def test_a_tile_batch_out_of_range(staged, tile_batch):
    with pytest.raises(OptionError, match="allowed are 1 to 35"):
        DepthProProgram(staged, StagePool(open_fake_stages(staged)), tile_batch=tile_batch)


def test_a_tile_batch_that_is_not_the_artefacts(staged, rgb):
    program = DepthProProgram(staged, StagePool(Stages(staged, fixed=5)), tile_batch=7)
    with pytest.raises(OptionError) as caught:
        program.predict(rgb)
    assert "batches of exactly 5" in caught.value.problem
    assert "edgedepth export --tile-batch 7" in caught.value.remedy
    assert "--dynamic-batch" in caught.value.remedy


@pytest.mark.parametrize("focal_px", [0, -1.0, float("nan"), True, "800"])
def test_a_bad_focal_length_costs_no_inference(staged, rgb, focal_px):
    stages = Stages(staged)
    with pytest.raises(OptionError, match="focal_px"):
        DepthProProgram(staged, StagePool(stages), tile_batch=5).predict(rgb, focal_px=focal_px)
    assert stages.opened == []


@pytest.mark.parametrize("frame", [np.zeros((20, 20, 3)), np.zeros((20, 20), np.float32), np.zeros((20, 20, 4), "f4")])
def test_frames_that_were_not_prepared(staged, frame):
    with pytest.raises(FrameError, match="float32"):
        predict(staged, frame)


def test_opening(staged, single, rgb):
    def opened(spec: ModelSpec, layout: str):
        return open_program(spec, StagePool(open_fake_stages(spec)), layout=layout, tile_batch=5)

    assert isinstance(opened(staged, "staged"), DepthProProgram)
    assert isinstance(opened(single, "single"), SingleGraphProgram)
    with pytest.raises(UnsupportedError, match="'zoe'"):
        opened(replace(staged, family="zoe"), "staged")
    with pytest.raises(OptionError, match="no tiling"):
        opened(replace(staged, tiling=None), "staged")
