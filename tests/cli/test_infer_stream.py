"""edgedepth infer on videos: what it writes, what it says, and where it goes on."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgedepth import EdgeDepth
from edgedepth.cli import infer_stream
from edgedepth.core.errors import OutputError
from edgedepth.fake_model import FAKE_SPEC, fake_depth
from edgedepth.models.depth_pro_config import DEPTH_PRO_MINI, decoder_window_stages
from edgedepth.programs.fake_session import open_fake_stages
from edgedepth.sources import Source
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
    assert "degrees), predicted: the median of the first 5 frames" in done.out
    assert "decoder windows" not in done.out  # the fake has none
    assert len(list((tmp_path / "depth").glob("*.png"))) == 10


def test_it_counts_the_decoders_windows(cli: Cli, video: Path, tmp_path: Path) -> None:
    windows = decoder_window_stages(replace(DEPTH_PRO_MINI, width=6, decoder_width=8))
    spec = replace(FAKE_SPEC, stages=(*FAKE_SPEC.stages, *windows))
    opened = open_fake_stages(spec)
    source = Source(spec=spec, backend="fake", layout="staged", tile_batch=None, open_stage=opened, bundle=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(infer_stream, "open_runner", lambda _: EdgeDepth(source, color="rgb"))
        done = cli("infer", video, "--out", tmp_path / "depth", "--reuse", "0.01", "--json")
        assert done.code == 0, done.err
        again = cli("infer", video, "--out", tmp_path / "depth", "--reuse", "0.01")  # of the journal alone
    facts = done.json
    with EdgeDepth(source, color="rgb") as model, model.stream(video, reuse=0.01) as results:
        encoded = [result.encoded for result in results]
        assert results.stats.windows == sum(frame.windows for frame in encoded)
    assert facts["windows"] == sum(frame.windows for frame in encoded)
    assert facts["windows_a_frame"] == encoded[0].windows_of == 25
    ran = [frame.stages for frame in encoded]
    assert facts["decoder"] == {
        "whole": sum("decoder" in stages for stages in ran),
        "windows": sum("decoder_window" in stages for stages in ran),
        "none": sum(not {"decoder", "decoder_window"} & set(stages) for stages in ran),
    }
    assert facts["decoder"]["windows"] > 0
    of = 25 * facts["decoder"]["windows"]
    assert f"decoder windows: {facts['windows']} of {of} (" in again.out


def test_a_video_that_is_longer_than_it_announces(cli: Cli, video: Path, tmp_path: Path) -> None:
    """Containers tell an estimate, where frames come at no even pace: here 5 of the 10, and no index."""
    content = bytearray(video.read_bytes())
    for header, place in ((b"strh", 8 + 32), (b"avih", 8 + 16)):  # AVI's dwLength and dwTotalFrames
        at = content.find(header) + place
        content[at : at + 4] = (5).to_bytes(4, "little")
    (tmp_path / "long.avi").write_bytes(content[: content.find(b"idx1")])
    assert cv2.VideoCapture(str(tmp_path / "long.avi")).get(cv2.CAP_PROP_FRAME_COUNT) == 5
    done = cli("infer", tmp_path / "long.avi", "--out", tmp_path / "depth", "--json")
    assert done.code == 0, done.err
    assert done.json["frames"] == 10
    assert cli("infer", tmp_path / "long.avi", "--out", tmp_path / "depth", "--json").json["frames"] == 10


def test_a_broken_tail_is_told(cli: Cli, video: Path, tmp_path: Path) -> None:
    content = video.read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    done = cli("infer", tmp_path / "cut.avi", "--out", tmp_path / "depth", "--json")
    assert done.code == 0, done.err
    assert 0 < done.json["frames"] < 10
    assert "of the 10 it announces" in done.json["cut_short"]
    assert "of the 10 it announces" in done.err


def test_depth_beyond_the_png_has_no_error(
    cli: Cli, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(infer_stream, "PNG16_MAX_M", 0.0)
    done = cli("infer", video, "--out", tmp_path / "far", "--reuse", "0", "--json")
    assert done.code == 0, done.err
    assert done.json["against_fresh"]["abs_rel"] is None
    assert "error: not measured" in cli("infer", video, "--out", tmp_path / "far", "--reuse", "0").out


def test_what_gave_no_frame_leaves_nothing(cli: Cli, video: Path, tmp_path: Path) -> None:
    for words in (["93"], [video, "--focal-px", "-3"], [video, "--reuse", "7"]):
        assert cli("infer", *words, "--out", tmp_path / "none.mkv").code == 2
        assert cli("infer", *words, "--out", tmp_path / "none").code == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [video.name]


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
        (["v.avi", "--focal-px", "-3"], "focal_px is -3"),
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
