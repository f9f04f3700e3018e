"""The frames of a stream on disk, one by one: what a run that was cut off goes on from."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import OutputError
from edgedepth.programs.reuse import EncodedTiles
from edgedepth.result import DepthResult

__all__ = ["FrameFolder", "FrameRecord"]

_LOG = "frames.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """What is kept of a frame beside its depth.

    Those with a default came later: a run that an older version began is gone on with.
    """

    index: int
    time_s: float
    focal_px: float | None
    fov_deg: float | None
    tiles: int
    of: int
    network_ms: float
    windows: int = 0
    windows_of: int = 0
    decoder: Literal["whole", "windows", "none"] = "whole"


class FrameFolder:
    """Depth as 16-bit PNG of millimetres, one a frame, and a log with a line for each.

    A frame counts once its line is written: what was cut off halfway is written again.

    Args:
        path: of the folder; made if it isn't there.
        about: what the frames were made of, and how. A folder of something else isn't gone on with.

    Raises:
        OutputError: it can't be made, or holds the frames of another run.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path = path
        self._made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            lines = (path / _LOG).read_text(encoding="utf-8").splitlines() if (path / _LOG).exists() else []
            self.records = self._read(lines, about)
            self._about = json.dumps(about, sort_keys=True)
            self._write_log()
        except OSError as error:
            raise OutputError(f"{path} can't be written: {error.strerror}", remedy="choose another --out") from error

    def add(self, result: DepthResult) -> None:
        """Write a frame.

        Raises:
            OutputError: the disk is full, or the folder gone.
        """
        assert result.stamp is not None
        result.save_png16(self.file(result.stamp.index))
        encoded = result.encoded
        summary = result.summary()
        record = FrameRecord(
            index=result.stamp.index,
            time_s=result.stamp.time_s,
            focal_px=summary["focal_px"],
            fov_deg=summary["fov_deg"],
            tiles=encoded.tiles if encoded else 0,
            of=encoded.of if encoded else 0,
            network_ms=sum(result.timings_ms.values()),
            windows=encoded.windows if encoded else 0,
            windows_of=encoded.windows_of if encoded else 0,
            decoder=_decoder(encoded),
        )
        try:
            with (self.path / _LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(_plain(record)) + "\n")
        except OSError as error:
            raise OutputError(f"{self.path} can't be written: {error.strerror}", remedy="free space") from error
        self.records.append(record)

    def start_over(self) -> None:
        """Forget the frames; their files are written again."""
        self.records.clear()
        self._write_log()

    def leave(self) -> None:
        """Leave nothing behind where no frame came."""
        if self.records:
            return
        with contextlib.suppress(OSError):
            (self.path / _LOG).unlink()
            if self._made:
                self.path.rmdir()

    def millimetres(self, record: FrameRecord) -> npt.NDArray[np.uint16]:
        """A frame's depth, (H, W) uint16; 0 is no data.

        Raises:
            OutputError: the file is gone or damaged.
        """
        picture = cv2.imread(os.fspath(self.file(record.index)), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.dtype != np.uint16:
            raise OutputError(
                f"{self.file(record.index)} is gone or damaged", remedy=f"remove {self.path}, start again"
            )
        return np.asarray(picture, np.uint16)

    def file(self, index: int) -> Path:
        """Where a frame's depth is."""
        return self.path / f"{index:06}.png"

    def _write_log(self) -> None:
        lines = [self._about, *(json.dumps(_plain(record)) for record in self.records)]
        (self.path / _LOG).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _read(self, lines: list[str], about: dict[str, Any]) -> list[FrameRecord]:
        records = []
        for line in lines[1:]:
            try:
                records.append(FrameRecord(**json.loads(line)))
            except (ValueError, TypeError):
                break  # the line that was being written
        if records and lines[0] != json.dumps(about, sort_keys=True):
            raise OutputError(
                f"{self.path} holds frames of another source, model or set of options",
                remedy=f"rm -r {self.path}, or choose another --out",
            )
        return records


def _decoder(encoded: EncodedTiles | None) -> Literal["whole", "windows", "none"]:
    if encoded is None or "decoder" in encoded.stages:
        return "whole"
    return "windows" if encoded.windows else "none"


def _plain(record: FrameRecord) -> dict[str, Any]:
    return {name: getattr(record, name) for name in FrameRecord.__slots__}
