"""A session that runs a candidate beside the reference, on the very same inputs, and keeps score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import EdgeDepthError, StageError
from edgedepth.core.session import Array, Session
from edgedepth.core.spec import TensorSpec
from edgedepth.verify.depth_errors import TensorError, compare_tensors

__all__ = ["ShadowSession", "StageScore"]


class StageScore:
    """The worst that was seen of one stage, over all its outputs, calls and images."""

    def __init__(self) -> None:
        self.comparisons = 0
        self.max_rel = 0.0
        self.mean_rel = 0.0
        self.failure: str | None = None

    def add(self, error: TensorError) -> None:
        """Count one comparison."""
        self.comparisons += 1
        # np.maximum keeps a NaN, which max() drops.
        self.max_rel = float(np.maximum(self.max_rel, error.max_rel))
        self.mean_rel = float(np.maximum(self.mean_rel, error.mean_rel))


class ShadowSession:
    """Gives the reference's outputs, so that an error in one stage doesn't reach the next one's inputs."""

    def __init__(self, reference: Session, candidate: Session, score: StageScore) -> None:
        self._reference = reference
        self._candidate = candidate
        self._score = score

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The candidate's: a fixed tile batch is kept."""
        return self._candidate.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The reference's."""
        return self._reference.outputs

    @property
    def device(self) -> str:
        """The candidate's."""
        return self._candidate.device

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run both; compare every declared output by its exact name."""
        expected = self._reference.run(feeds, out)
        try:
            actual = self._candidate.run(feeds)
            if set(actual) != set(expected):
                raise StageError(
                    f"the stage gave {sorted(actual)}; the reference gives {sorted(expected)}",
                    remedy="export the bundle again: edgedepth export --help",
                )
            for name, tensor in expected.items():
                self._score.add(compare_tensors(actual[name], tensor))
        except (EdgeDepthError, ValueError) as error:
            self._score.failure = str(error)
        return expected

    def close(self) -> None:
        """Close the reference's. The candidate belongs to whoever opened it: it runs end to end as well."""
        self._reference.close()
