"""Where the arrays between two stages live: in the host's memory, or on the device that runs both stages.

A session that has a device's memory to offer carries an `arrays` of its own. A program asks arrays_of() for it and
allocates what the host never looks at with it: features then go from stage to stage without leaving the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from edgedepth.core.errors import FrameError
from edgedepth.core.session import Array, Session

__all__ = ["HOST", "Arrays", "HostArrays", "Parcel", "arrays_of", "dlpack_device"]

_ON_HOST = (1, 3)
"""DLPack's numbers of memory that the host reads: its own, and what CUDA has pinned of it."""


class Parcel(Protocol):
    """Arrays that a program fills on the host, frame after frame, and that travel to a place as one."""

    def fill(self) -> list[Array]:
        """The host's arrays, to be written: once what was sent of them before has left."""
        ...

    def send(self) -> list[Any]:
        """The same arrays where the place's sessions read them."""
        ...


class Arrays(Protocol):
    """Allocates and copies arrays of one place.

    Attributes:
        kinds: the types of array that this place's sessions take and give.
    """

    kinds: tuple[type, ...]

    def parcel(self, shapes: Sequence[tuple[int, ...]]) -> Parcel:
        """Uninitialised float32 arrays of these shapes that travel as one."""
        ...

    def resident(self, shape: tuple[int, ...]) -> Any:
        """An uninitialised float32 array that sessions write and read; it is sliced as numpy's are."""
        ...

    def copy(self, target: Any, source: Any) -> None:
        """Copy one resident array, or a slice of one, into another of the same shape."""
        ...

    def fetch(self, frame: object) -> object:
        """A frame of another library (DLPack), or in a device's memory, as a numpy array; any other frame as it is.

        Raises:
            FrameError: it lies where this place can't read, or its library doesn't hand it over.
        """
        ...


class HostArrays:
    """numpy's."""

    kinds: tuple[type, ...] = (np.ndarray,)

    def parcel(self, shapes: Sequence[tuple[int, ...]]) -> Parcel:
        """See Arrays."""
        return _HostParcel(shapes)

    def resident(self, shape: tuple[int, ...]) -> Any:
        """See Arrays."""
        return np.empty(shape, np.float32)

    def copy(self, target: Any, source: Any) -> None:
        """See Arrays."""
        np.copyto(target, source)

    def fetch(self, frame: object) -> object:
        """See Arrays. The memory of a GPU is another place."""
        device = dlpack_device(frame)
        if hasattr(frame, "__cuda_array_interface__") or (device is not None and device[0] not in _ON_HOST):
            raise FrameError(
                f"the frame is a {type(frame).__name__} in a GPU's memory, and this backend reads the host's",
                remedy="bring it down first (torch: frame.cpu().numpy()), or use backend='tensorrt'",
            )
        if device is None or isinstance(frame, np.ndarray):
            return frame
        try:
            return np.from_dlpack(frame)  # type: ignore[arg-type]
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise FrameError(
                f"the frame is a {type(frame).__name__} that isn't handed over through DLPack: {error}",
                remedy="pass a numpy array (torch: frame.detach().cpu().numpy())",
            ) from error


class _HostParcel:
    """Nothing has to travel. Each frame gets arrays of its own, which are freed as soon as it needs them no more."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        self._shapes = tuple(shapes)
        self._filled: list[Array] = []

    def fill(self) -> list[Array]:
        """See Parcel."""
        self._filled = [np.empty(shape, np.float32) for shape in self._shapes]
        return self._filled

    def send(self) -> list[Any]:
        """See Parcel."""
        filled, self._filled = self._filled, []
        return filled


HOST = HostArrays()


def arrays_of(session: Session) -> Arrays:
    """Where a session's arrays may stay: on its device if it offers that, else in the host's memory."""
    arrays: Arrays = getattr(session, "arrays", HOST)
    return arrays


def dlpack_device(array: object) -> tuple[int, int] | None:
    """DLPack's kind of memory and number of the device that an array lies on; None if it has no DLPack."""
    ask = getattr(array, "__dlpack_device__", None)
    if ask is None:
        return None
    kind, index = ask()
    return int(kind), int(index)
