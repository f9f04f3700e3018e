"""One worker: an opened model that turns frames into files."""

from __future__ import annotations

import itertools
import os
import socket
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgedepth.core.errors import FrameError, OptionError, PhotoError, UnusableOutputError
from edgedepth.facade import EdgeDepth
from edgedepth.labelling.depth_files import Form, encode_depth, write_depth, write_shard
from edgedepth.labelling.frames import FrameReader, FrameRef
from edgedepth.labelling.labels import Label
from edgedepth.result import PNG16_MAX_M

__all__ = ["Labeller", "LabellerSettings", "label_group"]

Group = tuple[FrameRef, ...]

_ITS_OWN_FAULT = (PhotoError, FrameError, OptionError, UnusableOutputError)
"""What a frame may raise. Anything else (a full disk, a missing package, a backend that broke) would meet all others
as well, and ends the run: rows so far are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerSettings:
    """What a worker needs to know, as plain values that travel to other machines.

    Args:
        bundle: a bundle's folder, the same on every machine.
        out: where files go, the same on every machine.
        form: of the files.
        sharded: whether the frames of a group share a file.
        device: of EdgeDepth.
        tile_batch: likewise.
        resident: likewise.
        focal_px: of every frame; None: EXIF, else predicted.
        trusted_key: of EdgeDepth.
    """

    bundle: str
    out: str
    form: Form = "png16"
    sharded: bool = False
    device: str = "auto"
    tile_batch: int | Literal["auto"] | None = None
    resident: Literal["all", "one"] = "all"
    focal_px: float | None = None
    trusted_key: str | None = None


class Labeller:
    """Labels groups of frames; a bad frame is a row with its reason, and no exception.

    Args:
        settings: what to do.
        threads: of the arithmetic; None: the backend's choice.

    Raises:
        EdgeDepthError: the model can't be opened: that is everybody's trouble, and ends the run.
    """

    def __init__(self, settings: LabellerSettings, threads: int | None) -> None:
        self._settings = settings
        self._reader = FrameReader()
        self._model = EdgeDepth(
            settings.bundle,
            device=settings.device,
            threads=threads,
            tile_batch=settings.tile_batch,
            resident=settings.resident,
            color="rgb",
            trusted_key=settings.trusted_key,
        )
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def close(self) -> None:
        """Free the model."""
        self._model.close()

    def label(self, group: Group) -> tuple[Label, ...]:
        """Read, predict, write. Rows are given when their files are there.

        Raises:
            OutputError: a file can't be written.
            EdgeDepthError: the backend broke.
        """
        out = Path(self._settings.out)
        rows: list[Label] = []
        depths: list[tuple[str, bytes]] = []
        for ref in group:
            row, depth = self._depth(ref)
            rows.append(row)
            if depth is not None:
                depths.append((row.sha256, depth))
        files: dict[str, tuple[str, str]] = {}
        start = time.perf_counter()
        if self._settings.sharded and depths:
            files = write_shard(out, depths, self._settings.form)
        else:
            files = {sha256: (write_depth(out, sha256, depth, self._settings.form), "") for sha256, depth in depths}
        write_ms = 1000 * (time.perf_counter() - start) / max(1, len(depths))
        return tuple(_with_file(row, *files[row.sha256], write_ms) if row.sha256 in files else row for row in rows)

    def _depth(self, ref: FrameRef) -> tuple[Label, bytes | None]:
        """A frame's row and what goes into its file; None where it failed."""
        marks = [time.perf_counter()]
        facts: dict[str, Any] = {}
        depth = None
        try:
            frame = self._reader.read(ref)
            marks.append(time.perf_counter())
            facts["sha256"] = frame.sha256
            focal, source = frame.focal_px, frame.focal_source
            if self._settings.focal_px is not None:
                focal, source = self._settings.focal_px, "given"
            elif focal is None:
                source = f"predicted ({source})"
            result = self._model.infer(frame.pixels_rgb, focal_px=focal)
            marks.append(time.perf_counter())
            depth = encode_depth(result, self._settings.form)
            facts |= {
                "status": "labelled",
                "width": result.depth.shape[1],
                "height": result.depth.shape[0],
                "focal_px": _finite(result.focal_px),
                "focal_source": source,
                "fov_deg": _finite(result.fov_deg),
                "beyond": float(np.mean(result.depth > PNG16_MAX_M)) if self._settings.form == "png16" else 0.0,
            }
        except _ITS_OWN_FAULT as error:
            facts |= {"status": "failed", "error": f"{type(error).__name__}: {error.problem}"}
        marks.append(time.perf_counter())
        spent = (round(1000 * (end - begin), 2) for begin, end in itertools.pairwise(marks))
        facts |= dict(zip(("read_ms", "depth_ms", "write_ms"), spent, strict=False))
        row = Label(
            name=ref.name,
            path=ref.path,
            place=ref.place,
            member=ref.member,
            version=ref.version,
            worker=self._name,
            **facts,
        )
        return row, depth


def label_group(labeller: Labeller, group: Group) -> tuple[Label, ...]:
    """Labeller.label(), for a crew."""
    return labeller.label(group)


def _with_file(row: Label, file: str, entry: str, write_ms: float) -> Label:
    return replace(row, file=file, entry=entry, write_ms=round(row.write_ms + write_ms, 2))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
