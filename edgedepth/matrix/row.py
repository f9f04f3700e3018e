"""python -m edgedepth.matrix.row JOB: one row, exported and verified alone in this process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgedepth.bench.children import CANNOT, Told, serve
from edgedepth.bench.contenders import bundle_entry
from edgedepth.core.bundle import Bundle, is_bundle, open_bundle
from edgedepth.core.errors import BundleError, EdgeDepthError
from edgedepth.core.plain import from_plain, to_plain
from edgedepth.core.progress import Announce, Progress
from edgedepth.core.runs import Entry
from edgedepth.core.targets import exists_on
from edgedepth.exporters.base import ExportOptions
from edgedepth.exporting import export_bundle
from edgedepth.matrix.planning import Row
from edgedepth.picture_sources import from_photos
from edgedepth.quantizing.exporting import export_int8_bundle
from edgedepth.quantizing.options import Int8Options
from edgedepth.report.run_pictures import RunPictures
from edgedepth.runtimes.base import backend_named
from edgedepth.verify.parity import Compared
from edgedepth.verify_run import parity_entry
from edgedepth.verifying import verify_bundle

__all__ = ["RowJob"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowJob:
    """What the process shall do; plain values.

    Args:
        model: its name.
        row: the export.
        bundle: the folder that it goes to; a bundle that is there is taken as it is.
        run: the run's folder, for pictures.
        images: picture files.
        weights: the checkpoint; None: as export finds it.
        calib: a calibration set, for rows that need one.
    """

    model: str
    row: Row
    bundle: str
    run: str
    images: tuple[str, ...]
    weights: str | None = None
    calib: str | None = None


def _start(plain: dict[str, Any], tell: Told) -> None:
    job = from_plain(RowJob, plain, where="job")

    def progress(step: str, _done: int, _total: int, /) -> None:
        tell({"progress": step})

    def announce(line: str, /) -> None:
        tell({"announce": line})

    bundle = _whole_bundle(Path(job.bundle)) or _export(job, progress, announce)
    tell({"entry": to_plain(_verified(job, bundle, progress, announce))})


def _whole_bundle(path: Path) -> Bundle | None:
    """What an earlier process exported and didn't get round to verify."""
    try:
        return open_bundle(path) if is_bundle(path) else None
    except BundleError:
        return None


def _export(job: RowJob, progress: Progress, announce: Announce) -> Bundle:
    row = job.row
    if not row.calibrated:
        options = ExportOptions(precision=row.precision)
        return export_bundle(
            job.model,
            row.target,
            options=options,
            weights=job.weights,
            out=job.bundle,
            progress=progress,
            announce=announce,
        )
    assert job.calib is not None
    return export_int8_bundle(
        job.model,
        row.target,
        int8=Int8Options(calib=Path(job.calib)),
        weights=job.weights,
        out=job.bundle,
        progress=progress,
        announce=announce,
    )


def _verified(job: RowJob, bundle: Bundle, progress: Progress, announce: Announce) -> Entry:
    """The row as an entry: compared with the reference where it runs, or where it can be evaluated."""
    entry = bundle_entry(job.row.name, bundle)
    available = backend_named(job.row.target).availability()
    if not available.devices and exists_on(job.row.target):
        return replace(entry, status="skipped", reason=f"exported, and can't run here: {available.reason}")
    pictures = RunPictures(Path(job.run), job.row.name, len(job.images))

    def see(compared: Compared) -> None:
        parity = compared.parity
        pictures.add(
            parity.name,
            compared.rgb,
            compared.depth,
            compared.reference,
            abs_rel=parity.abs_rel,
            reference_fov_deg=compared.reference_fov_deg,
        )

    try:
        report = verify_bundle(
            bundle,
            from_photos(job.images),
            weights=job.weights,
            save=True,
            seen=see,
            progress=progress,
            announce=announce,
        )
    except EdgeDepthError as error:  # the bundle is there, whatever became of its proof
        reason = f"exported, and not verified: {error}"
        return replace(entry, status="skipped" if isinstance(error, CANNOT) else "failed", reason=reason)
    return parity_entry(bundle, report, name=job.row.name, device="", pictures=pictures)


if __name__ == "__main__":
    serve(_start)
