"""EdgeDepth.stream(): the results are infer()'s, in order, whatever happens on the way."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgedepth import EdgeDepth, ReusePolicy, TimedFrame, runner
from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.core.errors import (
    BackendTimeoutError,
    DeviceError,
    FrameError,
    OptionError,
    StageError,
    UnsupportedError,
    UnusableOutputError,
)
from edgedepth.fake_model import FAKE_SPEC, fake_depth
from edgedepth.programs.fake_session import open_fake_stages
from edgedepth.programs.faulty_session import Fault, FaultyStages
from edgedepth.sources import Source
from edgedepth.stream_steps import FovMedian
from edgedepth.streams.capture import CameraSource, built_with

RNG = np.random.default_rng(11)
FRAMES = [RNG.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(6)]


def write_video(path: Path, count: int = 6, size: tuple[int, int] = (64, 48)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"FFV1"), 10, size)
    for number in range(count):
        writer.write(cv2.resize(FRAMES[number % len(FRAMES)], size))
    writer.release()
    return path


def test_results_are_those_of_infer_in_order():
    model, _ = fake_depth()
    with model, model.stream(iter(FRAMES), fov_frames=0) as results:
        for number, result in enumerate(results):
            want = model.infer(FRAMES[number])
            assert np.array_equal(result.depth, want.depth)
            assert result.fov_deg == want.fov_deg
            assert result.stamp.index == number
    assert results.stats.results == results.stats.read == len(FRAMES)


def test_the_field_of_view_is_fixed_to_the_median_of_the_first():
    model, stages = fake_depth()
    own = [model.infer(frame).fov_deg for frame in FRAMES]
    runs = stages.runs["fov"]
    fovs = [result.fov_deg for result in model.stream(FRAMES, fov_frames=3)]
    assert fovs == pytest.approx([np.median(own[: min(n, 3)]) for n in range(1, 7)])
    assert stages.runs["fov"] == runs + 3
    assert len(set(own)) > 1
    given = list(model.stream(FRAMES[:2], focal_px=70.0))
    assert [(result.focal_px, result.focal_source) for result in given] == [(70.0, "given")] * 2
    assert stages.runs["fov"] == runs + 3
    model.close()


def test_a_median_of_nothing_is_the_frames_own():
    median = FovMedian(2)
    assert median.value is None
    median.add(math.nan)
    assert median.wanted
    assert FovMedian(0).wanted


def test_reuse_is_counted_and_changes_no_bit():
    model, _ = fake_depth()
    frames = [FRAMES[0], FRAMES[0], FRAMES[1]]
    with model.stream(frames, reuse=0, fov_frames=0) as results:
        got = list(results)
    assert [result.encoded.tiles for result in got] == [35, 0, 35]
    assert (results.stats.tiles, results.stats.tiles_of) == (70, 105)
    for frame, result in zip(frames, got, strict=True):
        assert np.array_equal(result.depth, model.infer(frame).depth)
    model.close()


def test_stamps_are_the_sources():
    model, _ = fake_depth()
    timed = [TimedFrame(7, 12.5, FRAMES[0]), TimedFrame(9, 13.0, FRAMES[1])]
    assert [(r.stamp.index, r.stamp.time_s) for r in model.stream(timed)] == [(7, 12.5), (9, 13.0)]
    model.close()


@pytest.mark.parametrize("kind", ["fail", "crash"])
def test_a_backend_that_fails_is_opened_anew_once_and_then_told(kind):
    model, stages = fake_depth(Fault("decoder", 2, kind), self_test="never")
    with model.stream(FRAMES, reuse=0, fov_frames=0) as results:
        depths = [result.depth for result in results]
    assert results.stats.restarts == 1
    assert stages.opened["decoder"] == 2
    assert stages.closed["decoder"] == 1
    for frame, depth in zip(FRAMES, depths, strict=True):
        assert np.array_equal(depth, model.infer(frame).depth)
    model.close()

    twice, _ = fake_depth(Fault("decoder", 2, kind), Fault("decoder", 4, kind))
    results = twice.stream(FRAMES)
    got = [next(results) for _ in range(3)]  # runs 0, 1 and 3; the fourth frame's fails
    assert len(got) == 3
    with pytest.raises((StageError, RuntimeError), match="on purpose"):
        next(results)
    assert list(results) == []
    twice.close()


def test_a_backend_that_hangs_is_an_error_within_the_time_it_was_given():
    model, stages = fake_depth(Fault("decoder", 1, "hang"), timeout_s=0.5)
    model.infer(FRAMES[0])
    start = time.monotonic()
    with pytest.raises(BackendTimeoutError, match=r"0\.5 s") as caught:
        model.infer(FRAMES[1])
    assert time.monotonic() - start < 5
    assert "reopen()" in caught.value.remedy
    with pytest.raises(BackendTimeoutError, match="still"):
        model.infer(FRAMES[1])
    model.reopen()
    assert model.infer(FRAMES[1]).depth.shape == (48, 64)
    stages.release()
    model.close()


def test_a_closed_model_stays_closed():
    model, stages = fake_depth()
    results = model.stream(FRAMES * 100)
    next(results)
    model.close()
    with pytest.raises(StageError, match="the model was closed"):
        list(results)
    for call in (model.reopen, lambda: model.infer(FRAMES[0]), lambda: model.stream(FRAMES)):
        with pytest.raises(StageError, match="the model was closed"):
            call()
    assert stages.opened == stages.closed


def test_a_stream_survives_one_that_hangs():
    model, stages = fake_depth(Fault("decoder", 2, "hang"), timeout_s=1.0)
    with model.stream(FRAMES) as results:
        assert len(list(results)) == len(FRAMES)
    assert results.stats.restarts == 1
    stages.release()
    model.close()


@pytest.mark.parametrize("kind", ["crash", "hang"])
def test_stages_that_open_slowly_are_not_taken_for_a_hang(kind):
    """A stage takes longer to load than a frame may: at the first frame, and when the backend was opened anew."""
    fakes = open_fake_stages(FAKE_SPEC)

    def slowly(stage):
        if stage == "decoder":
            time.sleep(1.5)
        return fakes(stage)

    stages = FaultyStages(slowly, Fault("decoder", 2, kind))
    source = Source(spec=FAKE_SPEC, backend="fake", layout="staged", tile_batch=None, open_stage=stages, bundle=None)
    with EdgeDepth(source, timeout_s=1.0) as model, model.stream(FRAMES[:4]) as results:
        assert len(list(results)) == 4
        assert results.stats.restarts == 1
    stages.release()


def test_a_stage_that_never_opens_is_an_error(monkeypatch):
    monkeypatch.setattr(runner, "_LOADING_S", 0.2)
    stages, gate = open_fake_stages(FAKE_SPEC), threading.Event()

    def stuck(stage):
        if stage == "decoder":
            gate.wait()
        return stages(stage)

    source = Source(spec=FAKE_SPEC, backend="fake", layout="staged", tile_batch=None, open_stage=stuck, bundle=None)
    with EdgeDepth(source, timeout_s=0.2) as model, pytest.raises(BackendTimeoutError):
        model.infer(FRAMES[0])
    gate.set()


def test_a_model_that_gives_nan_is_told_and_not_restarted():
    model, _ = fake_depth(Fault("decoder", 1, "nan"))
    results = model.stream(FRAMES)
    next(results)
    with pytest.raises(UnusableOutputError):
        next(results)
    assert results.stats.restarts == 0
    model.close()


def test_a_frame_that_is_none_ends_the_stream_with_its_error():
    model, _ = fake_depth()
    results = model.stream([FRAMES[0], None])
    next(results)
    with pytest.raises(FrameError, match="None"):
        next(results)
    model.close()


def test_a_callback_that_raises_closes_the_stream_and_the_source():
    model, _ = fake_depth()
    closed = []

    def source():
        try:
            yield from FRAMES * 5
        finally:
            closed.append(True)

    def callback(result):
        raise KeyError("the caller's own")

    results = model.stream(source())
    with pytest.raises(KeyError, match="own"):
        results.for_each(callback)
    assert closed == [True]
    results.close()
    results.close()
    assert list(results) == []
    assert model.infer(FRAMES[0]).depth.shape == (48, 64)
    model.close()


def test_ctrl_c_while_waiting_stops_everything(monkeypatch):
    model, _ = fake_depth()
    results = model.stream(FRAMES * 3)
    next(results)

    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(results._pipeline, "take", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert results._pipeline.join(5)
    model.close()


@pytest.mark.parametrize("loop", ["stream", "for_each"])
def test_a_real_ctrl_c_ends_the_streams_threads(loop):
    model, _ = fake_depth()
    results = model.stream(FRAMES * 1000)
    seen = []

    def see(result):
        seen.append(result)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    def run():
        if loop == "for_each":
            results.for_each(see)
        with results:
            for result in results:
                see(result)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert not any(thread.is_alive() for thread in results._pipeline._threads)
    assert 3 <= len(seen) < 100
    results.close()
    model.close()


def test_a_stream_that_nobody_holds_stops():
    model, _ = fake_depth()
    next(model.stream(FRAMES * 100))  # the fixture that looks for threads says whether it did
    model.close()


def test_nan_in_a_float_frame_with_reuse():
    model, _ = fake_depth()
    broken = FRAMES[0].astype(np.float32) / 255
    broken[3, 4] = np.nan
    with pytest.raises(FrameError, match="NaN"):
        list(model.stream([FRAMES[0], broken], reuse=0.01))
    model.close()


def test_a_video_and_where_to_go_on(tmp_path):
    model, _ = fake_depth()
    video = write_video(tmp_path / "v.avi")
    with model.stream(video, fov_frames=0) as results:
        whole = list(results)
    assert [result.stamp.index for result in whole] == list(range(6))
    assert [result.stamp.time_s for result in whole[1:]] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5], abs=0.11)
    rest = list(model.stream(str(video), fov_frames=0, skip=4))
    assert [result.stamp.index for result in rest] == [4, 5]
    assert np.array_equal(rest[0].depth, whole[4].depth)
    model.close()


def test_a_video_with_a_broken_tail(tmp_path):
    video = write_video(tmp_path / "v.avi", 30)
    data = video.read_bytes()
    index = data.rfind(b"idx1")
    # The frames of the second half are overwritten, the index stays: what a full disk or a pulled card leaves.
    video.write_bytes(data[: index // 2] + bytes(index - index // 2) + data[index:])
    model, _ = fake_depth()
    with model.stream(video) as results:
        got = len(list(results))
    assert 0 < got < 30
    assert "of the 30 it announces" in results.stats.cut_short
    (tmp_path / "none.avi").write_bytes(b"not a video at all")
    with pytest.raises(OptionError, match="no video"):
        model.stream(tmp_path / "none.avi")
    model.close()


def test_a_folder_of_pictures(tmp_path):
    for number in (1, 0):
        cv2.imwrite(str(tmp_path / f"{number}.png"), FRAMES[number])
    model, _ = fake_depth()
    got = list(model.stream(tmp_path, fov_frames=0))
    assert len(got) == 2
    assert np.array_equal(got[1].depth, model.infer(FRAMES[1]).depth)
    model.close()


class FakeCamera:
    """What cv2.VideoCapture gives: frames, and None for those that are dropped."""

    def __init__(self, frames, opens=True):
        self.frames, self.opens, self.released = iter(frames), opens, False

    def isOpened(self):  # noqa: N802
        return self.opens

    def read(self):
        frame = next(self.frames, None)
        return frame is not None, frame

    def release(self):
        self.released = True


def camera(*captures, reconnect_s=0.0):
    left = list(captures)
    return CameraSource(
        0, color="bgr", reconnect_s=reconnect_s, open_capture=lambda _: left.pop(0) if left else FakeCamera([], False)
    )


def test_a_camera_that_never_opens():
    model, _ = fake_depth()
    with pytest.raises(DeviceError, match="camera 93 can't be opened"):
        model.stream(93)
    model.close()


def test_a_camera_that_drops_frames_goes_on():
    frames = [FRAMES[0], None, None, FRAMES[1], None, FRAMES[2]]
    source = camera(FakeCamera(frames))
    found = source.frames()
    assert [next(found).index for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DeviceError, match="gone"):
        next(found)
    assert source.facts.missed > 3


def test_a_camera_that_comes_back():
    lost, back = FakeCamera(FRAMES[:2]), FakeCamera(FRAMES[:3])
    source = camera(lost, FakeCamera([], False), back, reconnect_s=5.0)
    frames = source.frames()
    assert [next(frames).index for _ in range(4)] == [0, 1, 2, 3]
    assert source.facts.reconnects == 1
    assert lost.released
    frames.close()
    assert back.released


def test_a_size_that_changes_midway(caplog):
    model, _ = fake_depth()
    frames = [FRAMES[0], FRAMES[1][:24]]
    assert [result.depth.shape for result in model.stream(frames)] == [(48, 64), (24, 64)]
    assert "frame 1 is 64 x 24 pixels, those before were 64 x 48" in caplog.text
    with pytest.raises(FrameError, match="64 x 24"):
        list(model.stream(frames, focal_px=60.0))
    model.close()


def test_frames_older_than_a_limit_are_not_run(tmp_path):
    model, _ = fake_depth()
    source = camera(FakeCamera(FRAMES[:3]))
    from edgedepth.frame_steps import Ask
    from edgedepth.stream_steps import StreamSteps
    from edgedepth.streams.options import StreamOptions

    options = StreamOptions(max_age_s=1.0)
    steps = StreamSteps(model._steps, Ask(), options, reopen=model.reopen)
    frames = [TimedFrame(0, time.time() - 60, FRAMES[0]), TimedFrame(1, time.time(), FRAMES[1])]
    ran = [steps.run(steps.prepare(frame)) for frame in frames]
    assert steps.too_old == 1
    assert steps.finish(ran[1]).stamp.index == 1
    source.frames()
    # A generator around a camera's own library stamps its frames, or has them stamped as they come.
    with model.stream(iter(frames), max_age_s=1.0) as results:
        assert [result.stamp.index for result in results] == [1]
    assert results.stats.too_old == 1
    with pytest.raises(OptionError, match="tell when they were taken"):
        model.stream(write_video(tmp_path / "v.avi"), max_age_s=1.0)
    model.close()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (None, "None"),
        (FRAMES[0], "one frame"),
        (3.5, "float"),
        ("nowhere.mp4", "no source nowhere.mp4"),
        (True, "True"),
        (-1, "camera -1 is none"),
        (1 << 40, "allowed are 0 and more"),
        ("²", "no source ²"),
    ],
)
def test_what_is_no_source(source, said):
    model, _ = fake_depth()
    with pytest.raises(OptionError, match=said):
        model.stream(source)
    model.close()


@pytest.mark.parametrize(
    "options",
    [{"drop": "newest"}, {"fov_frames": -1}, {"max_age_s": -2}, {"restarts": True}, {"reuse": 3}, {"skip": 1},
     {"undistort": True}, {"caption": "a room"}, {"focal_px": -3}, {"focal_px": math.nan}, {"focal_px": "60"},
     {"camera": "camera.yaml"}, {"reconnect_s": None}],
)  # fmt: skip
def test_options_that_cannot_be_met(options):
    model, _ = fake_depth()
    with pytest.raises(OptionError):
        model.stream(FRAMES, **options)
    model.close()


def test_a_pipeline_without_gstreamer():
    if built_with("GStreamer"):
        pytest.skip("this OpenCV has GStreamer")
    model, _ = fake_depth()
    with pytest.raises(UnsupportedError, match="without GStreamer"):
        model.stream("videotestsrc ! appsink")
    model.close()


def test_a_camera_whose_frames_are_squashed_and_undistorted():
    model, _ = fake_depth()
    camera = Intrinsics(fx=80.0, fy=60.0, cx=30.0, cy=20.0, width=128, height=96, model="plumb_bob",
                        distortion=(0.1, 0.0, 0.0, 0.0))  # fmt: skip
    (result,) = model.stream(FRAMES[:1], camera=camera, undistort=True)
    assert result.focal_px == 40.0
    assert not result.camera.distorts
    points = result.points()
    assert points[10, 20, 0] == pytest.approx((20 - result.camera.cx) / 40.0 * result.depth[10, 20], rel=1e-5)
    assert points[10, 20, 1] == pytest.approx((10 - result.camera.cy) / 30.0 * result.depth[10, 20], rel=1e-5)
    model.close()


def test_thresholds_may_be_whole_policies():
    model, _ = fake_depth()
    noisy = [np.clip(FRAMES[0].astype(int) + step, 0, 255).astype(np.uint8) for step in (0, 1, 0)]
    with model.stream(noisy, reuse=ReusePolicy(threshold=0.05, refresh=0)) as results:
        assert [result.encoded.tiles for result in results] == [35, 0, 0]
    model.close()
