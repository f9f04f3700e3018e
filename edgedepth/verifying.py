"""verify_bundle: a bundle against the eager reference, on real pictures."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from edgedepth.calibration.scales import check_scales
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import WeightsMismatchError
from edgedepth.core.optional import require
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.core.session import OpenStage, Session
from edgedepth.core.spec import DEFAULT_TILE_BATCH
from edgedepth.core.tolerances import tolerance_for
from edgedepth.models.loading import LoadedModel, load_model
from edgedepth.off_device import proving_backend
from edgedepth.programs.frames import Color, as_rgb
from edgedepth.programs.opening import open_program, proof_of
from edgedepth.programs.stages import StagePool
from edgedepth.runtimes.base import SessionOptions
from edgedepth.verify.eight_bits import EightBitSession
from edgedepth.verify.parity import OFF_DEVICE, ParityReport, Predictor, verify_parity

__all__ = ["verify_bundle"]

log = logging.getLogger("edgedepth")


def verify_bundle(
    bundle: str | os.PathLike[str] | Bundle,
    frames: Sequence[object],
    *,
    color: Color = "bgr",
    weights: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
    announce: Announce = unheard,
) -> ParityReport:
    """Compare a bundle with the eager fp32 reference, stage by stage and end to end.

    A bundle of Core ML is computed by an evaluator where Core ML isn't; the report's `where` says so.

    Args:
        bundle: its folder.
        frames: two or more real pictures, as infer() takes them.
        color: order of the frames' channels.
        weights: the checkpoint that the bundle was exported from; None: as export finds it.
        device: where the bundle runs.
        progress: told of each step.
        announce: told what a person has to know.

    Returns:
        The report; `passed` is its verdict.

    Raises:
        WeightsMismatchError: the reference's weights are not the bundle's.
        OptionError: fewer than two pictures.
        FrameError, BundleError, DeviceError: as their names say.
    """
    require("torch", extra="export", purpose="to compare with the reference")
    from edgedepth.runtimes.torch_reference import EagerReference
    from edgedepth.runtimes.torch_session import reference_stages

    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
    rgb = [as_rgb(frame, color) for frame in frames]
    manifest = opened.manifest
    options = SessionOptions(device=device)
    backend, where = proving_backend(manifest.target)
    if where == OFF_DEVICE:
        announce(
            f"{OFF_DEVICE}: this machine has no runtime of {manifest.target}, so the packages are evaluated: it proves "
            "graph, weights, names, shapes and dtypes, and not that a device loads them, where it places them, or speed"
        )
        log.info("%s: %s", OFF_DEVICE, opened.path)
    loaded = _reference(opened, weights, announce)
    with ExitStack() as stack:
        # One set of the bundle's sessions, for the comparison by stages and for the one end to end.
        sessions = stack.enter_context(StagePool(lambda stage: backend.open(opened, stage, options)))

        def program(open_stage: OpenStage) -> Predictor:
            pool = stack.enter_context(StagePool(open_stage))
            tile_batch = manifest.tile_batch or DEFAULT_TILE_BATCH
            return proof_of(open_program(manifest.model, pool, layout=manifest.layout, tile_batch=tile_batch))

        reference = reference_stages(loaded)

        def open_reference(stage: str) -> Session:
            pictures: frozenset[str] = getattr(sessions.session(stage), "pictures", frozenset())
            return EightBitSession(reference(stage), pictures) if pictures else reference(stage)

        report = verify_parity(
            rgb,
            reference=EagerReference(loaded),
            candidate=program(sessions.session),
            open_program=program,
            open_reference_stage=open_reference,
            open_candidate_stage=sessions.session,
            stage_names=[stage.name for stage in manifest.model.stages],
            tolerance=tolerance_for(manifest.precision),
            progress=progress,
        )
    return replace(report, where=where, failures=(*report.failures, *check_scales(opened)))


def _reference(bundle: Bundle, weights: str | Path | None, announce: Announce) -> LoadedModel:
    """The reference, on the very weights that the bundle was made from."""
    spec = bundle.manifest.model
    if weights is None and spec.source.startswith("random:"):
        weights = spec.source
    if weights is None and spec.source.startswith("local "):
        raise WeightsMismatchError(
            f"{bundle.path} was made from a file of yours, {spec.source.removeprefix('local ')}, and the reference "
            "needs it too",
            remedy="name it: --weights PATH",
        )
    loaded = load_model(spec.name, weights=weights, announce=announce)
    if loaded.spec.weights_sha256 != spec.weights_sha256:
        raise WeightsMismatchError(
            f"{bundle.path} was made from weights {spec.weights_sha256[:12]}… ({spec.source}); "
            f"the reference has {loaded.spec.weights_sha256[:12]}… ({loaded.spec.source})",
            remedy="pass the bundle's own checkpoint: --weights PATH",
        )
    return loaded
