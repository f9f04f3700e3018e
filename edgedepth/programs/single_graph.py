"""Programs for bundles of layout "single": the whole model is one graph."""

from __future__ import annotations

import numpy as np

from edgedepth.core.session import Array
from edgedepth.core.spec import ModelSpec
from edgedepth.programs.canonical import CanonicalProgram, prepare
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

    def _infer(self, rgb: Array, want_fov: bool, watch: Stopwatch) -> tuple[Array, float]:  # noqa: ARG002
        with watch("preprocess"):
            image = prepare(rgb, self.spec.preprocess)
        session = self._pool.session("whole")
        canonical = np.empty((1, 1, *image.shape[1:]), np.float32)
        with watch("whole"):
            out = run_stage(session, self._stage, {"image": image[None]}, {"canonical_inverse_depth": canonical})
        return out["canonical_inverse_depth"], out["fov_deg"].item()
