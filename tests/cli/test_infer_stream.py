"""edgedepth infer on videos: what it writes, what it says, and where it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgedepth.cli import infer_stream
from edgedepth.fake_model import fake_depth
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
