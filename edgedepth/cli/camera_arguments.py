"""What infer's pictures and videos share: the camera that took them, and the range of metres that is looked at."""

from __future__ import annotations

import argparse
from pathlib import Path

from edgedepth.camera_files import read_intrinsics
from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.coloring import check_range
from edgedepth.core.errors import OptionError
from edgedepth.programs.metric import check_positive_focal

__all__ = ["add_camera_arguments", "camera_of"]


def add_camera_arguments(parser: argparse.ArgumentParser) -> None:
    """--focal-px, --camera, --undistort, --near-m, --far-m."""
    parser.add_argument(
        "--focal-px", type=float, metavar="F", help="the camera's focal length in pixels; wins over EXIF"
    )
    group = parser.add_argument_group("camera and range")
    group.add_argument(
        "--camera",
        type=Path,
        metavar="FILE",
        help="intrinsics in place of --focal-px: JSON, ROS CameraInfo, OpenCV, or a photograph with EXIF; scaled to "
        "the picture",
    )
    group.add_argument("--undistort", action="store_true", help="take --camera's distortion out of the pictures first")
    group.add_argument("--near-m", type=float, metavar="M", help="where colours and points begin (default: by itself)")
    group.add_argument("--far-m", type=float, metavar="M", help="where colours and points end (default: by itself)")


def camera_of(args: argparse.Namespace) -> Intrinsics | None:
    """The camera of --camera, before a model is opened.

    Raises:
        OptionError: options that contradict each other, or a range that is none.
        IntrinsicsError: a file that describes no camera.
    """
    check_range(args.near_m, args.far_m)
    if args.focal_px is not None:
        check_positive_focal(args.focal_px)
    if args.camera is None:
        if args.undistort:
            raise OptionError("--undistort needs to know the camera's distortion", remedy="--camera camera.yaml")
        return None
    if args.focal_px is not None:
        raise OptionError("both --focal-px and --camera are given; a camera has its own", remedy="leave one out")
    return read_intrinsics(args.camera)
