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
    """The worst that was seen of one stage, over all its outputs, calls and pictures.

    `worst_feeds` are the inputs of the call with the largest max_rel, if `keep_feeds`; `frozen` are outputs that the
    candidate gave unchanged for different inputs.
    """

    def __init__(self, *, keep_feeds: bool = False) -> None:
        self.comparisons = 0
        self.calls = 0
        self.max_rel = 0.0
        self.mean_rel = 0.0
        self.p50_rel = 0.0
        self.p99_rel = 0.0
        self.cosine = 1.0
        self.nan = 0
        self.inf = 0
        self.failure: str | None = None
        self.worst_feeds: dict[str, npt.NDArray[Any]] | None = None
        self._keep_feeds = keep_feeds
        self._seen: dict[str, tuple[Array, Array]] = {}
        self._changing: set[str] = set()
        self._frozen: set[str] = set()

    @property
    def frozen(self) -> tuple[str, ...]:
        """Outputs that stayed the same, value by value, while the reference's changed."""
        return tuple(sorted(self._frozen - self._changing))

    def add(self, error: TensorError) -> None:
        """Count one comparison."""
        self.comparisons += 1
        # np.maximum keeps a NaN, which max() drops.
        for name in ("max_rel", "mean_rel", "p50_rel", "p99_rel"):
            setattr(self, name, float(np.maximum(getattr(self, name), getattr(error, name))))
        self.cosine = float(np.minimum(self.cosine, error.cosine))
        self.nan += error.nan
        self.inf += error.inf

    def watch(self, output: str, actual: Array, expected: Array) -> None:
        """Notice an output that doesn't depend on the inputs any more: a constant frozen at trace time."""
        mine, theirs = _some_of(actual), _some_of(expected)
        before = self._seen.setdefault(output, (mine, theirs))
        if not np.array_equal(before[0], mine):
            self._changing.add(output)
        elif not np.array_equal(before[1], theirs):
            self._frozen.add(output)

    def keep(self, feeds: Mapping[str, npt.NDArray[Any]], worst_before: float) -> None:
        """Keep the feeds of a call if it was the worst so far."""
        if self._keep_feeds and (self.worst_feeds is None or not self.max_rel <= worst_before):
            self.worst_feeds = {name: np.array(array) for name, array in feeds.items()}


def _some_of(tensor: Array) -> Array:
    """Values that tell whether two tensors are the same, evenly spread."""
    flat = tensor.reshape(-1)
    return flat[:: max(1, flat.size // 256)].copy()


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
            before = self._score.max_rel
            self._score.calls += 1
            for name, tensor in expected.items():
                self._score.add(compare_tensors(actual[name], tensor))
                self._score.watch(name, actual[name], tensor)
            self._score.keep(feeds, before)
        except (EdgeDepthError, ValueError) as error:
            self._score.failure = str(error)
        return expected

    def close(self) -> None:
        """Close the reference's. The candidate belongs to whoever opened it: it runs end to end as well."""
        self._reference.close()
