"""What is compared: pictures that are read one at a time, some with the true depth beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from edgedepth.core.session import Array
from edgedepth.programs.frames import Color, as_rgb

__all__ = ["FramePicture", "LoadedPicture", "PictureSource", "Skip", "Truth"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """What a picture really shows.

    Args:
        depth_m: (H, W) float32 in metres, above 0 where valid.
        valid: (H, W) bool: where it is known and counts.
        mask: (H, W) bool, the foreground that a data set knows; or None.
    """

    depth_m: Array
    valid: npt.NDArray[np.bool_]
    mask: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedPicture:
    """A picture in memory.

    Args:
        rgb: (H, W, 3) float32 RGB in 0..1.
        truth: its true depth, where that is known.
    """

    rgb: Array
    truth: Truth | None = None


class PictureSource(Protocol):
    """A picture that hasn't been read yet."""

    @property
    def name(self) -> str:
        """As people know it: a file name, a data set's sample."""
        ...

    def load(self) -> LoadedPicture:
        """Read it.

        Raises:
            PhotoError, SampleError, CalibrationError: it can't be used; it is counted, named and left out.
            FrameError: a caller's array that is no picture.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FramePicture:
    """A caller's own array.

    Args:
        name: for the report.
        frame: as infer() takes it.
        color: order of its channels.
    """

    name: str
    frame: object
    color: Color = "bgr"

    def load(self) -> LoadedPicture:
        """See PictureSource."""
        return LoadedPicture(rgb=as_rgb(self.frame, self.color))


@dataclass(frozen=True, slots=True, kw_only=True)
class Skip:
    """A picture that couldn't be read, and why."""

    name: str
    reason: str
