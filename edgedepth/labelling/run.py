"""label: frames in, depth files and an index out, however often it has to be started."""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from edgedepth.core.bundle import MANIFEST, peek_manifest
from edgedepth.core.errors import OptionError, OutputError
from edgedepth.core.folders import locked
from edgedepth.core.hashing import sha256_file
from edgedepth.core.progress import Progress, silent
from edgedepth.core.signing import trusted_key_of_environment
from edgedepth.crew import Crew, CrewOptions, Lost, open_crew
from edgedepth.labelling.depth_files import Form, depth_files_in, flush_depth
from edgedepth.labelling.frames import FrameRef, list_frames
from edgedepth.labelling.labels import Label, LabelLog, LabelSummary, summed_up, write_index
from edgedepth.labelling.worker import Labeller, LabellerSettings, label_anew, label_group

__all__ = ["label"]

Work = Callable[[Labeller, tuple[FrameRef, ...]], tuple[Label, ...]]

_MOST_IN_A_SHARD = 10_000


def label(
    sources: Sequence[str],
    *,
    bundle: str | os.PathLike[str],
    out: str | os.PathLike[str],
    crew: CrewOptions | None = None,
    form: Form = "png16",
    shard: int = 1,
    device: str = "auto",
    tile_batch: int | Literal["auto"] | None = None,
    resident: Literal["all", "one"] = "all",
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
        crew: who works; None: this process.
        form: "png16" (millimetres, ends at 65.535 m) or "npz" (float32 metres).
        shard: so many frames to a file (.tar of PNGs, .npz); 1: each has its own.
        device: of EdgeDepth.
        tile_batch: likewise; None: of a bundle that takes any, what is fastest on each machine.
        resident: likewise.
        focal_px: of every frame; None: EXIF, else the model's prediction.
        retry_failed: try again what failed before.
        progress: told of each frame.

    Raises:
        OptionError: sources that aren't there, or a folder with labels of another model.
        BundleBusyError: another process is labelling into the folder.
        OutputError: the folder can't be written.
        EdgeDepthError: the model can't be opened, or its backend broke.
    """
    if not 1 <= shard <= _MOST_IN_A_SHARD:
        raise OptionError(f"shard is {shard} frames; allowed are 1 to {_MOST_IN_A_SHARD}", remedy="--shard 100")
    if focal_px is not None and not 0 < focal_px < math.inf:  # else every frame would fail for it
        raise OptionError(
            f"focal_px is {focal_px}; allowed are positive numbers, in pixels", remedy="leave --focal-px out"
        )
    start = time.perf_counter()
    crew = crew or CrewOptions()
    refs = list_frames(sources)
    folder, place = _made(out).resolve(), Path(bundle).resolve()
    manifest = peek_manifest(place)
    header: dict[str, Any] = {
        "model": manifest.model.name,
        "weights_sha256": manifest.model.weights_sha256,
        "bundle_sha256": sha256_file(place / MANIFEST),
        "trained": manifest.model.trained,
        "form": form,
        "focal_px": focal_px,
    }
    if tile_batch is None and manifest.layout == "staged" and manifest.tile_batch is None:
        tile_batch = "auto"
    settings = LabellerSettings(
        bundle=str(place),
        bundle_sha256=header["bundle_sha256"],
        out=str(folder),
        form=form,
        sharded=shard > 1,
        device=device,
        tile_batch=tile_batch,
        resident=resident,
        focal_px=focal_px,
        trusted_key=trusted_key_of_environment(),
    )
    with locked(folder):
        log = LabelLog(folder, header)
        try:
            log.forget(_to_do_again(log, folder, retry_failed=retry_failed))
            left = [ref for ref in refs if ref not in log.labels]
            already = done = len(refs) - len(left)
            if left:
                opener = functools.partial(Labeller, settings)
                with open_crew(opener, crew, uses_gpu=device != "cpu") as opened:
                    for name in _labelled(opened, log, left, shard):
                        done += 1
                        progress(name, done, len(refs))
                flush_depth(folder)
            seconds = time.perf_counter() - start
            summary = summed_up(refs, log, already=already, seconds=seconds, workers=crew.workers)
            write_index(folder, log, header, summary)
        finally:
            log.close()
    return summary


def _to_do_again(log: LabelLog, folder: Path, *, retry_failed: bool) -> list[FrameRef]:
    """Frames whose file somebody deleted, and those that failed."""
    there = depth_files_in(folder)
    return [
        ref
        for ref, known in log.labels.items()
        if (retry_failed if known.status == "failed" else known.file not in there)
    ]


def _labelled(crew: Crew[Labeller], log: LabelLog, refs: Sequence[FrameRef], size: int) -> Iterator[str]:
    """Keep a row of each frame; their names, as they come."""
    ahead: list[Label] = []  # of their depth: the row of who wrote it is on its way, or was lost with him
    for row in _rows(crew, refs, size, label_group):
        if log.add(row) is None:
            ahead.append(row)
        else:
            yield row.name
    orphans = []
    for row in ahead:
        if log.add(row) is None:
            orphans.append(row.ref)
        else:
            yield row.name
    for row in _rows(crew, orphans, size, label_anew):
        log.add(row)
        yield row.name


def _rows(crew: Crew[Labeller], refs: Sequence[FrameRef], size: int, work: Work) -> Iterator[Label]:
    """A row for each frame. Of a group that was lost each frame is tried alone."""
    lost: list[FrameRef] = []
    for group, rows in crew.map(work, [tuple(refs[at : at + size]) for at in range(0, len(refs), size)]):
        if not isinstance(rows, Lost):
            yield from rows
        elif len(group) == 1:
            yield _lost(group[0], rows)
        else:
            lost += group
    if lost:
        yield from _rows(crew, lost, 1, work)


def _lost(ref: FrameRef, lost: Lost) -> Label:
    return Label(
        name=ref.name,
        path=ref.path,
        place=ref.place,
        member=ref.member,
        version=ref.version,
        status="failed",
        error=f"WorkerLost: {lost.reason}",
    )


def _made(out: str | os.PathLike[str]) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} can't be made: {error.strerror}", remedy="choose another folder with --out"
        ) from error
    return folder
