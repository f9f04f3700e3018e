"""A session around another one, which changes a part of what it does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from edgedepth.core.session import Array, Session
from edgedepth.core.spec import TensorSpec

__all__ = ["ForwardingSession"]


class ForwardingSession:
    """Does what another session does; subclasses change run().

    Args:
        session: that does the work, and is closed with this one.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The session's."""
        return self._session.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The session's."""
        return self._session.outputs

    @property
    def device(self) -> str:
        """The session's."""
        return self._session.device

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the session."""
        return self._session.run(feeds, out)

    def close(self) -> None:
        """Close the session."""
        self._session.close()
