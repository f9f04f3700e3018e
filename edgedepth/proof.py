"""A bundle proves itself once on every device: its golden frame, run on first use, remembered in the store."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import EdgeDepthError, SelfTestError
from edgedepth.core.remembered import recall, remember
from edgedepth.core.session import OpenStage
from edgedepth.core.tolerances import tolerance_for
from edgedepth.programs.opening import open_program, proof_of
from edgedepth.programs.probes import Probes
from edgedepth.programs.stages import StagePool
from edgedepth.verify.parity import Predictor
from edgedepth.verify.selftest import differing_stage, golden_frame, run_self_test

__all__ = ["is_proven", "prove"]

log = logging.getLogger("edgedepth")

_KIND = "proven"


def is_proven(bundle: Bundle, runtime: str) -> bool:
    """Whether this very bundle has reproduced its golden frame here, on this runtime.

    Args:
        bundle: to be run.
        runtime: backend, version and device, in words. Any change asks for a new proof.
    """
    return recall(_KIND, bundle, runtime) is not None


def prove(
    bundle: Bundle,
    runtime: Callable[[], str],
    predictor: Predictor,
    open_stage: OpenStage,
    *,
    tile_batch: int,
    known_bad: str = "",
) -> float:
    """Run the golden frame and remember that it came out right.

    Args:
        bundle: to be run.
        runtime: as is_proven; asked for once the golden frame has run, which may build what runs it.
        predictor: the bundle's program.
        open_stage: its stages, to find the one that is wrong.
        tile_batch: tiles in a micro-batch.
        known_bad: what is known against this version of the runtime.

    Returns:
        AbsRel against the golden depth.

    Raises:
        SelfTestError: it came out wrong; with the stage that differs first, and what is known of the version.
    """
    golden = bundle.manifest.golden
    log.info("first use of %s on this device: running its golden frame", bundle.path)
    try:
        abs_rel = run_self_test(predictor, golden, bundle.file(golden.path))
    except SelfTestError as error:
        stage = _differing_stage(bundle, open_stage, tile_batch)
        told = "; ".join(filter(None, (error.problem, stage, known_bad)))
        raise SelfTestError(told, remedy=error.remedy) from error
    remember(_KIND, bundle, runtime(), {"abs_rel": abs_rel})
    return abs_rel


def _differing_stage(bundle: Bundle, open_stage: OpenStage, tile_batch: int) -> str:
    manifest = bundle.manifest
    path = bundle.file(manifest.golden.path)
    probes = Probes(open_stage)
    with StagePool(probes.open) as pool, contextlib.suppress(EdgeDepthError):
        program = open_program(manifest.model, pool, layout=manifest.layout, tile_batch=tile_batch)
        proof_of(program).predict(golden_frame(path))
    return differing_stage(path, probes.seen, max_rel=tolerance_for(manifest.precision).stage_max_rel)
