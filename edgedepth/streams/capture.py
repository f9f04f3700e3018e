"""Videos, cameras and streams from the network, through OpenCV."""

from __future__ import annotations

import functools
import logging
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edgedepth.core.errors import DeviceError, OptionError, UnsupportedError
from edgedepth.programs.frames import Color
from edgedepth.streams.frames import SourceFacts, TimedFrame
from edgedepth.video import open_video_file, quiet_opencv

__all__ = ["CameraSource", "OpenCapture", "VideoSource", "built_with"]

log = logging.getLogger("edgedepth")

OpenCapture = Callable[[int | str], Any]
"""Opens what behaves as cv2.VideoCapture: isOpened(), read(), release()."""

_RETRY_S = 0.2
_OPEN_TIMEOUT_MS, _READ_TIMEOUT_MS = 15_000, 5_000
"""Of a URL and of a frame of it: FFmpeg looks at a stream for some seconds as it opens it, and would wait half a minute
for a server that has gone silent."""
_SILENCE_S = 1.0
"""A read without a frame that took so long was given up by its timeout: the camera is gone, and not a frame."""
_MISSES = 5
"""So many reads without a frame, one after the other, and a camera counts as gone: single ones drop frames."""


class VideoSource:
    """The frames of a video file, decoded from its beginning: seeking lands on other frames in some containers.

    Args:
        path: of the file.
        color: order of the frames' channels.
        skip: frames to leave out at the beginning.

    Raises:
        OptionError: not a video that can be decoded.
    """

    live = stamped = False

    def __init__(self, path: Path, *, color: Color, skip: int) -> None:
        self.name = str(path)
        self.facts = SourceFacts()
        self._path = path
        self._color = color
        self._skip = skip
        video = self._open()
        try:
            count, fps = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), float(video.get(cv2.CAP_PROP_FPS))
        finally:
            video.release()
        self.count: int | None = count if count > 0 else None
        self.fps: float | None = fps if 0 < fps <= 1000 else None

    def frames(self) -> Iterator[TimedFrame]:
        """As of FrameSource. A broken tail ends the video, and is told."""
        video = self._open()
        try:
            index = 0
            while index < self._skip and video.grab():
                index += 1
            while True:
                found, bgr = video.read()
                if not found:
                    break
                # OpenCV tells the time of the frame that was read; of some containers it doesn't know any.
                time_s = float(video.get(cv2.CAP_PROP_POS_MSEC)) / 1e3
                yield TimedFrame(index, time_s or index / (self.fps or 30.0), _in_order(bgr, self._color))
                index += 1
        finally:
            video.release()
        if index == 0:
            raise OptionError(f"{self._path} holds no frame that can be decoded", remedy=_convert(self._path))
        if self.count is not None and index < self.count:
            self.facts.cut_short = f"{self._path} can be decoded up to frame {index} of the {self.count} it announces"
            log.warning("%s", self.facts.cut_short)

    def _open(self) -> Any:
        video = open_video_file(self._path)
        if not video.isOpened():
            video.release()
            raise OptionError(f"{self._path} is no video that can be decoded", remedy=_convert(self._path))
        return video


class CameraSource:
    """A camera, an RTSP stream or a GStreamer pipeline: frames come at their own pace and are stamped as they come.

    Args:
        address: a camera's index, a URL, or a pipeline.
        color: order of the frames' channels.
        reconnect_s: how long a camera that is gone is waited for.
        open_capture: opens it.

    Raises:
        DeviceError: it doesn't open.
        UnsupportedError: a pipeline, and an OpenCV that was built without GStreamer.
    """

    live = stamped = True
    count: int | None = None
    fps: float | None = None

    def __init__(
        self,
        address: int | str,
        *,
        color: Color,
        reconnect_s: float,
        open_capture: OpenCapture | None = None,
    ) -> None:
        self.name = f"camera {address}" if isinstance(address, int) else address
        self.facts = SourceFacts()
        self._address = address
        self._color = color
        self._reconnect_s = reconnect_s
        self._open_capture = open_capture or _open_with_opencv
        self._camera = self._open()
        if self._camera is None:
            raise DeviceError(
                f"{self.name} can't be opened",
                remedy="look at /dev/video* or the URL, close other programs that use it, or name another one",
            )

    def frames(self) -> Iterator[TimedFrame]:
        """As of FrameSource.

        Raises:
            DeviceError: it is gone, and doesn't come back in time.
        """
        index = misses = 0
        try:
            while True:
                started = time.monotonic()
                found, bgr = self._camera.read()
                if found and bgr is not None:
                    misses = 0
                    yield TimedFrame(index, time.time(), _in_order(bgr, self._color))
                    index += 1
                    continue
                misses += 1
                self.facts.missed += 1
                if misses >= _MISSES or time.monotonic() - started >= _SILENCE_S:
                    self._reconnect()
                    misses = 0
                else:
                    time.sleep(0.01)
        finally:
            if self._camera is not None:
                self._camera.release()

    def _reconnect(self) -> None:
        log.warning("%s gives no frames; waiting %g s for it to come back", self.name, self._reconnect_s)
        self._camera.release()
        deadline = time.monotonic() + self._reconnect_s
        while True:
            self._camera = self._open()
            if self._camera is not None and self._camera.read()[0]:
                self.facts.reconnects += 1
                log.warning("%s is back", self.name)
                return
            if self._camera is not None:
                self._camera.release()
            if time.monotonic() >= deadline:
                raise DeviceError(
                    f"{self.name} is gone, and didn't come back within {self._reconnect_s:g} s",
                    remedy="check its cable or network; reconnect_s waits longer",
                )
            time.sleep(_RETRY_S)

    def _open(self) -> Any:
        """The opened capture, or None."""
        with quiet_opencv():
            camera = self._open_capture(self._address)
        if camera.isOpened():
            return camera
        camera.release()
        return None


@functools.cache
def built_with(library: str) -> bool:
    """Whether this OpenCV can use FFMPEG or GStreamer. Its registry names both, also where only a plug-in would."""
    return re.search(rf"\b{library}:\s+YES", cv2.getBuildInformation()) is not None


def _open_with_opencv(address: int | str) -> cv2.VideoCapture:
    if isinstance(address, str) and " ! " in address:
        if not built_with("GStreamer"):
            raise UnsupportedError(
                "this OpenCV was built without GStreamer: the wheels of PyPI are",
                remedy="use the OpenCV of JetPack or of the distribution, or a URL or index in place of the pipeline",
            )
        return cv2.VideoCapture(address, cv2.CAP_GSTREAMER)
    if isinstance(address, str) and built_with("FFMPEG"):
        open_ms, read_ms = cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC
        limits = (open_ms, _OPEN_TIMEOUT_MS, read_ms, _READ_TIMEOUT_MS)
        return cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
    return cv2.VideoCapture(address)


def _in_order(bgr: Any, color: Color) -> Any:
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)) if color == "rgb" and bgr.ndim == 3 else bgr


def _convert(path: Path) -> str:
    return f"check that it plays; ffmpeg -i {path} frames/%06d.png makes a folder of pictures of it"
