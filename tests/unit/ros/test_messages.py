"""ROS messages without ROS, byte by byte: against CDR written out by hand, and against rosbags' own definitions."""

from __future__ import annotations

import math
import shlex
import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

import edgedepth.ros
from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.cameras.points import make_points
from edgedepth.cameras.undistort import Undistorter
from edgedepth.core.errors import FrameError, IntrinsicsError, OptionError, StageError
from edgedepth.fake_model import fake_depth
from edgedepth.programs.faulty_session import Fault
from edgedepth.ros import messages as ros
from edgedepth.ros.node import DepthNode
from edgedepth.ros.settings import DepthWork, NodeSettings

RNG = np.random.default_rng(11)
FRAMES = [RNG.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(6)]


CAMERA = Intrinsics(fx=8.0, fy=7.0, cx=2.0, cy=1.0, width=5, height=3, model="plumb_bob",
                    distortion=(0.1, 0.2, 0.0, 0.0, 0.3))  # fmt: skip
DEPTH = np.arange(1, 16, dtype=np.float32).reshape(3, 5)
HEADER = ros.header_fields(1_700_000_000_123_456_789, "camera")


class Cdr:
    """OMG CDR, little endian, version 1: each value at a multiple of its size, counted after the 4-byte header."""

    def __init__(self) -> None:
        self.data = b""

    def put(self, kind: str, *values) -> Cdr:
        size = struct.calcsize(kind)
        for value in values:
            self.data += bytes(-len(self.data) % size) + struct.pack("<" + kind, value)
        return self

    def text(self, value: str) -> Cdr:
        raw = value.encode() + b"\0"
        self.put("I", len(raw)).data += raw
        return self

    def octets(self, value: bytes) -> Cdr:
        self.put("I", len(value)).data += value
        return self

    def header(self) -> Cdr:
        return self.put("i", 1_700_000_000).put("I", 123_456_789).text("camera")

    def __bytes__(self) -> bytes:
        return b"\0\1\0\0" + self.data


def image_bytes(metres: np.ndarray) -> bytes:
    return bytes(Cdr().header().put("I", 3, 5).text("32FC1").put("B", 0).put("I", 20).octets(metres.tobytes()))


def info_bytes() -> bytes:
    cdr = Cdr().header().put("I", 3, 5).text("plumb_bob").put("I", 5).put("d", 0.1, 0.2, 0, 0, 0.3)
    cdr.put("d", 8, 0, 2, 0, 7, 1, 0, 0, 1).put("d", 1, 0, 0, 0, 1, 0, 0, 0, 1)
    cdr.put("d", 8, 0, 2, 0, 0, 7, 1, 0, 0, 0, 1, 0).put("I", 0, 0).put("I", 0, 0, 0, 0).put("?", False)
    return bytes(cdr)


def cloud_bytes(points: np.ndarray, rgb: np.ndarray) -> bytes:
    cdr = Cdr().header().put("I", 3, 5).put("I", 4)
    for number, name in enumerate(("x", "y", "z", "rgb")):
        cdr.text(name).put("I", 4 * number).put("B", 7).put("I", 1)
    body = b""
    for (x, y, z), (red, green, blue) in zip(points.reshape(-1, 3), rgb.reshape(-1, 3), strict=True):
        body += struct.pack("<fffI", x, y, z, int(red) << 16 | int(green) << 8 | int(blue))
    return bytes(cdr.put("?", False).put("I", 16, 80).octets(body).put("?", True))


@pytest.fixture(scope="module")
def store():
    pytest.importorskip("rosbags", reason="rosbags, which has ROS's message definitions, is not installed")
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_HUMBLE)


def encode(store, kind: str, fields: dict) -> bytes:
    """As rosbags writes it by the message's definition."""

    def make(kind: str, fields: dict):
        definition = dict(store.fielddefs[kind][1])
        values = {}
        for name, value in fields.items():
            if isinstance(value, dict):
                values[name] = make(definition[name][1], value)
            elif isinstance(value, list):
                values[name] = [make(definition[name][1][0][1], item) for item in value]
            else:
                values[name] = value
        return store.types[kind](**values)

    return bytes(store.serialize_cdr(make(kind, fields), kind))


def test_depth(store):
    assert encode(store, "sensor_msgs/msg/Image", ros.depth_image_fields(HEADER, DEPTH)) == image_bytes(DEPTH)


def test_depth_without_data_is_nan_by_rep_118():
    depth = DEPTH.copy()
    depth[0, 0] = 0
    data = ros.depth_image_fields(HEADER, depth)["data"].view(np.float32)
    assert np.isnan(data[0])
    assert data[1] == 2


def test_camera_info(store):
    assert encode(store, "sensor_msgs/msg/CameraInfo", ros.camera_info_fields(HEADER, CAMERA)) == info_bytes()


def test_points(store):
    rgb = np.random.default_rng(1).integers(0, 255, (3, 5, 3), np.uint8)
    cloud = make_points(DEPTH, CAMERA, rgb)
    got = encode(store, "sensor_msgs/msg/PointCloud2", ros.point_cloud2_fields(HEADER, cloud))
    assert got == cloud_bytes(cloud.points, rgb)
    holed = ros.point_cloud2_fields(HEADER, make_points(DEPTH, CAMERA, far_m=5))
    assert (holed["is_dense"], holed["point_step"], len(holed["fields"])) == (False, 12, 3)


def test_a_planted_fault_shows(store):
    """Rows for columns would pass a test of lengths."""
    fields = ros.depth_image_fields(HEADER, DEPTH) | {"height": 5, "width": 3}
    assert encode(store, "sensor_msgs/msg/Image", fields) != image_bytes(DEPTH)


def test_a_camera_info_comes_back():
    fields = ros.camera_info_fields(HEADER, CAMERA)
    back = ros.intrinsics_of(SimpleNamespace(**fields | {"roi": SimpleNamespace(**fields["roi"])}))
    assert (back.matrix == CAMERA.matrix).all()
    assert (back.model, back.distortion, back.width, back.height) == ("plumb_bob", CAMERA.distortion, 5, 3)
    roi = SimpleNamespace(x_offset=100, y_offset=50, width=200, height=100)
    binned = SimpleNamespace(k=[500, 0, 319.5, 0, 500, 239.5, 0, 0, 1], d=[], distortion_model="", width=640,
                             height=480, binning_x=2, binning_y=2, roi=roi)  # fmt: skip
    assert ros.intrinsics_of(binned).fx == 250
    assert ros.intrinsics_of(binned).width == 100
    binned.k = [0.0] * 9
    assert ros.intrinsics_of(binned) is None
    binned.k, binned.distortion_model, binned.d = [500, 0, 319.5, 0, 500, 239.5, 0, 0, 1], "odd", [1.0]
    with pytest.raises(IntrinsicsError, match="'odd'"):
        ros.intrinsics_of(binned)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
def test_images_of_every_encoding(encoding):
    rgb = np.random.default_rng(2).integers(0, 255, (4, 6, 3), np.uint8)
    made = {"rgb8": rgb, "bgr8": rgb[..., ::-1], "rgba8": np.dstack([rgb, rgb[..., 0]]),
            "bgra8": np.dstack([rgb[..., ::-1], rgb[..., 0]]), "mono8": rgb[..., :1]}[encoding]  # fmt: skip
    rows = np.zeros((4, made.shape[2] * 6 + 3), np.uint8)  # rows are padded
    rows[:, :-3] = made.reshape(4, -1)
    message = SimpleNamespace(encoding=encoding, height=4, width=6, step=rows.shape[1], data=rows.tobytes())
    want = np.repeat(rgb[..., :1], 3, axis=2) if encoding == "mono8" else rgb
    assert np.array_equal(ros.image_to_rgb(message), want)
    message.data = message.data[:-1]
    with pytest.raises(FrameError, match="bytes"):
        ros.image_to_rgb(message)
    message.encoding = "bayer_rggb8"
    with pytest.raises(FrameError, match="bayer_rggb8"):
        ros.image_to_rgb(message)


def test_compressed_images():
    rgb = np.random.default_rng(2).integers(0, 255, (4, 6, 3), np.uint8)
    data = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    assert np.array_equal(ros.compressed_to_rgb(SimpleNamespace(data=data)), rgb)
    for broken in (b"", data[:20]):
        with pytest.raises(FrameError, match="decoded"):
            ros.compressed_to_rgb(SimpleNamespace(data=broken))


def test_fields_are_put_into_messages():
    from array import array

    message = SimpleNamespace(
        header=SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0), frame_id=""),
        height=0, width=0, encoding="", is_bigendian=0, step=0, data=array("B"),
    )  # fmt: skip
    ros.fill(message, ros.depth_image_fields(HEADER, DEPTH))
    assert message.header.stamp.nanosec == 123_456_789
    assert message.data.tobytes() == DEPTH.tobytes()
    cloud = SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(), frame_id=""), fields=[], data=array("B"))
    ros.fill(cloud, ros.point_cloud2_fields(HEADER, make_points(DEPTH, CAMERA)), {"fields": SimpleNamespace})
    assert [field.name for field in cloud.fields] == ["x", "y", "z"]


def test_the_nodes_work():
    model, stages = fake_depth(color="rgb")
    work = DepthWork(model, NodeSettings(reuse=0.0, fov_frames=2))
    camera = Intrinsics(fx=60.0, fy=60.0, cx=31.5, cy=23.5, width=64, height=48)
    result, used, cloud = work.infer(FRAMES[0], camera)
    assert used.fx == result.focal_px == 60.0
    assert np.array_equal(cloud.colors, FRAMES[0])
    assert stages.runs["fov"] == 0
    fovs = [work.infer(frame, None)[0].fov_deg for frame in FRAMES[:4]]
    assert stages.runs["fov"] == 2
    assert fovs[2:] == pytest.approx([np.median(fovs[:2])] * 2)
    assert DepthWork(model, NodeSettings(points=False)).infer(FRAMES[0], camera)[2] is None
    slow = DepthWork(model, NodeSettings(rate_hz=0.01))
    assert [slow.is_due(), slow.is_due()] == [True, False]
    model.close()


def test_the_nodes_backend_is_opened_anew_once():
    frame, camera = FRAMES[0], Intrinsics(fx=60.0, fy=60.0, cx=31.5, cy=23.5, width=64, height=48)
    model, stages = fake_depth(Fault("decoder", 1, "crash"), Fault("decoder", 4, "fail"), color="rgb")
    work = DepthWork(model, NodeSettings(points=False))
    for _ in range(3):
        work.infer(frame, camera)
    assert work.restarts == 1
    with pytest.raises(StageError, match="on purpose"):
        work.infer(frame, camera)
    with pytest.raises(FrameError):  # a frame's own fault opens nothing
        work.infer(frame[:4], camera)
    assert work.restarts == 1
    assert stages.opened["decoder"] == 2
    model.close()


def test_a_mistake_in_a_frame_is_logged_and_a_broken_backend_ends_the_node():
    node, told = FakeNode({"points": False}), []
    node.get_logger = lambda: SimpleNamespace(error=told.append)
    model, _ = fake_depth(*(Fault("decoder", run, "fail") for run in range(9)), color="rgb")
    messages = SimpleNamespace(Image=SimpleNamespace, CameraInfo=SimpleNamespace, PointCloud2=SimpleNamespace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NodeSettings, "open", lambda _: model)
        depth = DepthNode(node, messages, None)
    image = SimpleNamespace(height=48, width=64, step=192, encoding="tiff", data=FRAMES[0].tobytes(), is_bigendian=0)
    depth._on_image(image)
    assert "'tiff'" in told[0]
    image.encoding = "rgb8"
    with pytest.raises(StageError, match="on purpose"):
        depth._on_image(image)
    model.close()


class FakeNode:
    """What DepthNode asks of an rclpy node."""

    def __init__(self, parameters):
        self.parameters = parameters

    def declare_parameters(self, _, pairs):
        self.parameters = {**dict(pairs), **self.parameters}

    def get_parameter(self, name):
        return SimpleNamespace(value=self.parameters[name])

    def create_publisher(self, *_):
        return SimpleNamespace(publish=lambda _: None)

    def create_subscription(self, *_):
        pass


def test_parameters():
    assert NodeSettings.of({"reuse": 0, "bundle": "b"}).bundle == "b"
    with pytest.raises(OptionError, match="'rat_hz'"):
        NodeSettings.of({"rat_hz": 3.0})
    with pytest.raises(OptionError, match="allowed is a bool"):
        NodeSettings.of({"points": "yes"})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rate_hz": -1.0}, "rate_hz is -1.0"),
        ({"rate_hz": math.nan}, "rate_hz is nan"),
        ({"timeout_s": -2.0}, "timeout_s is -2.0"),
        ({"restarts": -1}, "restarts is -1"),
        ({"fov_frames": -1}, "fov_frames is -1"),
        ({"near_m": 3.0, "far_m": 2.0}, "near_m is 3.0 and far_m 2.0"),
        ({"reuse": 2.0}, "reuse is 2.0"),
        ({"reuse": math.nan}, "reuse is nan"),
    ],
)
def test_parameters_that_every_frame_would_be_refused_for(wrong, said):
    with pytest.raises(OptionError, match=said):
        NodeSettings.of(wrong)


def test_undistorted_points_have_the_undistorted_colours():
    bent = Intrinsics(fx=60.0, fy=60.0, cx=31.5, cy=23.5, width=64, height=48, model="plumb_bob",
                      distortion=(-0.3, 0.1, 0.0, 0.0))  # fmt: skip
    straight = Undistorter(bent)
    model, _ = fake_depth(color="rgb")
    work = DepthWork(model, NodeSettings(undistort=True))
    for frame in FRAMES[:2]:
        result, used, cloud = work.infer(frame, bent)
        assert used == straight.camera
        assert np.array_equal(cloud.colors, straight(frame))
        assert np.array_equal(result.depth, model.infer(frame, camera=bent, undistort=True).depth)
    model.close()


def test_the_launch_file_names_parameters_that_exist():
    text = (Path(edgedepth.ros.__file__).parent / "edgedepth.launch.xml").read_text()
    command = ET.fromstring(text).find("executable").get("cmd")
    # ROS refuses "bundle:=" without a value: what may be empty stays in quotes when the words are split.
    assert "bundle:=''" in shlex.split(command.replace("$(var bundle)", ""))
    names = [word.partition(":=")[0] for before, word in zip(command.split(), command.split()[1:], strict=False)
             if before == "-p"]  # fmt: skip
    assert names
    assert set(names) <= set(NodeSettings.__slots__)


def test_without_ros_the_node_says_what_is_missing(monkeypatch):
    from edgedepth.core.errors import MissingExtraError
    from edgedepth.core.optional import is_installed
    from edgedepth.ros.node import main

    if is_installed("rclpy"):
        pytest.skip("ROS is here")
    with pytest.raises(MissingExtraError, match=r"setup\.bash"):
        main()
