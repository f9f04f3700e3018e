"""Network cameras and GStreamer pipelines that are real: they need programs of the system, and are skipped without.

On Debian: apt install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good python3-gi python3-opencv
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edgedepth
from edgedepth.fake_model import fake_depth
from edgedepth.streams import capture

SERVER = Path(__file__).with_name("rtsp_server.py")
PROBE = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
PIPELINES = "import sys; from edgedepth.streams.capture import built_with; sys.exit(not built_with('GStreamer'))"
REPOSITORY = Path(edgedepth.__file__).parents[1]


def python_that(can: str) -> str | None:
    """This Python, or the system's: bindings of GStreamer come with distributions and not from PyPI."""
    for name in (sys.executable, shutil.which("python3", path="/usr/bin")):
        if name and run(name, can).returncode == 0:
            return name
    return None


def run(python: str, script: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": paths}
    return subprocess.run([python, "-c", script], check=False, capture_output=True, text=True, timeout=120, env=env)


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Server:
    """Started and killed, as cameras are."""

    def __init__(self, python: str) -> None:
        self.python = python
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([self.python, str(SERVER), str(self.port)], stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def server() -> Iterator[Server]:
    python = python_that(PROBE)
    if python is None:
        pytest.skip("no GStreamer RTSP server here")
    if not capture.built_with("FFMPEG"):
        pytest.skip("this OpenCV reads no URLs")
    server = Server(python)
    yield server
    server.kill()


@pytest.mark.parametrize("loss", ["killed", "silent"])
def test_a_network_camera_that_is_lost_and_comes_back(server, loss, monkeypatch, caplog):
    monkeypatch.setattr(capture, "_READ_TIMEOUT_MS", 2000)
    model, _ = fake_depth()
    with model, model.stream(f"rtsp://127.0.0.1:{server.port}/camera", reconnect_s=60.0) as results:
        first = [next(results) for _ in range(3)]
        if loss == "killed":
            server.kill()
        else:
            server.process.send_signal(signal.SIGSTOP)  # its connections stay open, and nothing comes
        wait_until(lambda: "gives no frames; waiting 60 s" in caplog.text)
        if loss == "killed":
            server.start()
        else:
            server.process.send_signal(signal.SIGCONT)
        while results.stats.reconnects == 0:
            last = next(results)
        last = next(results)
    assert first[0].depth.shape == last.depth.shape == (120, 160)
    assert last.stamp.index > first[-1].stamp.index
    assert last.stamp.time_s > first[-1].stamp.time_s
    assert results.stats.restarts == 0
    assert "is back" in caplog.text


REFUSED = """
from edgedepth.core.errors import EdgeDepthError
from edgedepth.fake_model import fake_depth
model, _ = fake_depth()
try:
    next(model.stream("rtsp://127.0.0.1:9/camera"))
except EdgeDepthError as error:
    print(error)
"""


def test_ffmpegs_own_lines_are_not_told() -> None:
    """In a process of its own: FFmpeg takes its level from the first capture that a process opens."""
    if not capture.built_with("FFMPEG"):
        pytest.skip("this OpenCV reads no URLs")
    done = run(sys.executable, REFUSED)
    assert done.returncode == 0, done.stderr
    assert "rtsp://127.0.0.1:9/camera" in done.stdout
    assert "Connection refused" not in done.stderr


PIPELINE = """
import logging
from edgedepth.fake_model import fake_depth
model, _ = fake_depth()
picture = "video/x-raw,width=160,height=120,framerate=20/1"
pipeline = f"videotestsrc is-live=true num-buffers=5 ! {picture} ! videoconvert ! video/x-raw,format=BGR ! appsink"
with model, model.stream(pipeline, drop="none") as results:
    depths = [next(results).depth for _ in range(7)]
assert results.stats.reconnects >= 1, results.stats  # it ends after 5 frames, and is started again; some are read ahead
assert {depth.shape for depth in depths} == {(120, 160)}
try:
    fake_depth()[0].stream("nosuchelement ! appsink")
except Exception as error:
    assert type(error).__name__ == "DeviceError", error
print("ran")
"""


def test_a_gstreamer_pipeline():
    python = python_that(PIPELINES)
    if python is None:
        pytest.skip("no OpenCV with GStreamer here")
    done = run(python, PIPELINE)
    assert done.stdout == "ran\n", done.stderr
