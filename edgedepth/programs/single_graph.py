"""Programs for bundles of layout "single": the whole model is one graph."""

from __future__ import annotations

import numpy as np

from edgedepth.core.errors import OptionError
from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec
from edgedepth.programs.canonical import CanonicalProgram, NetworkOutput, prepare
from edgedepth.programs.reuse import ReusePolicy
from edgedepth.programs.stages import StagePool, run_stage
from edgedepth.programs.stopwatch import Stopwatch

__all__ = ["SingleGraphProgram"]


class SingleGraphProgram(CanonicalProgram):
    """Runs the stage "whole". The graph computes the field of view even when the focal length is given.

    Args:
        spec: a model with one stage, "whole": image -> canonical_inverse_depth, fov_deg.
        pool: its stage.
    """

    def __init__(self, spec: ModelSpec, pool: StagePool) -> None:
        super().__init__(spec, pool)
        self._stage = spec.stage("whole")

    def check_reuse(self) -> None:
        """One graph keeps nothing."""
        raise OptionError(
            "a bundle of one graph cuts its own tiles, and encodes them all; reuse has no effect on it",
            remedy="leave reuse out, or export with --layout staged",
        )

    def _inputs(self, rgb: Array) -> list[Array]:
        return [prepare(rgb, self.spec.preprocess)]

    def _infer(self, inputs: list[Array], want_fov: bool, watch: Stopwatch, reuse: ReusePolicy | None) -> NetworkOutput:
        del want_fov
        if reuse is not None:
            self.check_reuse()
        image = inputs[0]
        session = self._pool.session("whole")
        canonical = np.empty((1, 1, *image.shape[1:]), np.float32)
        with watch("whole"):
            out = run_stage(session, self._stage, {"image": image[None]}, {"canonical_inverse_depth": canonical})
        return NetworkOutput(out["canonical_inverse_depth"], out["fov_deg"].item(), None)
