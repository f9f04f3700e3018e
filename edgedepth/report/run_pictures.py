"""What compared pictures look like, kept for a run (core/runs.py): the worst ones, small enough to look at."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import OutputError
from edgedepth.core.files import write_file
from edgedepth.core.runs import PICTURE_PX, Picture
from edgedepth.core.session import Array
from edgedepth.programs.metric import focal_px_from_fov

__all__ = ["PICTURES", "RunPictures"]

PICTURES = "pictures"
_JPEG_QUALITY = 85


class RunPictures:
    """Keeps so many of an entry's pictures, those with the largest abs_rel; the files of the others are taken away.

    Args:
        folder: of the run; pictures/ is made in it.
        entry: the entry's name, which becomes a part of file names.
        limit: how many.
    """

    def __init__(self, folder: Path, entry: str, limit: int) -> None:
        self._folder = folder
        self._entry = _safe(entry)
        self._limit = limit
        self._kept: list[Picture] = []
        self._count = 0

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """What is kept, the worst first."""
        return tuple(sorted(self._kept, key=_badness, reverse=True))

    def add(
        self, name: str, rgb: Array, depth: Array, reference: Array, *, abs_rel: float, reference_fov_deg: float
    ) -> None:
        """Keep a picture if it is among the worst.

        Args:
            name: as people know it.
            rgb: (H, W, 3) float32 in 0..1.
            depth: the candidate's, (H, W) float32 in metres.
            reference: the reference's.
            abs_rel: of the two.
            reference_fov_deg: horizontal, degrees; NaN where the reference has none.

        Raises:
            OutputError: the folder can't be written.
        """
        self._count += 1
        if len(self._kept) >= self._limit:
            mildest = min(self._kept, key=_badness)
            if not _worse(abs_rel) > _badness(mildest):
                return
            self._kept.remove(mildest)
            self._drop(mildest)
        self._kept.append(
            self._write(name, rgb, depth, reference, abs_rel=abs_rel, reference_fov_deg=reference_fov_deg)
        )

    def _drop(self, picture: Picture) -> None:
        """Delete a picture's files; what entries of a run share goes with the last that names it."""
        (self._folder / picture.candidate).unlink(missing_ok=True)
        stem = (self._folder / picture.rgb).with_suffix("")
        if not any(stem.parent.glob(f"{stem.name}.*.npz")):
            for file in (picture.rgb, picture.reference):
                (self._folder / file).unlink(missing_ok=True)

    def _write(
        self, name: str, rgb: Array, depth: Array, reference: Array, *, abs_rel: float, reference_fov_deg: float
    ) -> Picture:
        stem = f"{PICTURES}/{self._count:04d}_{_safe(name)}"
        try:
            (self._folder / PICTURES).mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{self._folder / PICTURES} can't be made: {error.strerror or error}",
                remedy="choose another folder with --out",
            ) from error
        small = _small_picture(rgb)
        size = small.shape[:2]
        written, jpeg = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        assert written
        write_file(self._folder / f"{stem}.jpg", jpeg.tobytes())
        write_file(self._folder / f"{stem}.npz", _packed(_sampled(reference, size)))
        write_file(self._folder / f"{stem}.{self._entry}.npz", _packed(_sampled(depth, size)))
        focal = None
        if math.isfinite(reference_fov_deg):
            focal = focal_px_from_fov(reference_fov_deg, size[1])
        return Picture(
            name=name,
            rgb=f"{stem}.jpg",
            reference=f"{stem}.npz",
            candidate=f"{stem}.{self._entry}.npz",
            abs_rel=abs_rel if math.isfinite(abs_rel) else None,
            focal_px=focal,
        )


def _worse(abs_rel: float | None) -> float:
    return abs_rel if abs_rel is not None and math.isfinite(abs_rel) else math.inf


def _badness(picture: Picture) -> float:
    return _worse(picture.abs_rel)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)[-60:]


def _small_picture(rgb: Array) -> npt.NDArray[np.uint8]:
    """(h, w, 3) uint8, the longest side at most PICTURE_PX."""
    height, width = rgb.shape[:2]
    factor = min(1.0, PICTURE_PX / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) if factor < 1 else rgb
    return np.asarray(np.clip(small * 255 + 0.5, 0, 255), np.uint8)


def _sampled(depth: Array, size: tuple[int, int]) -> Array:
    """The depth at the middles of the small picture's pixels: a mean over an edge would be a depth that isn't there."""
    rows, columns = (
        np.minimum(((np.arange(small) + 0.5) * large / small).astype(np.intp), large - 1)
        for small, large in zip(size, depth.shape, strict=True)
    )
    return depth[np.ix_(rows, columns)].astype(np.float32)


def _packed(depth: Array) -> bytes:
    packed = io.BytesIO()
    np.savez_compressed(packed, depth=depth)
    return packed.getvalue()
