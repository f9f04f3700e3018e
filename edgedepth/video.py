"""What is shared by all who open videos and cameras with OpenCV."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import cv2

__all__ = ["VIDEO_SUFFIXES", "quiet_opencv"]

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
