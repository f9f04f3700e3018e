"""Depth as video: FFV1 of 16-bit millimetres, without loss, and a coloured MP4 for people."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import OutputError
from edgedepth.video import quiet_opencv

__all__ = ["DepthVideoWriter", "can_write_gray16", "check_gray16", "open_color_video", "read_depth_video"]

_GRAY16 = (cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0)
_RAW = (cv2.CAP_PROP_CONVERT_RGB, 0)


class DepthVideoWriter:
    """Writes depth maps as FFV1 in Matroska, one 16-bit grey picture of millimetres a frame.

    Args:
        path: ends in .mkv.
        size: height and width in pixels.
        fps: frames a second.

    Raises:
        OutputError: another suffix, a place that can't be written, or an OpenCV whose FFV1 isn't lossless in 16 bits.
    """

    def __init__(self, path: Path, *, size: tuple[int, int], fps: float) -> None:
        if path.suffix.lower() != ".mkv":
            raise OutputError(f"{path.name} is not Matroska, which holds 16-bit depth", remedy="call it depth.mkv")
        check_gray16()
        self._size = size
        self._writer = _open(path, "FFV1", fps, size, _GRAY16)

    def write(self, millimetres: npt.NDArray[np.uint16]) -> None:
        """Add a frame, (H, W) uint16.

        Raises:
            OutputError: a frame of another size: a video has one.
        """
        if millimetres.shape != self._size:
            raise OutputError(
                f"a frame is {millimetres.shape[1]} x {millimetres.shape[0]} pixels, the video {self._size[1]} x "
                f"{self._size[0]}",
                remedy="write to a folder",
            )
        self._writer.write(millimetres)

    def close(self) -> None:
        """Finish the file."""
        self._writer.release()


def open_color_video(path: Path, *, size: tuple[int, int], fps: float) -> Any:
    """A cv2.VideoWriter of (H, W, 3) uint8 BGR frames as MPEG-4.

    Raises:
        OutputError: it can't be opened.
    """
    return _open(path, "mp4v", fps, size, ())


def read_depth_video(path: Path) -> npt.NDArray[np.uint16]:
    """All frames of a depth video, (N, H, W) uint16 millimetres.

    Raises:
        OutputError: it can't be read as 16-bit grey.
    """
    with quiet_opencv():
        video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, _RAW)
        frames: list[npt.NDArray[np.uint16]] = []
        while video.isOpened():
            found, frame = video.read()
            if not found:
                break
            frames.append(np.asarray(frame).reshape(frame.shape[:2]))
        video.release()
    if not frames or frames[0].dtype != np.uint16:
        raise OutputError(f"{path} is no video of 16-bit depth", remedy="write it with edgedepth infer --out X.mkv")
    return np.stack(frames)


def check_gray16() -> None:
    """Refuse an OpenCV whose FFV1 isn't lossless in 16 bits.

    Raises:
        OutputError: this one's isn't.
    """
    if not can_write_gray16():
        raise OutputError(
            "this OpenCV can't write 16-bit FFV1 without loss", remedy="name a folder in place of the .mkv"
        )


@functools.cache
def can_write_gray16() -> bool:
    """Whether this OpenCV writes 16-bit grey FFV1 without loss: tried, on a picture of every high and low byte."""
    low, high = np.meshgrid(np.arange(256, dtype=np.uint16), np.arange(256, dtype=np.uint16))
    picture: npt.NDArray[np.uint16] = high * np.uint16(256) + low
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "try.mkv"
        try:
            writer = _open(path, "FFV1", 30, picture.shape, _GRAY16)
            writer.write(picture)
            writer.release()
            return bool(np.array_equal(read_depth_video(path)[0], picture))
        except (OutputError, cv2.error):
            return False


def _open(path: Path, codec: str, fps: float, size: tuple[int, ...], options: tuple[int, ...]) -> Any:
    with quiet_opencv():
        writer = cv2.VideoWriter(
            str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (size[1], size[0]), options
        )
    if not writer.isOpened():
        raise OutputError(
            f"{path} can't be written as {codec}", remedy="check the folder, or name a folder to write to"
        )
    return writer
