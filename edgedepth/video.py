"""What is shared by all who open videos and cameras with OpenCV."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

__all__ = ["VIDEO_SUFFIXES", "ForwardVideo", "quiet_opencv"]

VIDEO_SUFFIXES = (".avi", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv")
"""What is taken for a video, in lower case."""


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep what OpenCV's backends write to stderr, a dozen lines for a missing camera, from our one line."""
    log = cv2.utils.logging
    level = log.getLogLevel()
    log.setLogLevel(log.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        log.setLogLevel(level)


class ForwardVideo:
    """A video file that is decoded from its beginning: seeking lands on other frames in some containers.

    Args:
        path: of the file; `opened` tells whether it can be decoded.
    """

    def __init__(self, path: Path) -> None:
        with quiet_opencv():
            self._capture = cv2.VideoCapture(str(path))
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
