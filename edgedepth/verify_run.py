"""A verification as a run: the folder that `edgedepth report` makes a page of."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from edgedepth.core.bundle import Bundle
from edgedepth.core.environment import describe_machine, versions_of
from edgedepth.core.folders import replace_folder
from edgedepth.core.runs import RUN_FILE, Entry, Run, write_run
from edgedepth.report.run_pictures import RunPictures
from edgedepth.verify.parity import Compared, ParityReport

__all__ = ["DEFAULT_PICTURES", "VerifyRun", "parity_entry", "provenance_of", "writing_run"]

DEFAULT_PICTURES = 12

_PACKAGES = ("edgedepth", "numpy", "opencv-python", "torch", "onnxruntime", "openvino", "coremltools")


class VerifyRun:
    """Collects what a run of kind "verify" holds.

    Args:
        folder: an empty one.
        bundle: that is verified.
        command: as it was typed.
        pictures: so many are kept, the worst ones.
    """

    def __init__(self, folder: Path, bundle: Bundle, *, command: str, pictures: int = DEFAULT_PICTURES) -> None:
        self._folder, self._bundle, self._command = folder, bundle, command
        self._name = f"{bundle.manifest.target} {bundle.manifest.precision}"
        self._pictures = RunPictures(folder, self._name, pictures)

    def see(self, compared: Compared) -> None:
        """Keep a compared picture if it is among the worst: for verify_bundle's `seen`."""
        self._pictures.add(
            compared.parity.name,
            compared.rgb,
            compared.depth,
            compared.reference,
            abs_rel=compared.parity.abs_rel,
            reference_fov_deg=compared.reference_fov_deg,
        )

    def finish(self, report: ParityReport, *, device: str) -> Run:
        """Write run.json.

        Raises:
            OutputError: it can't be written.
        """
        entry = parity_entry(self._bundle, report, name=self._name, device=device, pictures=self._pictures)
        run = Run(
            kind="verify",
            command=self._command,
            created_utc=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            machine=describe_machine(),
            versions=versions_of(_PACKAGES),
            entries=(entry,),
        )
        write_run(self._folder, run)
        return run


@contextmanager
def writing_run(
    out: str | os.PathLike[str], bundle: Bundle, *, command: str, pictures: int = DEFAULT_PICTURES
) -> Iterator[VerifyRun]:
    """A run's folder, written whole or not at all; an older run in its place is replaced.

    Raises:
        OutputError, BundleBusyError: the folder can't be written, or holds something other than a run.
    """
    with replace_folder(Path(out), ours=_is_run) as folder:
        yield VerifyRun(folder, bundle, command=command, pictures=pictures)


def parity_entry(
    bundle: Bundle, report: ParityReport, *, name: str, device: str, pictures: RunPictures | None = None
) -> Entry:
    """A bundle's parity as an entry of a run."""
    manifest = bundle.manifest
    return Entry(
        name=name,
        model=manifest.model.name,
        target=manifest.target,
        precision=manifest.precision,
        status="passed" if report.passed else "failed",
        reason="; ".join(report.failures),
        bundle=str(bundle.path),
        size_bytes=bundle.size,
        device=device,
        where=report.where,
        provenance=provenance_of(bundle),
        parity=report.to_dict(),
        quality=report.quality.to_dict() if report.quality else None,
        pictures=pictures.pictures if pictures else (),
    )


def provenance_of(bundle: Bundle) -> dict[str, str]:
    """What the manifest says of a bundle's making, as words."""
    manifest = bundle.manifest
    facts = {
        "weights": manifest.model.source,
        "weights_sha256": manifest.model.weights_sha256,
        "trained": "yes" if manifest.model.trained else "UNTRAINED",
        "licence": manifest.model.licence,
        "layout": manifest.layout,
        "tile_batch": "any" if manifest.tile_batch is None else str(manifest.tile_batch),
        "created_utc": manifest.created_utc,
        "toolchain": ", ".join(f"{name} {version}" for name, version in manifest.toolchain.items()),
    }
    return facts | ({"calibration": manifest.calibration} if manifest.calibration else {})


def _is_run(folder: Path) -> bool:
    return (folder / RUN_FILE).is_file() and all(
        path.name in (RUN_FILE, "pictures") or path.suffix == ".html" for path in folder.iterdir()
    )
