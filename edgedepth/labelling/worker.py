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

from edgedepth.core.bundle import MANIFEST
from edgedepth.core.errors import BundleTamperedError, FrameError, OptionError, PhotoError, UnusableOutputError
from edgedepth.core.hashing import sha256_file
from edgedepth.facade import EdgeDepth
from edgedepth.labelling.depth_files import Form, encode_depth, stored_depth, write_depth, write_shard
from edgedepth.labelling.frames import Frame, FrameReader, FrameRef
from edgedepth.labelling.labels import Label
from edgedepth.result import PNG16_MAX_M, DepthResult

__all__ = ["Labeller", "LabellerSettings", "label_anew", "label_group"]

Group = tuple[FrameRef, ...]

_ITS_OWN_FAULT = (PhotoError, FrameError, OptionError, UnusableOutputError)
"""What a frame may raise. Anything else (a full disk, a missing package, a backend that broke) would meet all others
as well, and ends the run: rows so far are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerSettings:
    """What a worker needs to know, as plain values that travel to other machines.

    Args:
        bundle: a bundle's folder, the same on every machine.
        bundle_sha256: that its manifest must have; None: any.
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
    bundle_sha256: str | None = None
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
        BundleTamperedError: the bundle here is not the one that the index is of.
        EdgeDepthError: the model can't be opened: that is everybody's trouble, and ends the run.
    """

    def __init__(self, settings: LabellerSettings, threads: int | None) -> None:
        self._settings, self._out = settings, Path(settings.out)
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
        expected, found = settings.bundle_sha256, sha256_file(Path(settings.bundle) / MANIFEST)
        if expected not in (None, found):
            self._model.close()
            raise BundleTamperedError(
                f"the manifest of {settings.bundle} on {socket.gethostname()} has SHA-256 {found[:12]}…; these labels "
                f"are of {str(expected)[:12]}…",
                remedy="bring the same bundle to every machine, and label into a folder of its own",
            )

    def close(self) -> None:
        """Free the model."""
        self._model.close()

    def label(self, group: Group, *, anew: bool = False) -> tuple[Label, ...]:
        """Read, predict, write. Rows are given when their files are there.

        Args:
            group: the frames.
            anew: also those whose depth lies there already, by content; else they are rows of status "duplicate", which
                tell nothing but where. In files that frames share nothing is looked for.

        Raises:
            OutputError: a file can't be written.
            EdgeDepthError: the backend broke.
        """
        out = self._out
        rows: list[Label] = []
        depths: list[tuple[str, bytes]] = []
        for ref in group:
            row, depth = self._depth(ref, anew=anew)
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

    def _depth(self, ref: FrameRef, *, anew: bool) -> tuple[Label, bytes | None]:
        """A frame's row and what goes into its file; None where it failed, or its depth lies there already."""
        marks = [time.perf_counter()]
        facts: dict[str, Any] = {}
        depth = None
        try:
            frame = self._reader.read(ref)
            marks.append(time.perf_counter())
            facts["sha256"] = frame.sha256
            there = (
                None if anew or self._settings.sharded else stored_depth(self._out, frame.sha256, self._settings.form)
            )
            if there is not None:
                facts |= {"status": "duplicate", "file": there}
            else:
                result, source = self._predict(frame)
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

    def _predict(self, frame: Frame) -> tuple[DepthResult, str]:
        """The depth, and where its focal length came from."""
        focal, source = frame.focal_px, frame.focal_source
        if self._settings.focal_px is not None:
            focal, source = self._settings.focal_px, "given"
        elif focal is None:
            source = f"predicted ({source})"
        return self._model.infer(frame.pixels_rgb, focal_px=focal), source


def label_group(labeller: Labeller, group: Group) -> tuple[Label, ...]:
    """Labeller.label(), for a crew."""
    return labeller.label(group)


def label_anew(labeller: Labeller, group: Group) -> tuple[Label, ...]:
    """Likewise, whatever lies there."""
    return labeller.label(group, anew=True)


def _with_file(row: Label, file: str, entry: str, write_ms: float) -> Label:
    return replace(row, file=file, entry=entry, write_ms=round(row.write_ms + write_ms, 2))


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
