"""The one interface between programs and backends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from edgedepth.core.spec import TensorSpec

__all__ = ["Array", "OpenStage", "Session"]

Array = npt.NDArray[np.float32]


@runtime_checkable
class Session(Protocol):
    """An opened stage on a backend and a device.

    A protocol and not a base class: a backend owes its callers behaviour, not ancestry; tests/contract holds
    the suite that every implementation passes.
    """

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What run() takes, as the artefact declares it."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What run() gives, as the artefact declares it."""
        ...

    @property
    def device(self) -> str:
        """Where it really runs, in words: "cpu", "cuda:0 (NVIDIA ...)"."""
        ...

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the stage once.

        Args:
            feeds: every input by its exact name, in the declared dtype and shape. Any strides; never written to.
            out: outputs by name, C-contiguous float32 of the right shape, that results are written into. The
                returned dict holds these very arrays. Outputs not named in it are allocated.

        Returns:
            Every declared output by its exact name.

        Raises:
            StageError: a missing or unknown name, a wrong dtype or shape, or a closed session.
        """
        ...

    def close(self) -> None:
        """Free the stage's memory. Closing twice is fine; running after it is a StageError."""
        ...


class OpenStage(Protocol):
    """Opens a stage by name: how a program gets its sessions without knowing a backend."""

    def __call__(self, stage: str, /) -> Session:
        """Open the stage; the caller closes the session."""
        ...
