"""A bundle proves itself once on every device: its golden frame, run on first use, remembered in the store."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import EdgeDepthError, SelfTestError
from edgedepth.core.remembered import recall, remember
from edgedepth.core.reports import manifest_sha256, read_report
from edgedepth.core.session import OpenStage
from edgedepth.core.tolerances import tolerance_for
from edgedepth.programs.opening import open_program, proof_of
from edgedepth.programs.probes import Probes
from edgedepth.programs.stages import StagePool
from edgedepth.verify.parity import Predictor
from edgedepth.verify.selftest import differing_stage, golden_frame, run_self_test

__all__ = ["is_proven", "parity_line", "prove", "tell_parity"]

log = logging.getLogger("edgedepth")

_KIND = "proven"

_told: set[str] = set()  # manifests that this process has warned of


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
    golden, tolerance = bundle.manifest.golden, tolerance_for(bundle.manifest.precision)
    log.info("first use of %s on this device: running its golden frame", bundle.path)
    try:
        abs_rel = run_self_test(
            predictor, golden, bundle.file(golden.path), max_lost_structure=tolerance.lost_structure
        )
    except SelfTestError as error:
        stage = _differing_stage(bundle, open_stage, tile_batch)
        told = "; ".join(filter(None, (error.problem, stage, known_bad)))
        raise SelfTestError(told, remedy=error.remedy) from error
    remember(_KIND, bundle, runtime(), {"abs_rel": abs_rel})
    return abs_rel


def parity_line(bundle: Bundle) -> str:
    """What is known of a bundle's parity with the reference, in a line."""
    stored = read_report(bundle, "parity")
    if stored is None:
        return f"not measured yet: edgedepth verify {bundle.path} --images DIR"
    report = stored.report
    verdict = "passed" if report.get("passed") else "FAILED"
    abs_rel = (report.get("end_to_end") or {}).get("abs_rel")
    parts = [f"{verdict} on {report.get('images')} pictures"]
    parts += [f"AbsRel {abs_rel:.2e}"] if isinstance(abs_rel, float) else []
    overridden = (report.get("tolerance") or {}).get("overridden")
    parts += [f"with limits set by hand: {', '.join(overridden)}"] if overridden else []
    parts += [str(report.get("where")), stored.runtime, stored.created_utc]
    return ", ".join(parts)


def tell_parity(bundle: Bundle) -> None:
    """Warn, once in a process, of a bundle whose parity with the reference failed or was never measured."""
    manifest = manifest_sha256(bundle)
    stored = read_report(bundle, "parity")
    if manifest in _told or (stored is not None and stored.report.get("passed")):
        return
    if stored is None and bundle.manifest.parity is not None:  # INT8, measured when it was exported
        return
    _told.add(manifest)
    if stored is None:
        log.warning(
            "nobody has compared %s with the reference yet: edgedepth verify %s --images DIR", bundle.path, bundle.path
        )
        return
    failures = stored.report.get("failures") or ["no reason was given"]
    log.warning(
        "%s FAILED against the reference (%s): edgedepth debug %s tells where it starts",
        bundle.path,
        failures[0],
        bundle.path,
    )


def _differing_stage(bundle: Bundle, open_stage: OpenStage, tile_batch: int) -> str:
    manifest = bundle.manifest
    path = bundle.file(manifest.golden.path)
    probes = Probes(open_stage)
    with StagePool(probes.open) as pool, contextlib.suppress(EdgeDepthError):
        program = open_program(manifest.model, pool, layout=manifest.layout, tile_batch=tile_batch)
        proof_of(program).predict(golden_frame(path))
    return differing_stage(path, probes.seen, max_rel=tolerance_for(manifest.precision).stage_max_rel)
