"""A few values of what each stage gives: enough to tell which one went wrong, and a few kilobytes in a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.session import Array, OpenStage, Session
from edgedepth.core.spec import TensorSpec

__all__ = ["Probes", "probe_of"]

_SAMPLES = 256


class Probes:
    """Opens stages that are watched: of each one's first run, some values of every output are kept.

    Args:
        open_stage: opens the stages themselves; it is asked each time, so a pool may close them in between.

    `seen` holds the values by "stage.output".
    """

    def __init__(self, open_stage: OpenStage) -> None:
        self.seen: dict[str, Array] = {}
        self._open_stage = open_stage

    def open(self, stage: str) -> Session:
        """Open a watched stage; closing it closes nothing."""
        return _Watched(stage, self._open_stage, self.seen)


def probe_of(output: Array) -> Array:
    """Some values of an output's first item, evenly spread: of a batch, its first tile."""
    flat = output[0].reshape(-1)
    indices = np.linspace(0, flat.size - 1, min(flat.size, _SAMPLES)).astype(np.intp)
    values: Array = flat[indices].copy()
    return values


class _Watched:
    """A Session that keeps probes of its first run. It has no `arrays`, so everything passes through the host."""

    def __init__(self, stage: str, open_stage: OpenStage, seen: dict[str, Array]) -> None:
        self._stage, self._open_stage, self._seen = stage, open_stage, seen

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Of the stage itself."""
        return self._open_stage(self._stage).inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Of the stage itself."""
        return self._open_stage(self._stage).outputs

    @property
    def device(self) -> str:
        """Of the stage itself."""
        return self._open_stage(self._stage).device

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the stage itself, and look."""
        outputs = self._open_stage(self._stage).run(feeds, out)
        for name, array in outputs.items():
            self._seen.setdefault(f"{self._stage}.{name}", probe_of(array))
        return outputs

    def close(self) -> None:
        """Whoever opened the stage closes it."""
