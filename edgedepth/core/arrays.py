"""Where the arrays between two stages live: in the host's memory, or on the device that runs both stages.

A session that has a device's memory to offer carries an `arrays` of its own. A program asks arrays_of() for it and
allocates what the host never looks at with it: features then go from stage to stage without leaving the device.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from edgedepth.core.errors import FrameError
from edgedepth.core.session import Array, Session

__all__ = ["HOST", "Arrays", "HostArrays", "arrays_of"]


class Arrays(Protocol):
    """Allocates and copies arrays of one place.

    Attributes:
        kinds: the types of array that this place's sessions take and give.
    """

    kinds: tuple[type, ...]

    def staging(self, shape: tuple[int, ...]) -> Array:
        """An uninitialised host array that a program fills and feeds, frame after frame."""
        ...

    def resident(self, shape: tuple[int, ...]) -> Any:
        """An uninitialised float32 array that sessions write and read; it is sliced as numpy's are."""
        ...

    def copy(self, target: Any, source: Any) -> None:
        """Copy one resident array, or a slice of one, into another of the same shape."""
        ...

    def fetch(self, frame: object) -> object:
        """A frame that lies in a device's memory as a numpy array; any other frame as it is.

        Raises:
            FrameError: it lies where this place can't read.
        """
        ...


class HostArrays:
    """numpy's."""

    kinds: tuple[type, ...] = (np.ndarray,)

    def staging(self, shape: tuple[int, ...]) -> Array:
        """See Arrays."""
        return np.empty(shape, np.float32)

    def resident(self, shape: tuple[int, ...]) -> Any:
        """See Arrays."""
        return np.empty(shape, np.float32)

    def copy(self, target: Any, source: Any) -> None:
        """See Arrays."""
        np.copyto(target, source)

    def fetch(self, frame: object) -> object:
        """See Arrays. The memory of a GPU is another place."""
        if hasattr(frame, "__cuda_array_interface__"):
            raise FrameError(
                f"the frame is a {type(frame).__name__} in a GPU's memory, and this backend reads the host's",
                remedy="bring it down first (torch: frame.cpu().numpy()), or use backend='tensorrt'",
            )
        return frame


HOST = HostArrays()


def arrays_of(session: Session) -> Arrays:
    """Where a session's arrays may stay: on its device if it offers that, else in the host's memory."""
    arrays: Arrays = getattr(session, "arrays", HOST)
    return arrays
