"""What is shared by all who open videos and cameras with OpenCV."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["VIDEO_SUFFIXES", "ForwardVideo", "open_video_file", "quiet_opencv"]

VIDEO_SUFFIXES = (".avi", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv")
"""What is taken for a video, in lower case."""

_SILENT = 0
_FFMPEG_LEVEL = "OPENCV_FFMPEG_LOGLEVEL"
_FFMPEG_SILENT = "-8"


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep what OpenCV's backends write to stderr, a dozen lines for a missing camera, from our one line.

    FFmpeg's own level is read from the environment when the first video is opened, and stays; one that the user has
    set is left alone.
    """
    get_level, set_level = _log_level()
    level = get_level()
    set_level(_SILENT)
    ours = _FFMPEG_LEVEL not in os.environ and "OPENCV_FFMPEG_DEBUG" not in os.environ
    if ours:
        os.environ[_FFMPEG_LEVEL] = _FFMPEG_SILENT
    try:
        yield
    finally:
        set_level(level)
        if ours:
            os.environ.pop(_FFMPEG_LEVEL, None)


def _log_level() -> tuple[Callable[[], int], Callable[[int], Any]]:
    """To get and set OpenCV's level: where it is depends on the version, and distributions' may lack it."""
    for place in (getattr(cv2.utils, "logging", None), cv2):
        if hasattr(place, "getLogLevel") and hasattr(place, "setLogLevel"):
            return place.getLogLevel, place.setLogLevel  # type: ignore[union-attr]
    return lambda: _SILENT, lambda _: None


def open_video_file(path: Path) -> cv2.VideoCapture:
    """The opened video; one that isn't opened, where the file is no container that holds its own frames.

    FFmpeg goes by content, and plays lists of other files and addresses by whatever name they come.
    """
    with contextlib.suppress(OSError), path.open("rb") as file:
        if not _holds_frames(file.read(_HEAD)):
            return cv2.VideoCapture()
    with quiet_opencv():
        return cv2.VideoCapture(str(path))


_HEAD = 256
_MARKS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"\x30\x26\xb2\x75",  # ASF, WMV
    b"\x00\x00\x01\xb3",  # MPEG video
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\xff\xd8\xff",  # JPEGs, one after the other
)
_ATOMS = (b"ftyp", b"free", b"mdat", b"moov", b"pnot", b"skip", b"wide")  # MP4 and QuickTime begin with one of them
_PACKETS = ((0, 188), (4, 196))  # of MPEG-TS: each begins with 0x47; M2TS puts a time of 4 bytes before each


def _holds_frames(head: bytes) -> bool:
    return (
        head.startswith(_MARKS)
        or head[4:8] in _ATOMS
        or (head[:4] == b"RIFF" and head[8:11] == b"AVI")
        or any(head[first : first + 1] == head[second : second + 1] == b"G" for first, second in _PACKETS)
    )


class ForwardVideo:
    """A video file that is decoded from its beginning: seeking lands on other frames in some containers.

    Args:
        path: of the file; `opened` tells whether it can be decoded.
    """

    def __init__(self, path: Path) -> None:
        self._capture = open_video_file(path)
        self.opened = self._capture.isOpened()
        self.position = 0
        """The next frame's number."""

    def frame(self, number: int) -> npt.NDArray[np.uint8] | None:
        """A frame that hasn't been passed: (H, W, 3) uint8 RGB; None where decoding ends before it."""
        while self.position < number and self._capture.grab():
            self.position += 1
        found, bgr = self._capture.read() if self.position == number else (False, None)
        if not found:
            return None
        self.position += 1
        return np.asarray(cv2.cvtColor(np.asarray(bgr), cv2.COLOR_BGR2RGB), np.uint8)

    def close(self) -> None:
        """Close the file."""
        self._capture.release()
