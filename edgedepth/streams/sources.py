"""Where a stream's frames come from."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import OptionError
from edgedepth.photos import list_photos, read_photo
from edgedepth.programs.frames import Color
from edgedepth.streams.capture import CameraSource, VideoSource
from edgedepth.streams.frames import SourceFacts, TimedFrame
from edgedepth.video import VIDEO_SUFFIXES

__all__ = ["FolderSource", "FrameSource", "IterableSource", "is_live", "is_stream", "open_frames"]

_LAST_CAMERA = (1 << 31) - 1
_KINDS = "a video file, a folder of pictures, a camera's index, a URL, a GStreamer pipeline, or an iterable of frames"


class FrameSource(Protocol):
    """Frames in their order.

    Attributes:
        name: for people.
        live: whether frames come at their own pace, and are lost if nobody takes them.
        stamped: whether frames carry the time at which they were taken, since 1970.
        count: of the frames, where it is known.
        fps: frames a second, where there is such a thing.
        facts: what happened on the way.
    """

    name: str
    live: bool
    stamped: bool
    count: int | None
    fps: float | None
    facts: SourceFacts

    def frames(self) -> Iterator[TimedFrame]:
        """The frames; closing the iterator frees the source."""
        ...


def open_frames(source: object, *, color: Color, reconnect_s: float, skip: int) -> FrameSource:
    """Open a source.

    Args:
        source: see EdgeDepth.stream().
        color: order of the channels that the frames shall have; an iterable's are passed on as they are.
        reconnect_s: how long a camera that is gone is waited for.
        skip: frames of a video or folder to leave out at the beginning.

    Raises:
        OptionError: no source.
        PhotoError: a folder without pictures.
        DeviceError: a camera that doesn't open.
    """
    if isinstance(source, str | os.PathLike):
        text = os.fspath(source)
        if is_live(text):
            source = int(text) if text.isdecimal() else text
        else:
            return _open_path(Path(text), color, skip)
    if skip:
        raise OptionError(f"skip is {skip}; only a video or a folder can be gone on with", remedy="leave skip out")
    if isinstance(source, bool) or source is None or isinstance(source, np.ndarray | bytes):
        kind = "one frame" if isinstance(source, np.ndarray) else repr(source)[:40]
        raise OptionError(f"the source is {kind}; allowed are {_KINDS}", remedy="infer(frame) is for a single frame")
    if isinstance(source, int | str):
        if isinstance(source, int) and not 0 <= source <= _LAST_CAMERA:  # OpenCV 5.0 crashes at -1 without a camera
            raise OptionError(f"camera {source} is none; allowed are 0 and more", remedy="0 is the first camera")
        return CameraSource(source, color=color, reconnect_s=reconnect_s)
    if isinstance(source, Iterable):
        return IterableSource(source)
    raise OptionError(f"the source is a {type(source).__name__}; allowed are {_KINDS}", remedy="pass one of these")


def is_stream(text: str) -> bool:
    """Whether a command's argument means a video, a camera or a URL, and not pictures."""
    return is_live(text) or Path(text).suffix.lower() in VIDEO_SUFFIXES


class IterableSource:
    """Frames that somebody hands over, or TimedFrames; frames without a time are stamped as they come."""

    live = False
    stamped = True
    count: int | None = None
    fps: float | None = None

    def __init__(self, frames: Iterable[Any]) -> None:
        self.name = f"a {type(frames).__name__}"
        self.facts = SourceFacts()
        self._frames = frames

    def frames(self) -> Iterator[TimedFrame]:
        """As of FrameSource."""
        iterator = iter(self._frames)
        try:
            for index, frame in enumerate(iterator):
                yield frame if isinstance(frame, TimedFrame) else TimedFrame(index, time.time(), frame)
        finally:
            if callable(close := getattr(iterator, "close", None)):
                close()


class FolderSource:
    """The pictures of a folder, sorted by name; their time is their number."""

    live = stamped = False
    fps: float | None = None

    def __init__(self, folder: Path, *, color: Color, skip: int) -> None:
        self.name = str(folder)
        self.facts = SourceFacts()
        self._paths = list_photos([folder])
        self.count: int | None = len(self._paths)
        self._color: Color = color
        self._skip = skip

    def frames(self) -> Iterator[TimedFrame]:
        """As of FrameSource.

        Raises:
            PhotoError: a picture that can't be read whole.
        """
        for index, path in enumerate(self._paths[self._skip :], start=self._skip):
            rgb = read_photo(path).pixels_rgb
            yield TimedFrame(index, float(index), _in_order(rgb, self._color))


def _in_order(rgb: npt.NDArray[np.uint8], color: Color) -> npt.NDArray[np.uint8]:
    return rgb if color == "rgb" else np.ascontiguousarray(rgb[..., ::-1])


def _open_path(path: Path, color: Color, skip: int) -> FrameSource:
    if path.is_dir():
        return FolderSource(path, color=color, skip=skip)
    if not path.exists():
        raise OptionError(
            f"there is no source {path}; allowed are {_KINDS}",
            remedy=f"check the path; the working folder is {Path.cwd()}",
        )
    return VideoSource(path, color=color, skip=skip)


def is_live(text: str) -> bool:
    """Whether a text means a camera's index, a URL or a pipeline: none of them is the name of a file."""
    return text.isdecimal() or "://" in text or " ! " in text
