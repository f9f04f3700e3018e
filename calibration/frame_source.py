"""Where calibration frames come from: numbered frames that are read in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["FrameSource", "SourceFrame", "Unreadable"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceFrame:
    """A frame as its source has it.

    Args:
        number: its place in the source.
        name: unique in the source: a file's name, "seed-2000003", "frame-000120".
        image: (H, W, 3) uint8, RGB.
        focal_px: horizontal focal length in pixels of the frame; None where the source doesn't tell.
        depth_m: (H, W) float32 metres along the optical axis, 0 where unknown; None where the source has no truth.
    """

    number: int
    name: str
    image: npt.NDArray[np.uint8]
    focal_px: float | None = None
    depth_m: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A frame that its source could not give.

    Args:
        number: its place in the source.
        name: of the frame.
        reason: why, for people.
    """

    number: int
    name: str
    reason: str


class FrameSource(Protocol):
    """Frames to choose from."""

    @property
    def name(self) -> str:
        """What tables and the set's index call it: "synthetic:64", "photos"."""
        ...

    @property
    def identity(self) -> str:
        """Differs where the frames may: an interrupted build goes on only with the same."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether a frame can be read again; a camera's can't."""
        ...

    def __len__(self) -> int:
        """How many frames there are, readable or not."""
        ...

    def read(self, numbers: Sequence[int]) -> Iterator[SourceFrame | Unreadable]:
        """Read frames.

        Args:
            numbers: of the frames, ascending, each in range(len(self)).

        Yields:
            One for each number, in that order.

        Raises:
            EdgeDepthError: the source as a whole is gone.
        """
        ...
