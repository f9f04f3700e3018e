"""A video file, and a camera, as calibration frames."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edgedepth.calibration.frame_source import SourceFrame, Unreadable
from edgedepth.core.errors import CalibrationError, DeviceError, OptionError
from edgedepth.video import VIDEO_SUFFIXES, ForwardVideo, open_video_file, quiet_opencv

__all__ = ["VIDEO_SUFFIXES", "CameraFrames", "VideoFrames", "open_camera", "open_video"]

_WARM_UP_S = 1.0
"""A camera's first frames are dark or green while it finds its exposure."""
_PATIENCE_S = 5.0
"""Without a frame for so long, a camera is gone."""

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class VideoFrames:
    """The frames of a video file, decoded from its beginning: seeking lands on other frames in some containers.

    Args:
        path: of the file.
        count: of its frames.
    """

    path: Path
    count: int

    @property
    def name(self) -> str:
        """As of FrameSource: the file's name."""
        return self.path.name.encode("utf-8", "backslashreplace").decode()

    @property
    def identity(self) -> str:
        """As of FrameSource: changes with the file's place, size or time."""
        status = self.path.stat()
        return f"{self.path.resolve()} {status.st_size} {status.st_mtime_ns} {self.count}"

    @property
    def repeatable(self) -> bool:
        """As of FrameSource."""
        return True

    def __len__(self) -> int:
        return self.count

    def read(self, numbers: Sequence[int]) -> Iterator[SourceFrame | Unreadable]:
        """As of FrameSource."""
        if not self.path.is_file():
            raise _gone(self.path)
        video = ForwardVideo(self.path)
        try:
            for number in numbers:
                image = video.frame(number)
                if image is None:
                    reason = f"the video's frames can be decoded up to number {video.position - 1}"
                    yield Unreadable(number=number, name=_frame_name(number), reason=reason)
                else:
                    yield SourceFrame(number=number, name=_frame_name(number), image=image)
        finally:
            video.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraFrames:
    """What a camera sees, a frame every so many seconds from the moment it is read.

    Args:
        index: of the camera: 0 for /dev/video0.
        count: of the frames.
        interval_s: seconds from one frame to the next.
        open_capture: opens it.
        warm_up_s: seconds whose frames are thrown away first.
    """

    index: int
    count: int
    interval_s: float
    open_capture: Callable[[int], cv2.VideoCapture] = cv2.VideoCapture
    warm_up_s: float = _WARM_UP_S

    @property
    def name(self) -> str:
        """As of FrameSource: "camera 0"."""
        return f"camera {self.index}"

    @property
    def identity(self) -> str:
        """As of FrameSource."""
        return f"{self.name}, {self.count} frames"

    @property
    def repeatable(self) -> bool:
        """As of FrameSource: what was seen is gone."""
        return False

    def __len__(self) -> int:
        return self.count

    def read(self, numbers: Sequence[int]) -> Iterator[SourceFrame | Unreadable]:
        """As of FrameSource. Nothing is opened when no number is asked for.

        Raises:
            DeviceError: there is no such camera, or it stopped.
        """
        if not numbers:
            return
        with quiet_opencv():
            camera = self.open_capture(self.index)
        try:
            if not camera.isOpened():
                raise DeviceError(
                    f"there is no {self.name} that can be opened",
                    remedy="look at /dev/video*, close other programs that use it, or name another index",
                )
            due = time.monotonic() + self.warm_up_s
            for number in numbers:
                yield SourceFrame(number=number, name=_frame_name(number), image=_rgb(self._frame_at(camera, due)))
                due = time.monotonic() + self.interval_s
        finally:
            camera.release()

    def _frame_at(self, camera: cv2.VideoCapture, due: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
        """The first frame from a moment on; earlier ones are taken off, since drivers queue them and hand out old."""
        last_seen = time.monotonic()
        while True:
            found, bgr = camera.read()
            now = time.monotonic()
            if found and now >= due:
                return np.asarray(bgr, np.uint8)
            if found:
                last_seen = now
            elif now - last_seen > _PATIENCE_S:
                raise DeviceError(
                    f"{self.name} gave no frame for {_PATIENCE_S:g} s",
                    remedy="check its cable, then run the same command again: it goes on",
                )
            else:
                time.sleep(0.01)


def open_video(path: Path) -> VideoFrames:
    """Open a video file.

    Raises:
        CalibrationError: it can't be decoded, or holds no frame.
    """
    with _opened(path) as video:
        count = int(video.get(cv2.CAP_PROP_FRAME_COUNT))
        if count <= 0:  # a stream without an index: its frames have to be counted
            count = 0
            while video.grab():
                count += 1
        elif not video.grab():
            count = 0
    if count == 0:
        raise CalibrationError(f"{path} holds no frame that can be decoded", remedy=_CONVERT.format(path=path))
    return VideoFrames(path, count)


def open_camera(index: int, *, count: int, interval_s: float) -> CameraFrames:
    """A camera that gives so many frames; it is opened when they are read.

    Raises:
        OptionError: an interval that isn't one.
    """
    if not 0 <= interval_s <= 3600:
        raise OptionError(f"a frame every {interval_s} s was asked for; allowed are 0 to 3600", remedy="--every 0.5")
    return CameraFrames(index=index, count=count, interval_s=interval_s)


_CONVERT = "check that it plays; ffmpeg -i {path} frames/%06d.png makes a folder of pictures of it"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    if not path.is_file():
        raise _gone(path)
    video = open_video_file(path)
    try:
        if not video.isOpened():
            raise CalibrationError(f"{path} is no video that can be decoded", remedy=_CONVERT.format(path=path))
        yield video
    finally:
        video.release()


def _gone(path: Path) -> CalibrationError:
    return CalibrationError(f"there is no video {path}", remedy=f"check the path; the working folder is {Path.cwd()}")


def _frame_name(number: int) -> str:
    return f"frame-{number:06}"


def _rgb(bgr: object) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(cv2.cvtColor(np.asarray(bgr), cv2.COLOR_BGR2RGB), np.uint8)
