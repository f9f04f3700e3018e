"""verify_bundle: a bundle against a reference, on pictures."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgedepth.calibration.scales import check_scales
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.errors import OptionError, OutputError
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.core.reports import save_report
from edgedepth.core.signing import trusted_key_of_environment
from edgedepth.core.tolerances import Tolerance, looser, overridden, tolerance_for
from edgedepth.programs.frames import Color
from edgedepth.programs.probes import Probes
from edgedepth.references import (
    UNREACHABLE,
    Candidate,
    Reference,
    bundle_reference,
    eager_reference,
    open_candidate,
)
from edgedepth.verify.evaluation import EvalSettings
from edgedepth.verify.parity import MIN_FRAMES, Compared, ParityReport, unseen, verify_parity
from edgedepth.verify.parity_report import EAGER
from edgedepth.verify.pictures import FramePicture, PictureSource
from edgedepth.verify.stored import verify_stored

__all__ = ["keep_report", "verify_bundle"]


def verify_bundle(
    bundle: str | os.PathLike[str] | Bundle,
    frames: Sequence[object],
    *,
    color: Color = "bgr",
    weights: str | Path | None = None,
    against: str | os.PathLike[str] | Bundle | None = None,
    device: str = "auto",
    limits: Mapping[str, float] | None = None,
    settings: EvalSettings | None = None,
    save: bool = False,
    seen: Callable[[Compared], None] = unseen,
    progress: Progress = silent,
    announce: Announce = unheard,
) -> ParityReport:
    """Compare a bundle with the eager fp32 reference, or with another bundle, stage by stage and end to end.

    Where the reference can't be loaded (no torch, no weights) and no weights were named, the bundle is compared with
    the reference's outputs that it has stored, for its golden frame alone; `announce` and the report say so.

    A bundle of Core ML is computed by an evaluator where Core ML isn't; the report's `where` says so.

    Args:
        bundle: its folder.
        frames: two or more real pictures, as infer() takes them, or sources (picture_sources.py), which are read one at
            a time: from_photos, from_dataset, from_calibration.
        color: order of the frames' channels.
        weights: the checkpoint that the bundle was exported from; None: as export finds it.
        against: another bundle of the model, which is compared with instead; needs no torch.
        device: where the bundle runs.
        limits: instead of the table's, by name (tolerances.LIMITS).
        settings: how pictures with a truth are scored; see picture_sources.settings_for.
        save: keep the report in the bundle (reports/parity.json), if it is against the reference itself. A bundle that
            can't be written is announced, and no error: its report is here all the same.
        seen: told of each compared picture.
        progress: told of each step.
        announce: told what a person has to know.

    Returns:
        The report; `passed` is its verdict.

    Raises:
        WeightsMismatchError: the reference's weights are not the bundle's.
        OptionError: fewer than two different pictures, or a limit that is none.
        UnsupportedError: the other bundle is of another model.
        FrameError, BundleError, DeviceError: as their names say.
    """
    opened = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, trusted_key=trusted_key_of_environment())
    tolerance = tolerance_for(opened.manifest.precision)
    other: Bundle | None = None
    if against is not None:
        _refuse_weights(weights)
        other = (
            against if isinstance(against, Bundle) else open_bundle(against, trusted_key=trusted_key_of_environment())
        )
        tolerance = looser(tolerance, tolerance_for(other.manifest.precision))
    tolerance = overridden(tolerance, limits or {})
    sources = _sources(frames, color)
    with ExitStack() as stack:
        candidate = open_candidate(opened, device, stack, announce)
        reference = _reference(candidate, other, weights=weights, device=device, stack=stack, announce=announce)
        if reference is None:
            announce(f"the {len(sources)} pictures are not used: there is no reference to compare them with")
            report = _verify_stored(candidate, tolerance)
        else:
            report = verify_parity(
                sources,
                reference=reference.program,
                candidate=candidate.program,
                open_program=candidate.open_program,
                open_reference_stage=reference.open_stage,
                open_candidate_stage=candidate.sessions.session,
                stage_names=candidate.stage_names,
                tolerance=tolerance,
                settings=settings,
                rounded=reference.rounded,
                seen=seen,
                progress=progress,
            )
            notes = (*([reference.note] if reference.note else []), *report.notes)
            report = replace(report, reference=reference.name, notes=notes)
        report = replace(
            report,
            where=candidate.where,
            overridden=tuple(sorted(limits or {})),
            failures=(*report.failures, *check_scales(opened)),
        )
        if save:
            try:
                keep_report(opened, report, runtime=candidate.runtime)
            except OutputError as error:
                announce(f"the report isn't kept in the bundle: {error.problem}")
    return report


def keep_report(bundle: Bundle, report: ParityReport, *, runtime: str) -> bool:
    """Keep a report in its bundle.

    Only what was measured against the reference itself: against another bundle, or against the one stored frame that
    every device runs anyway, it would take the place of a better one.

    Returns:
        Whether it was kept.

    Raises:
        OutputError: the bundle's folder can't be written.
    """
    if report.reference != EAGER:
        return False
    save_report(bundle, "parity", report.to_dict(), runtime=runtime)
    return True


def _sources(frames: Sequence[object], color: Color) -> list[PictureSource]:
    if len(frames) < MIN_FRAMES:
        raise OptionError(
            f"got {len(frames)} different pictures; parity needs {MIN_FRAMES} at least",
            remedy="pass a folder with two or more photographs: --images DIR",
        )
    found: list[PictureSource] = []
    for number, frame in enumerate(frames, 1):
        source: Any = frame if hasattr(frame, "load") else FramePicture(f"picture {number}", frame, color)
        found.append(source)
    return found


def _refuse_weights(weights: str | Path | None) -> None:
    if weights is not None:
        raise OptionError(
            f"weights {weights} are for the reference, and another bundle was named to compare with",
            remedy="leave --weights or --against out",
        )


def _reference(
    candidate: Candidate,
    other: Bundle | None,
    *,
    weights: str | Path | None,
    device: str,
    stack: ExitStack,
    announce: Announce,
) -> Reference | None:
    """What is compared with; None: only what the bundle has stored."""
    if other is not None:
        return bundle_reference(candidate, other, device, stack, announce)
    try:
        return eager_reference(candidate, weights, announce)
    except UNREACHABLE as error:
        if weights is not None:  # somebody counts on the reference
            raise
        announce(
            f"the reference can't be loaded on this machine: {error.problem} ({error.remedy}). Compared are the "
            "reference's outputs that the bundle has stored, for one drawn picture: that proves less"
        )
        return None


def _verify_stored(candidate: Candidate, tolerance: Tolerance) -> ParityReport:
    probes = Probes(candidate.sessions.session)
    path = candidate.bundle.file(candidate.bundle.manifest.golden.path)
    return verify_stored(candidate.open_program(probes.open), probes.seen, path, tolerance)
