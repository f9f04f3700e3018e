"""label: frames in, depth files and an index out, however often it has to be started."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from edgedepth.core.bundle import MANIFEST, peek_manifest
from edgedepth.core.errors import OptionError, OutputError
from edgedepth.core.hashing import sha256_file
from edgedepth.core.progress import Progress, silent
from edgedepth.labelling.frames import FrameRef, list_frames
from edgedepth.labelling.labels import Label, LabelLog, LabelSummary, summed_up, write_index
from edgedepth.labelling.pool import label_here, label_in_processes
from edgedepth.labelling.worker import Form, LabellerSettings

__all__ = ["Engine", "label"]

Engine = Literal["local", "ray"]


def label(
    sources: Sequence[str],
    *,
    bundle: str | os.PathLike[str],
    out: str | os.PathLike[str],
    workers: int = 1,
    engine: Engine = "local",
    address: str | None = None,
    form: Form = "png16",
    device: str = "auto",
    focal_px: float | None = None,
    retry_failed: bool = False,
    progress: Progress = silent,
) -> LabelSummary:
    """Label every frame of some sources with metric depth, each content once.

    Labels are kept as they come (labels.jsonl): whatever ends a run, the same call goes on after the last of them. At
    the end labels.parquet and summary.json are written; bad frames are counted there with their reasons, never fatal.

    Args:
        sources: as of list_frames.
        bundle: a bundle's folder.
        out: a folder for depth/, the index and the summary. With several machines, one that all of them see.
        workers: models that run at once. With 1 and the local engine, in this process.
        engine: "local", or "ray" for Ray Data.
        address: of a Ray cluster; None starts one on this machine.
        form: "png16" (millimetres, ends at 65.535 m) or "npz" (float32 metres).
        device: of EdgeDepth.
        focal_px: of every frame; None: EXIF, else the model's prediction.
        retry_failed: try again what failed before.
        progress: told of each frame.

    Raises:
        OptionError: sources that aren't there, or a folder with labels of another model.
        OutputError: the folder can't be written.
        EdgeDepthError: the model can't be opened.
    """
    if workers < 1:
        raise OptionError(f"workers is {workers}; allowed are 1 and more", remedy="--workers 2")
    if focal_px is not None and not 0 < focal_px < math.inf:  # else every frame would fail for it
        raise OptionError(
            f"focal_px is {focal_px}; allowed are positive numbers, in pixels", remedy="leave --focal-px out"
        )
    start = time.perf_counter()
    refs = list_frames(sources)
    folder, place = _made(out), Path(bundle).resolve()
    manifest = peek_manifest(place)
    header = {
        "model": manifest.model.name,
        "weights_sha256": manifest.model.weights_sha256,
        "bundle_sha256": sha256_file(place / MANIFEST),
        "trained": manifest.model.trained,
        "form": form,
        "focal_px": focal_px,
    }
    cores = os.cpu_count() or 1
    settings = LabellerSettings(
        bundle=str(place),
        out=str(folder.resolve()),
        form=form,
        device=device,
        threads=max(1, cores // workers) if workers > 1 else None,
        focal_px=focal_px,
    )
    log = LabelLog(folder, header)
    try:
        known = {ref for ref, known in log.labels.items() if not (retry_failed and known.status == "failed")}
        if retry_failed:
            log.labels = {ref: log.labels[ref] for ref in known}
        left = [ref for ref in refs if ref not in known]
        already = len(refs) - len(left)
        for number, made in enumerate(_labels(left, settings, workers, engine, address) if left else (), already + 1):
            progress(log.add(made).name, min(number, len(refs)), len(refs))
        summary = summed_up(refs, log, already=already, seconds=time.perf_counter() - start, workers=workers)
        write_index(folder, log, header, summary)
    finally:
        log.close()
    return summary


def _labels(
    refs: Sequence[FrameRef], settings: LabellerSettings, workers: int, engine: Engine, address: str | None
) -> Iterator[Label]:
    if engine == "ray":
        from edgedepth.labelling.ray_engine import label_on_ray

        return label_on_ray(refs, settings, workers, address=address, cpus=settings.threads or 1)
    if address is not None:
        raise OptionError("an address is a Ray cluster's", remedy="--engine ray")
    return label_here(refs, settings) if workers == 1 else label_in_processes(refs, settings, workers)


def _made(out: str | os.PathLike[str]) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} can't be made: {error.strerror}", remedy="choose another folder with --out"
        ) from error
    return folder
