"""Which stage gives the first value that isn't finite: what a bundle that computes NaN is told of."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.bundle import open_bundle
from edgedepth.core.errors import EdgeDepthError
from edgedepth.core.forwarding import ForwardingSession
from edgedepth.core.session import Array, Session
from edgedepth.core.signing import trusted_key_of_environment
from edgedepth.core.spec import DEFAULT_TILE_BATCH
from edgedepth.programs.frames import as_rgb
from edgedepth.programs.opening import open_program, proof_of
from edgedepth.programs.stages import StagePool
from edgedepth.runtimes.base import SessionOptions, backend_named

__all__ = ["first_not_finite"]


class _Watched(ForwardingSession):
    """Notes the first of a stage's outputs that isn't finite."""

    def __init__(self, stage: str, session: Session, found: list[str]) -> None:
        super().__init__(session)
        self._stage, self._found = stage, found

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the stage itself, and look."""
        outputs = super().run(feeds, out)
        for name, array in outputs.items():
            if bad := int(np.count_nonzero(~np.isfinite(array))):
                kind = "NaN" if np.isnan(array).any() else "infinite"
                self._found.append(f"stage {self._stage} gives {name} with {bad} of {array.size} values {kind}")
        return outputs


def first_not_finite(bundle: str, device: str, frame: npt.NDArray[np.uint8]) -> str | None:
    """Run a frame once more and look at every stage's outputs.

    Returns:
        The first that isn't finite, in words; None if all are.
    """
    opened = open_bundle(bundle, check_hashes=False, trusted_key=trusted_key_of_environment())
    manifest, found = opened.manifest, list[str]()
    backend, options = backend_named(manifest.target), SessionOptions(device=device)
    with StagePool(lambda stage: _Watched(stage, backend.open(opened, stage, options), found)) as pool:
        tile_batch = manifest.tile_batch or DEFAULT_TILE_BATCH
        program = open_program(manifest.model, pool, layout=manifest.layout, tile_batch=tile_batch)
        with contextlib.suppress(EdgeDepthError):
            proof_of(program).predict(as_rgb(frame, "bgr"))
    return found[0] if found else None
