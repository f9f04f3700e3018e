"""What was compared, to look at: pictures of a run, small enough for a page, on one grid of pixels."""

from __future__ import annotations

import io
import re
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import OutputError
from edgedepth.core.files import write_file
from edgedepth.core.runs import PICTURE_PX, Picture
from edgedepth.core.session import Array
from edgedepth.verify.depth_errors import compare_depth

__all__ = ["PICTURES", "sampled_size", "slug", "write_picture"]

PICTURES = "pictures"
"""The folder in a run's folder."""

_JPEG_QUALITY = 85


def write_picture(
    run: Path,
    entry: str,
    name: str,
    rgb: npt.NDArray[np.uint8],
    reference: Array,
    candidate: Array,
    *,
    focal_px: float | None = None,
) -> Picture:
    """Write a picture, the reference's depth and an entry's into a run's folder, as edgedepth.core.runs says.

    The picture and the reference's depth are written once, for the first entry that compares them. Depth is sampled, and
    not averaged: between a near and a far surface there is none.

    Args:
        run: the run's folder.
        entry: the entry's name.
        name: the picture's, one of its kind within the run: its file name.
        rgb: (H, W, 3).
        reference: (H, W) in metres.
        candidate: (H, W) in metres.
        focal_px: the reference's focal length in pixels of the whole picture; None where it tells none.

    Raises:
        OutputError: the folder can't be written.
    """
    folder = run / PICTURES
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} can't be made: {error.strerror}", remedy="choose another folder") from error
    height, width = sampled_size(*rgb.shape[:2])
    stem = slug(name)
    image, depth, other = folder / f"{stem}.jpg", folder / f"{stem}.npz", folder / f"{stem}.{slug(entry)}.npz"
    if not image.is_file():
        small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
        encoded = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
        write_file(image, encoded.tobytes())
    if not depth.is_file():
        write_file(depth, _npz(_sampled(reference, (height, width))))
    write_file(other, _npz(_sampled(candidate, (height, width))))
    abs_rel = compare_depth(candidate, reference).abs_rel
    return Picture(
        name=name,
        rgb=image.relative_to(run).as_posix(),
        reference=depth.relative_to(run).as_posix(),
        candidate=other.relative_to(run).as_posix(),
        abs_rel=abs_rel if np.isfinite(abs_rel) else None,
        focal_px=None if focal_px is None or not np.isfinite(focal_px) else focal_px * width / rgb.shape[1],
    )


def sampled_size(height: int, width: int) -> tuple[int, int]:
    """Height and width, in proportion, of which the longer is at most PICTURE_PX."""
    scale = min(1.0, PICTURE_PX / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def slug(name: str) -> str:
    """A name as part of a file's: "onnx fp32" is "onnx-fp32"."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.") or "unnamed"


def _sampled(depth: Array, size: tuple[int, int]) -> Array:
    """The values at the centres of a coarser grid's cells."""
    rows, columns = (
        np.minimum(((np.arange(count) + 0.5) * side / count).astype(np.intp), side - 1)
        for count, side in zip(size, depth.shape, strict=True)
    )
    sampled: Array = np.ascontiguousarray(depth[np.ix_(rows, columns)], dtype=np.float32)
    return sampled


def _npz(depth: Array) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, depth=depth)
    return buffer.getvalue()
