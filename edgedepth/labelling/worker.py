"""One worker: an opened model that turns frames into files."""

from __future__ import annotations

import io
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgedepth.core.errors import EdgeDepthError
from edgedepth.core.files import write_file
from edgedepth.facade import EdgeDepth
from edgedepth.labelling.frames import Frame, FrameReader, FrameRef
from edgedepth.labelling.labels import Label
from edgedepth.result import PNG16_MAX_M, DepthResult

__all__ = ["Form", "Labeller", "LabellerSettings"]

Form = Literal["png16", "npz"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellerSettings:
    """What a worker needs to know, as plain values that travel to other machines.

    Args:
        bundle: a bundle's folder, the same on every machine.
        out: where files go, the same on every machine.
        form: "png16": millimetres; "npz": float32 metres, compressed.
        device: of EdgeDepth.
        threads: of the arithmetic; None: the backend's choice.
        resident: of EdgeDepth.
        focal_px: of every frame; None: EXIF, else predicted.
        trusted_key: of EdgeDepth.
    """

    bundle: str
    out: str
    form: Form = "png16"
    device: str = "auto"
    threads: int | None = None
    resident: Literal["all", "one"] = "all"
    focal_px: float | None = None
    trusted_key: str | None = None


class Labeller:
    """Labels one frame after the other; a bad frame is a row with its reason, and no exception.

    Raises:
        EdgeDepthError: the model can't be opened: that is everybody's trouble, and ends the run.
    """

    def __init__(self, settings: LabellerSettings) -> None:
        self._settings = settings
        self._reader = FrameReader()
        self._model = EdgeDepth(
            settings.bundle,
            device=settings.device,
            threads=settings.threads,
            resident=settings.resident,
            color="rgb",
            trusted_key=settings.trusted_key,
        )
        self._name = f"{socket.gethostname()}:{os.getpid()}"

    def __call__(self, ref: FrameRef) -> Label:
        """Read, predict, write."""
        start = time.perf_counter()
        facts: dict[str, Any]
        try:
            facts = self._label(self._reader.read(ref))
        except EdgeDepthError as error:
            facts = {"status": "failed", "error": f"{type(error).__name__}: {error.problem}"}
        return Label(
            name=ref.name,
            path=ref.path,
            place=ref.place,
            member=ref.member,
            version=ref.version,
            milliseconds=round(1000 * (time.perf_counter() - start), 1),
            worker=self._name,
            **facts,
        )

    def close(self) -> None:
        """Free the model."""
        self._model.close()

    def _label(self, frame: Frame) -> dict[str, Any]:
        focal, source = frame.focal_px, frame.focal_source
        if self._settings.focal_px is not None:
            focal, source = self._settings.focal_px, "given"
        elif focal is None:
            source = f"predicted ({source})"
        result = self._model.infer(frame.pixels_rgb, focal_px=focal)
        height, width = result.depth.shape
        return {
            "status": "labelled",
            "sha256": frame.sha256,
            "file": self._write(frame.sha256, result),
            "width": width,
            "height": height,
            "focal_px": _finite(result.focal_px),
            "focal_source": source,
            "fov_deg": _finite(result.fov_deg),
            "beyond": float(np.mean(result.depth > PNG16_MAX_M)) if self._settings.form == "png16" else 0.0,
        }

    def _write(self, sha256: str, result: DepthResult) -> str:
        """Files are named by content: whoever labels a frame again writes the same file."""
        suffix = {"png16": "png", "npz": "npz"}[self._settings.form]
        relative = f"depth/{sha256[:2]}/{sha256}.{suffix}"
        path = Path(self._settings.out, relative)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._settings.form == "png16":
            result.save_png16(path)
        else:
            content = io.BytesIO()
            np.savez_compressed(content, depth=result.depth)
            write_file(path, content.getvalue())
        return relative


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
