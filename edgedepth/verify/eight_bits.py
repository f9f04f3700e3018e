"""A reference that sees what an artefact with picture inputs sees: images of 8 bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.forwarding import ForwardingSession
from edgedepth.core.session import Array, Session

__all__ = ["EightBitSession"]


class EightBitSession(ForwardingSession):
    """Rounds some inputs to 8 bits before a session gets them; else it is that session.

    A picture input takes no more than 8 bits. Stages, and a bundle from end to end, are compared on the very picture
    that they were given, or the rounding would hide their faults; what it costs is measured apart.

    Args:
        session: of the reference.
        pictures: names of inputs in -1..1 that are rounded.
    """

    def __init__(self, session: Session, pictures: frozenset[str]) -> None:
        super().__init__(session)
        self._pictures = pictures

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the session on the rounded inputs."""
        rounded = {name: _rounded(array) if name in self._pictures else array for name, array in feeds.items()}
        return self._session.run(rounded, out)


def _rounded(tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
    levels = np.clip(np.rint((tensor + 1) * np.float32(127.5)), 0, 255)
    rounded: npt.NDArray[Any] = (levels / np.float32(127.5) - 1).astype(tensor.dtype)
    return rounded
