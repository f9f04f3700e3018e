"""The node under a live ROS 2: what is published comes back as depth, camera and points, bit by bit infer()'s.

Where ROS isn't sourced, its wheels will do, of Python 3.11 on Linux:
pip install "ros-kilted-rclpy[fastrtps]" ros-sensor-msgs
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedepth import EdgeDepth
from edgedepth.cameras.intrinsics import Intrinsics

rclpy = pytest.importorskip("rclpy", reason="no ROS 2 here: source its setup.bash, or install its wheels")
messages = pytest.importorskip("sensor_msgs.msg", reason="no ROS 2 messages here")

pytestmark = pytest.mark.filterwarnings("ignore")  # ROS's own, of Python modules that it still imports

PATIENCE_S = 60.0
"""Discovery takes a second, and a busy machine many more."""

RGB = np.random.default_rng(3).integers(0, 255, (48, 64, 3), np.uint8)
CAMERA = Intrinsics(fx=60.0, fy=55.0, cx=31.0, cy=24.0, width=64, height=48)


class Robot:
    """A node that publishes a camera and listens to the depth."""

    def __init__(self) -> None:
        self.node = rclpy.create_node("robot")
        self.seen: dict[str, list[Any]] = {"depth": [], "depth/camera_info": [], "points": []}
        kinds = {"depth": messages.Image, "depth/camera_info": messages.CameraInfo, "points": messages.PointCloud2}
        for topic, kind in kinds.items():
            self.node.create_subscription(kind, topic, self.seen[topic].append, 10)
        self.image = self.node.create_publisher(messages.Image, "image", 1)
        self.info = self.node.create_publisher(messages.CameraInfo, "camera_info", 1)

    def spin_until(self, done: Callable[[], Any], tick: Callable[[], Any] = lambda: None) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, "nothing came"
            tick()
            rclpy.spin_once(self.node, timeout_sec=0.2)

    def publish(self, seconds: int, encoding: str = "rgb8") -> None:
        image = messages.Image(height=48, width=64, encoding=encoding, step=64 * 3, data=RGB.tobytes())
        image.header.stamp.sec, image.header.frame_id = seconds, "camera"
        self.image.publish(image)

    def publish_camera(self) -> None:
        self.info.publish(messages.CameraInfo(height=48, width=64, distortion_model="plumb_bob", d=[0.0] * 5,
                                              k=CAMERA.matrix.ravel().tolist()))  # fmt: skip


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else's topics."""
    monkeypatch.setenv("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


@pytest.fixture
def robot(domain: None) -> Iterator[Robot]:
    rclpy.init()
    robot = Robot()
    yield robot
    robot.node.destroy_node()
    rclpy.shutdown()


@pytest.fixture
def node(domain: None, mini_bundle: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = ["-m", "edgedepth.ros", "--ros-args", "-p", f"bundle:={mini_bundle}", "-p", "reuse:=0.0"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *words], stdout=log, stderr=log)
        yield process
        process.kill()
        process.wait()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_camera_becomes_depth_under_a_live_ros(
    robot: Robot, node: subprocess.Popen[bytes], mini_bundle: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    log = tmp_path / "log"
    robot.spin_until(lambda: robot.image.get_subscription_count() and robot.info.get_subscription_count())
    robot.publish(1, encoding="tiff")
    robot.spin_until(lambda: b"tiff" in log.read_bytes(), lambda: robot.publish(1, encoding="tiff"))
    assert not robot.seen["depth"]

    robot.publish_camera()
    time.sleep(0.5)
    # Best effort may lose one: they are sent until one comes back.
    sent = iter(range(7, 10_000))
    robot.spin_until(lambda: all(robot.seen.values()), lambda: robot.publish(next(sent)))
    with EdgeDepth(mini_bundle, color="rgb", self_test="never") as model:
        want = model.infer(RGB, camera=CAMERA)
    (depth, info, points) = (robot.seen[topic][0] for topic in ("depth", "depth/camera_info", "points"))
    assert (depth.encoding, depth.height, depth.width, depth.step) == ("32FC1", 48, 64, 4 * 64)
    assert np.array_equal(np.frombuffer(bytes(depth.data), np.float32).reshape(48, 64), want.depth)
    assert depth.header.frame_id == info.header.frame_id == points.header.frame_id == "camera"
    assert depth.header.stamp.sec >= 7
    assert np.allclose(info.k, CAMERA.matrix.ravel())
    assert (points.height, points.width) == (48, 64)
    rows = np.frombuffer(bytes(points.data), np.uint8).reshape(48 * 64, points.point_step)
    xyz = rows[:, :12].copy().view(np.float32).reshape(48, 64, 3)
    near = want.depth <= 100  # far_m
    assert np.array_equal(xyz[near], want.points()[near])

    node.send_signal(stop)
    assert node.wait(PATIENCE_S) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
