"""edgedepth infer on videos: what it writes, what it says, and where it goes on."""

from __future__ import annotations

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgedepth.cli import infer_stream
from edgedepth.core.errors import OutputError
from edgedepth.fake_model import fake_depth
from edgedepth.streams import capture
from edgedepth.streams.folder_to_video import write_depth_videos
from edgedepth.streams.frame_folder import FrameFolder
from edgedepth.streams.writers import can_write_gray16, read_depth_video

from .conftest import Cli


@pytest.fixture
def video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten frames of 64 x 48 in which a square moves; the model is the shipped fake one."""
    monkeypatch.setattr(infer_stream, "open_runner", lambda _: fake_depth(color="rgb")[0])
    base = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter.fourcc(*"FFV1"), 10, (64, 48))
    for number in range(10):
        frame = base.copy()
        frame[2:6, 2 + number : 6 + number] = 255
        writer.write(frame)
    writer.release()
    return tmp_path / "v.avi"


def test_a_video_becomes_millimetres_without_loss(cli: Cli, video: Path, tmp_path: Path) -> None:
    if not can_write_gray16():
        pytest.skip("this OpenCV writes no 16-bit FFV1")
    out = tmp_path / "depth.mkv"
    done = cli("infer", video, "--out", out, "--reuse", "0.01", "--json")
    assert done.code == 0, done.err
    facts = done.json
    assert facts["frames"] == 10
    assert 35 <= facts["tiles"] < facts["tiles_of"] == 350
    assert facts["against_fresh"]["abs_rel"] < 0.01
    assert facts["against_fresh"]["speed_up"] > 0
    assert facts["files"] == [str(out), str(tmp_path / "depth_color.mp4")]
    depth = read_depth_video(out)
    assert depth.shape == (10, 48, 64)
    model, _ = fake_depth()
    capture = cv2.VideoCapture(str(video))
    want = [np.rint(result.depth * 1000) for result in model.stream([capture.read()[1] for _ in range(10)], reuse=0.01)]
    assert np.array_equal(depth, np.array(want, np.uint16))
    color = cv2.VideoCapture(str(tmp_path / "depth_color.mp4"))
    assert int(color.get(cv2.CAP_PROP_FRAME_COUNT)) == 10
    model.close()


def test_what_it_says(cli: Cli, video: Path, tmp_path: Path) -> None:
    done = cli("infer", video, "--out", tmp_path / "depth", "--reuse", "0.01")
    assert done.code == 0, done.err
    for said in ("10 frames", "encoded tiles: ", " of 350 (", "speed-up: ", "error: AbsRel"):
        assert said in done.out
    assert len(list((tmp_path / "depth").glob("*.png"))) == 10


def test_it_goes_on_where_it_was_cut_off(cli: Cli, video: Path, tmp_path: Path) -> None:
    out = tmp_path / "depth"
    assert cli("infer", video, "--out", out, "--frames", "7").code == 0
    whole = (out / "000003.png").stat().st_mtime_ns
    log = out / "frames.jsonl"
    log.write_text(log.read_text() + '{"index": 7, "time')  # cut off while it was writing
    done = cli("infer", video, "--out", out)
    assert done.code == 0, done.err
    assert "going on after 7 frames" in done.err
    assert (out / "000003.png").stat().st_mtime_ns == whole
    lines = [json.loads(line) for line in log.read_text().splitlines()[1:]]
    assert [line["index"] for line in lines] == list(range(10))
    assert len({line["focal_px"] for line in lines[5:]}) == 1  # the median stays what it was
    other = cli("infer", video, "--out", out, "--reuse", "0.5")
    assert other.code == 2
    assert "another source, model or set of options" in other.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["v.avi", "photo.jpg"], "comes alone"),
        (["v.avi", "--frames", "0"], "--frames is 0"),
        (["v.avi", "--npy"], "for pictures"),
        (["v.avi", "--out", "x.mp4"], "neither a .mkv nor a folder"),
        (["none.mp4"], "no source none.mp4"),
        (["v.avi", "--reuse", "2"], "reuse is 2"),
        (["v.avi", "--camera", "none.json"], "can't be read"),
        (["v.avi", "--points", "ply"], "are for pictures"),
        (["v.avi", "--undistort"], "--undistort needs"),
        (["v.avi", "--near-m", "3", "--far-m", "2"], "near_m must be smaller"),
        (["photo.jpg", "--reuse", "0.1"], "--reuse is for videos"),
    ],
)
def test_mistakes(
    cli: Cli, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("infer", *words)
    assert done.code == 2
    assert said in done.err


def test_a_camera_that_is_stopped_still_writes_its_video(
    cli: Cli, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Camera:
        """Ten frames, and then the user presses Ctrl-C."""

        def __init__(self, _: object) -> None:
            self.left = 10

        def isOpened(self) -> bool:  # noqa: N802  (OpenCV's name)
            return True

        def release(self) -> None:
            pass

        def read(self) -> tuple[bool, np.ndarray]:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            time.sleep(0.02)
            return True, np.full((48, 64, 3), 10 * self.left, np.uint8)

    monkeypatch.setattr(capture, "_open_with_opencv", Camera)
    done = cli("infer", "0", "--out", tmp_path / "depth.mkv", "--near-m", "1", "--far-m", "4")
    assert done.code == 0, done.err
    assert "stopped after" in done.err
    assert "] frame" not in done.err  # a line for every 30
    frames = len(read_depth_video(tmp_path / "depth.mkv"))
    assert f"{frames} frames" in done.out
    fps = cv2.VideoCapture(str(tmp_path / "depth.mkv")).get(cv2.CAP_PROP_FPS)
    assert 1 < fps <= 50  # as they came, 20 ms apart or more


def test_a_camera_that_changes_its_size(tmp_path: Path) -> None:
    about = {"source": "a test"}
    model, _ = fake_depth()
    for name in ("kept", "made"):
        folder = FrameFolder(tmp_path / name, about)
        with model.stream([np.zeros((48, 64, 3), np.uint8), np.zeros((64, 48, 3), np.uint8)]) as results:
            for result in results:
                folder.add(result)
        options = {"fps": 10.0, "near_m": None, "far_m": 2.0, "trained": True}
        if name == "kept":
            written = write_depth_videos(folder, None, **options)
            assert [Path(path).name for path in written] == ["kept", "depth_color.mp4"]
        else:
            with pytest.raises(OutputError, match="48 x 64 pixels, the video 64 x 48"):
                write_depth_videos(folder, tmp_path / "made.mkv", **options)
            assert len(list((tmp_path / "made").glob("*.png"))) == 2
            assert not list(tmp_path.glob("*.mkv")) + list(tmp_path.glob(".*.mkv")) + list(tmp_path.glob("*.mp4"))
    model.close()


def test_what_holds_no_frame_yet_keeps_nobody_out(tmp_path: Path) -> None:
    FrameFolder(tmp_path / "depth", {"source": "a camera that never opened"})
    assert FrameFolder(tmp_path / "depth", {"source": "another"}).records == []


def test_too_few_frames_for_the_median_are_run_again(cli: Cli, video: Path, tmp_path: Path) -> None:
    assert cli("infer", video, "--out", tmp_path / "depth", "--frames", "3").code == 0
    whole, gone_on = tmp_path / "whole", tmp_path / "depth"
    assert cli("infer", video, "--out", whole).code == 0
    done = cli("infer", video, "--out", gone_on)
    assert done.code == 0, done.err
    assert "going on" not in done.err
    for picture in sorted(whole.glob("*.png")):
        assert (gone_on / picture.name).read_bytes() == picture.read_bytes()
