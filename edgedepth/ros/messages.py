"""ROS 2 messages as plain fields: what goes in and what comes out, without ROS.

Each function gives a message's fields by name, nested messages as dicts; fill() puts them into real messages. Source:
common_interfaces' sensor_msgs, std_msgs and builtin_interfaces (Image, CameraInfo, PointCloud2, Header, Time).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.cameras.intrinsics import Intrinsics, distortion_of
from edgedepth.cameras.points import PointCloud
from edgedepth.core.errors import FrameError, IntrinsicsError
from edgedepth.core.session import Array

__all__ = [
    "camera_info_fields",
    "compressed_to_rgb",
    "depth_image_fields",
    "fill",
    "header_fields",
    "image_to_rgb",
    "intrinsics_of",
    "point_cloud2_fields",
]

Fields = dict[str, Any]

_FLOAT32 = 7  # sensor_msgs/PointField.FLOAT32
_BIG_ENDIAN = sys.byteorder == "big"
# Channels by encoding (sensor_msgs/image_encodings.hpp), and what makes RGB of them.
_ENCODINGS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
}


def header_fields(stamp_ns: int, frame_id: str) -> Fields:
    """std_msgs/Header.

    Args:
        stamp_ns: nanoseconds.
        frame_id: the camera's optical frame: X right, Y down, Z forward.
    """
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    return {"stamp": {"sec": seconds, "nanosec": nanoseconds}, "frame_id": frame_id}


def depth_image_fields(header: Fields, depth: Array) -> Fields:
    """sensor_msgs/Image of (H, W) float32 metres: 32FC1, by REP 118 with NaN where there is none."""
    height, width = depth.shape
    metres = np.where(depth > 0, depth, np.float32(np.nan)).astype(np.float32, copy=False)
    return {
        "header": header,
        "height": height,
        "width": width,
        "encoding": "32FC1",
        "is_bigendian": int(_BIG_ENDIAN),
        "step": 4 * width,
        "data": np.frombuffer(np.ascontiguousarray(metres).tobytes(), np.uint8),
    }


def camera_info_fields(header: Fields, camera: Intrinsics) -> Fields:
    """sensor_msgs/CameraInfo; without distortion it is plumb_bob with zeros, as image_pipeline expects."""
    k = camera.matrix
    distorts = camera.model != "none"
    projection = np.zeros((3, 4))
    projection[:, :3] = k
    return {
        "header": header,
        "height": camera.height,
        "width": camera.width,
        "distortion_model": camera.model if distorts else "plumb_bob",
        "d": np.array(camera.distortion if distorts else (0.0,) * 5, np.float64),
        "k": k.ravel(),
        "r": np.eye(3).ravel(),
        "p": projection.ravel(),
        "binning_x": 0,
        "binning_y": 0,
        "roi": {"x_offset": 0, "y_offset": 0, "height": 0, "width": 0, "do_rectify": False},
    }


def point_cloud2_fields(header: Fields, cloud: PointCloud) -> Fields:
    """sensor_msgs/PointCloud2, organised as the picture: x, y, z in m and, with colours, rgb packed as PCL reads it."""
    height, width = cloud.holes.shape
    kinds = [("x", "f4"), ("y", "f4"), ("z", "f4")]
    if cloud.colors is not None:
        kinds.append(("rgb", "f4"))
    points = np.empty((height, width), [(name, f"={kind}") for name, kind in kinds])
    for index, name in enumerate("xyz"):
        points[name] = cloud.points[..., index]
    if cloud.colors is not None:
        red, green, blue = (cloud.colors[..., index].astype(np.uint32) for index in range(3))
        points["rgb"] = (red << 16 | green << 8 | blue).view(np.float32)
    fields = [
        {"name": name, "offset": 4 * index, "datatype": _FLOAT32, "count": 1} for index, (name, _) in enumerate(kinds)
    ]
    return {
        "header": header,
        "height": height,
        "width": width,
        "fields": fields,
        "is_bigendian": _BIG_ENDIAN,
        "point_step": points.dtype.itemsize,
        "row_step": points.dtype.itemsize * width,
        "data": np.frombuffer(points.tobytes(), np.uint8),
        "is_dense": bool((cloud.holes == 0).all()),
    }


def image_to_rgb(message: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a sensor_msgs/Image.

    Raises:
        FrameError: an encoding that isn't known, or data that isn't of its size.
    """
    if message.encoding not in _ENCODINGS:
        raise FrameError(
            f"the image's encoding is {message.encoding!r}; known are {', '.join(_ENCODINGS)}",
            remedy="convert it with image_proc or cv_bridge first",
        )
    channels, code = _ENCODINGS[message.encoding]
    data = np.frombuffer(bytes(message.data), np.uint8)
    row = message.width * channels
    if message.step < row or data.size != message.step * message.height or not data.size:
        raise FrameError(
            f"the image is {message.width} x {message.height} pixels of {message.encoding} in steps of {message.step}, "
            f"and has {data.size} bytes",
            remedy="look at what publishes it",
        )
    pixels = data.reshape(message.height, message.step)[:, :row].reshape(message.height, message.width, channels)
    return np.ascontiguousarray(pixels if code is None else cv2.cvtColor(pixels, code), np.uint8)


def compressed_to_rgb(message: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a sensor_msgs/CompressedImage.

    Raises:
        FrameError: it can't be decoded.
    """
    data = np.frombuffer(bytes(message.data), np.uint8)
    bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if bgr is None:
        raise FrameError(f"a compressed image of {data.size} bytes can't be decoded", remedy="publish JPEG or PNG")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)


def intrinsics_of(message: Any) -> Intrinsics | None:
    """The camera of a sensor_msgs/CameraInfo; None for one that isn't calibrated, which ROS marks by K[0] = 0.

    Raises:
        IntrinsicsError: it describes no camera.
    """
    k = [float(value) for value in message.k]
    if k[0] == 0:
        return None
    model, distortion = distortion_of(message.distortion_model or "none", list(message.d))
    camera = Intrinsics(
        fx=k[0],
        fy=k[4],
        cx=k[2],
        cy=k[5],
        width=int(message.width),
        height=int(message.height),
        model=model,
        distortion=distortion,
        source="CameraInfo",
    )
    binning = int(message.binning_x) or 1, int(message.binning_y) or 1
    if message.roi.width or message.roi.height:
        roi = message.roi
        camera = camera.cropped(int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height))
    if binning == (1, 1):
        return camera
    if camera.width % binning[0] or camera.height % binning[1]:
        raise IntrinsicsError(f"binning {binning} of {camera.width} x {camera.height}", remedy="publish whole pixels")
    return replace(camera.resized(camera.width // binning[0], camera.height // binning[1]), source="CameraInfo")


def fill(message: Any, fields: Mapping[str, Any], make: Mapping[str, Any] | None = None) -> Any:
    """Put fields into a ROS message and return it.

    Args:
        message: an empty one; nested messages are in it already.
        fields: by name.
        make: how the items of a list of messages are made, by the list's name: {"fields": PointField}.
    """
    for name, value in fields.items():
        if isinstance(value, Mapping):
            fill(getattr(message, name), value, make)
        elif isinstance(value, list) and make and name in make:
            setattr(message, name, [fill(make[name](), item, make) for item in value])
        elif isinstance(value, np.ndarray) and value.dtype == np.uint8:
            # rclpy takes an array.array without copying it item by item.
            getattr(message, name).frombytes(value.tobytes())
        else:
            setattr(message, name, value.tolist() if isinstance(value, np.ndarray) else value)
    return message
