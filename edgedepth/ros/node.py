"""The node: Image or CompressedImage and CameraInfo in; depth, its CameraInfo and PointCloud2 out.

    python -m edgedepth.ros --ros-args -p bundle:=/models/mini -r image:=/camera/image_raw

Only the newest frame is kept while one runs. It was run under ROS 2 Kilted on a PC, and on no robot yet.
"""

from __future__ import annotations

from typing import Any

from edgedepth.core.errors import EdgeDepthError, OptionError
from edgedepth.core.heap import share_one_heap
from edgedepth.core.optional import require
from edgedepth.ros.messages import (
    camera_info_fields,
    compressed_to_rgb,
    depth_image_fields,
    fill,
    header_fields,
    image_to_rgb,
    intrinsics_of,
    point_cloud2_fields,
)
from edgedepth.ros.settings import DepthWork, NodeSettings
from edgedepth.stream_steps import is_fault

__all__ = ["DepthNode", "main"]


class DepthNode:
    """Subscribes, runs and publishes.

    Args:
        node: an rclpy node.
        messages: sensor_msgs.msg.
        qos: of the image's subscription: best effort, a queue of one.
    """

    def __init__(self, node: Any, messages: Any, qos: Any) -> None:
        self._node = node
        self._messages = messages
        self._camera: Any = None
        defaults = NodeSettings()
        names = NodeSettings.__slots__
        node.declare_parameters("", [(name, getattr(defaults, name)) for name in names])
        settings = NodeSettings.of({name: node.get_parameter(name).value for name in names})
        self._read = compressed_to_rgb if settings.compressed else image_to_rgb
        self._work = DepthWork(settings.open(), settings)
        self._depth = node.create_publisher(messages.Image, "depth", 1)
        self._info = node.create_publisher(messages.CameraInfo, "depth/camera_info", 1)
        self._points = node.create_publisher(messages.PointCloud2, "points", 1) if settings.points else None
        kind = messages.CompressedImage if settings.compressed else messages.Image
        node.create_subscription(messages.CameraInfo, "camera_info", self._on_camera, 1)
        node.create_subscription(kind, "image", self._on_image, qos)

    def _on_camera(self, message: Any) -> None:
        try:
            self._camera = intrinsics_of(message)
        except EdgeDepthError as error:
            self._node.get_logger().error(str(error))

    def _on_image(self, message: Any) -> None:
        if not self._work.is_due():
            return
        try:
            result, camera, cloud = self._work.infer(self._read(message), self._camera)
        except EdgeDepthError as error:
            if is_fault(error):  # opened anew already: whoever started the node has to know
                raise
            self._node.get_logger().error(str(error))
            return
        stamp = message.header.stamp
        header = header_fields(stamp.sec * 10**9 + stamp.nanosec, message.header.frame_id)
        messages = self._messages
        self._depth.publish(fill(messages.Image(), depth_image_fields(header, result.depth)))
        self._info.publish(fill(messages.CameraInfo(), camera_info_fields(header, camera)))
        if self._points is not None and cloud is not None:
            fields = point_cloud2_fields(header, cloud)
            self._points.publish(fill(messages.PointCloud2(), fields, {"fields": messages.PointField}))


def main() -> None:
    """Run the node until it is stopped: by Ctrl-C, SIGTERM, or ROS.

    Raises:
        MissingExtraError: rclpy isn't there: source ROS's setup.bash.
        EdgeDepthError: the model doesn't open, or its backend fails again after it was opened anew.
    """
    share_one_heap()
    rclpy: Any = require("rclpy", extra="ros", purpose="to run the node, after ROS's setup.bash was sourced,")
    messages: Any = require("sensor_msgs.msg", extra="ros", purpose="to run the node")
    qos: Any = require("rclpy.qos", extra="ros", purpose="to run the node")
    executors: Any = require("rclpy.executors", extra="ros", purpose="to run the node")
    exceptions: Any = require("rclpy.exceptions", extra="ros", purpose="to run the node")
    rclpy.init()
    node = rclpy.create_node("edgedepth")
    try:
        newest = qos.QoSProfile(depth=1, reliability=qos.ReliabilityPolicy.BEST_EFFORT)
        try:
            DepthNode(node, messages, newest)
        except exceptions.ParameterException as error:
            raise OptionError(f"ROS refuses a parameter: {error}", remedy="correct the launch file") from error
        rclpy.spin(node)
    except (KeyboardInterrupt, executors.ExternalShutdownException):  # the latter for SIGTERM
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
