"""Ctrl-C and SIGTERM, sent to a running `edgedepth infer video`: it ends cleanly, and goes on where it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgedepth.streams.writers import can_write_gray16, read_depth_video

from .conftest import Cli, draw_video

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
WHOLE = 9


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_midway(cli: Cli, mini_bundle: Path, tmp_path: Path, sent: signal.Signals, code: int) -> None:
    if not can_write_gray16():
        pytest.skip("this OpenCV writes no 16-bit FFV1")
    video = draw_video(tmp_path / "v.mp4", WHOLE)
    words = ["infer", str(video), "--bundle", str(mini_bundle), "--out"]
    stopped = tmp_path / "stopped.mkv"
    process = subprocess.Popen(
        [sys.executable, "-m", "edgedepth", *words, str(stopped)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    while "frame 6" not in said:  # the field of view is fixed after five
        line = process.stderr.readline()
        assert line, said
        said += line
    process.send_signal(sent)
    said += process.communicate(timeout=60)[1]
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert "the same command goes on there" in said
    assert "edgedepth: interrupted" in said
    assert not stopped.exists()
    lines = [
        json.loads(line) for line in (tmp_path / "stopped.mkv.frames" / "frames.jsonl").read_text().splitlines()[1:]
    ]
    assert 6 <= len(lines) < WHOLE

    if sent == signal.SIGTERM:
        return  # it goes on alike
    gone_on = cli(*words, stopped)
    assert gone_on.code == 0, gone_on.err
    assert f"going on after {len(lines)} frames" in gone_on.err
    at_once = cli(*words, tmp_path / "whole.mkv")
    assert at_once.code == 0, at_once.err
    assert (read_depth_video(stopped) == read_depth_video(tmp_path / "whole.mkv")).all()
