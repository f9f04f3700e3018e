"""calibration.json: what a calibration set holds, as plain data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from edgedepth.core.plain import from_plain, to_plain

__all__ = ["INDEX", "SCHEMA_VERSION", "DepthEntry", "FrameEntry", "LeftOut", "SetIndex", "fingerprint_of"]

INDEX = "calibration.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthEntry:
    """The true depth of a frame.

    Args:
        file_sha256: of the .npz file.
        values_sha256: of the float32 values, little-endian, row by row.
        near_m: 5th percentile of the known depths in metres.
        far_m: 95th percentile.
    """

    file_sha256: str
    values_sha256: str
    near_m: float
    far_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameEntry:
    """One frame of a set. Its files are named by its number.

    Args:
        number: its place in the whole set.
        name: as its source calls it.
        file_sha256: of the PNG file.
        pixels_sha256: of the RGB pixels, row by row: the same whichever encoder wrote the file.
        width: in pixels.
        height: in pixels.
        focal_px: horizontal, in pixels of the frame; None where unknown.
        brightness: mean luma, 0..1.
        contrast: standard deviation of luma, 0..1.
        depth: None where the source had no truth.
    """

    number: int
    name: str
    file_sha256: str
    pixels_sha256: str
    width: int
    height: int
    focal_px: float | None
    brightness: float
    contrast: float
    depth: DepthEntry | None

    @property
    def picture_file(self) -> str:
        """Path in the set's folder."""
        return f"frames/{self.number:05}.png"

    @property
    def depth_file(self) -> str:
        """Path in the set's folder, if there is a depth."""
        return f"depth/{self.number:05}.npz"

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of each of the frame's files by its path in the set's folder."""
        depth = {} if self.depth is None else {self.depth_file: self.depth.file_sha256}
        return {self.picture_file: self.file_sha256, **depth}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A frame of the source that isn't in the set.

    Args:
        name: of the frame.
        reason: why: "near-duplicate", "can't be read: ...".
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetIndex:
    """The whole document.

    Args:
        schema_version: of this form.
        preprocessing: the name of how a model takes the frames: "depth-pro".
        fingerprint: of the frames and that name.
        source: where the frames come from, for people.
        seed: that they were drawn with.
        asked_for: how many frames were wanted.
        candidates: how many frames of the source were looked at.
        frames: the most telling first.
        left_out: what was looked at and can't be used.
    """

    schema_version: int
    preprocessing: str
    fingerprint: str
    source: str
    seed: int
    asked_for: int
    candidates: int
    frames: tuple[FrameEntry, ...]
    left_out: tuple[LeftOut, ...]

    def render(self) -> bytes:
        """The document's bytes; equal for equal content."""
        return (json.dumps(to_plain(self), indent=1, ensure_ascii=True, allow_nan=False) + "\n").encode("ascii")

    @staticmethod
    def parse(content: bytes) -> SetIndex:
        """Read a document.

        Raises:
            ValueError: it is none, is of another version, or its fingerprint isn't that of its frames.
        """
        plain = json.loads(content)
        version = plain.get("schema_version") if isinstance(plain, dict) else None
        if version != SCHEMA_VERSION:
            raise ValueError(f"its schema_version is {version!r}; this version reads {SCHEMA_VERSION}")
        index = from_plain(SetIndex, plain, where=INDEX)
        if fingerprint_of(index.preprocessing, index.frames) != index.fingerprint:
            raise ValueError("its fingerprint is not that of the frames that it lists")
        return index


def fingerprint_of(preprocessing: str, frames: Sequence[FrameEntry]) -> str:
    """Hex SHA-256 over what a calibration sees: pixels, focal lengths and depths in their order, and the name of the
    pre-processing. File names and encoders don't count.
    """
    seen = [
        [entry.pixels_sha256, entry.focal_px, entry.depth.values_sha256 if entry.depth else None] for entry in frames
    ]
    return hashlib.sha256(json.dumps([preprocessing, seen]).encode("ascii")).hexdigest()
