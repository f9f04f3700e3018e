"""Frames on disk made into videos: OUT.mkv of millimetres, and OUT_color.mp4 in colours of one range."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.coloring import color_range, colorize, stamp
from edgedepth.core.errors import OptionError
from edgedepth.streams.frame_folder import FrameFolder
from edgedepth.streams.writers import DepthVideoWriter, open_color_video

__all__ = ["write_depth_videos"]

_SAMPLED = 16
"""Frames, spread over all, that the colours' range is taken from."""


def write_depth_videos(
    folder: FrameFolder, video: Path | None, *, fps: float, near_m: float | None, far_m: float | None, trained: bool
) -> list[str]:
    """Make the videos. Each has its name once it is whole.

    Args:
        folder: of the frames; it is removed once `video` holds them.
        video: the .mkv; None: the frames stay where they are, and get the coloured video beside them.
        fps: frames a second.
        near_m: where the colours begin; None: by the frames.
        far_m: where they end.
        trained: False writes UNTRAINED into the coloured one.

    Returns:
        What is there now.

    Raises:
        OptionError: there is no frame.
        OutputError: a video can't be written: its frames have several sizes, say. The frames stay.
    """
    if not folder.records:
        raise OptionError("the source gave no frame", remedy="check that it plays")
    first = folder.millimetres(folder.records[0])
    if near_m is None or far_m is None:
        near, far = _range(folder)
        near_m, far_m = near_m or min(near, 0.99 * (far_m or far)), far_m or max(far, 1.01 * (near_m or near))
    color_path = (video or folder.path / "depth.mkv").with_name(f"{video.stem if video else 'depth'}_color.mp4")
    with ExitStack() as stack:
        color = open_color_video(stack.enter_context(_whole(color_path)), size=first.shape, fps=fps)
        stack.callback(color.release)
        depth = None
        if video is not None:
            depth = DepthVideoWriter(stack.enter_context(_whole(video)), size=first.shape, fps=fps)
            stack.callback(depth.close)
        for record in folder.records:
            millimetres = folder.millimetres(record)
            if depth is not None:
                depth.write(millimetres)
            picture = colorize(_metres(millimetres), near_m, far_m)
            if picture.shape[:2] != first.shape:  # a folder's frames may have several sizes, a video's have one
                picture = np.asarray(cv2.resize(picture, first.shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)
            if not trained:
                stamp(picture, "UNTRAINED")
            color.write(picture)
    if video is None:
        return [str(folder.path), str(color_path)]
    shutil.rmtree(folder.path)
    return [str(video), str(color_path)]


def _range(folder: FrameFolder) -> tuple[float, float]:
    records = folder.records[:: max(1, len(folder.records) // _SAMPLED)]
    return color_range(_metres(np.concatenate([folder.millimetres(record).ravel() for record in records]))[None])


def _metres(millimetres: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    return millimetres.astype(np.float32) / np.float32(1e3)


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Another name for a file until it is whole; OpenCV goes by suffixes."""
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        yield part
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)
