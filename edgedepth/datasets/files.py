"""The files that data sets are made of, read whole or refused with a SampleError."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import DataSetError, PhotoError, SampleError
from edgedepth.core.optional import require
from edgedepth.datasets.base import Mask
from edgedepth.photos import PHOTO_SUFFIXES, read_photo

__all__ = [
    "folders_with",
    "label",
    "pictures_in",
    "read_bytes",
    "read_floats",
    "read_mask",
    "read_npy",
    "read_pfm",
    "read_picture",
    "read_png16",
    "read_text",
]

_GET_AGAIN = "copy or download it again, or take the sample out of the set"
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def folders_with(folder: Path, marker: str, *, below: Sequence[str] = (".", "*")) -> list[Path]:
    """The folders that hold a file or folder called `marker`, sorted.

    Args:
        folder: where to look.
        marker: what a scene of the layout has, as a path relative to the scene.
        below: glob patterns of where scenes may lie, "." for the folder itself; the first that finds any counts.
    """
    for pattern in below:
        places = [folder] if pattern == "." else sorted(folder.glob(pattern))
        if found := [place for place in places if (place / marker).exists()]:
            return found
    return []


def label(place: Path, folder: Path) -> str:
    """What a scene's samples are called: its path below the data set's folder, or that folder's own name."""
    return folder.resolve().name if place == folder else place.relative_to(folder).as_posix()


def pictures_in(folder: Path) -> list[Path]:
    """The picture files in a folder by their suffixes, sorted, without hidden ones; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES and path.name[0] != ".")


def read_bytes(path: Path, error: type[DataSetError] = SampleError) -> bytes:
    """A file's content.

    Raises:
        error: it is missing or can't be opened.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as reason:
        raise error(f"there is no file {path}", remedy=_GET_AGAIN) from reason
    except OSError as reason:
        raise error(f"{path} can't be opened: {reason.strerror}", remedy="check its permissions") from reason


def read_text(path: Path, error: type[DataSetError] = SampleError) -> str:
    """A text file's content.

    Raises:
        error: it is missing, can't be opened or is no text.
    """
    try:
        return read_bytes(path, error).decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise error(f"{path} is no text file: {reason}", remedy=_GET_AGAIN) from reason


def read_picture(path: Path) -> npt.NDArray[np.uint8]:
    """A picture file as (H, W, 3) uint8 RGB, upright by its EXIF orientation, as infer() sees it.

    Raises:
        SampleError: it is missing, damaged or no picture.
        MissingExtraError: Pillow isn't installed.
    """
    try:
        return read_photo(path).pixels_rgb
    except PhotoError as error:
        raise SampleError(error.problem, remedy=error.remedy) from error


def read_mask(path: Path) -> Mask:
    """A mask picture as (H, W) bool: 0 is False, everything else True. Raises as read_picture."""
    mask: Mask = read_picture(path).max(axis=2) > 0
    return mask


def read_png16(path: Path, *, metres_per_unit: float) -> npt.NDArray[np.float64]:
    """A 16-bit grey PNG as (H, W) float64 metres. 0 stays 0: in every set with such files it means unknown.

    Raises:
        SampleError: it is missing, damaged or another kind of picture.
        MissingExtraError: Pillow isn't installed.
    """
    content = read_bytes(path)
    is_grey16 = content[:8] == _PNG_SIGNATURE and content[24:26] == b"\x10\x00"  # IHDR's bit depth and colour type
    if not is_grey16:
        raise SampleError(f"{path} is no 16-bit grey PNG, as this depth map has to be", remedy=_GET_AGAIN)
    pil = require("PIL.Image", extra="cli", purpose="to read depth maps")
    try:
        with pil.open(io.BytesIO(content), formats=("PNG",)) as image:
            units = np.asarray(image)
    except Exception as error:  # what a decoder raises over broken bytes has no common base class
        raise SampleError(f"{path} is damaged or cut short: {error}", remedy=_GET_AGAIN) from error
    return units.astype(np.float64) * metres_per_unit


def read_npy(path: Path) -> npt.NDArray[Any]:
    """A NumPy file of shape (H, W) or (H, W, 1) as (H, W), of a floating, integer or bool dtype.

    Raises:
        SampleError: it is missing, damaged or holds something else; pickled objects are never loaded.
    """
    content = read_bytes(path)
    try:
        values = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # as with pictures
        raise SampleError(f"{path} is no NumPy file that can be read: {error}", remedy=_GET_AGAIN) from error
    if not isinstance(values, np.ndarray):
        raise SampleError(f"{path} holds several arrays; allowed is one", remedy="save it with numpy.save")
    plane = values[:, :, 0] if values.ndim == 3 and values.shape[2] == 1 else values
    if plane.ndim != 2 or plane.dtype.kind not in "fiub":
        raise SampleError(
            f"{path} holds {values.dtype} of shape {values.shape}; allowed are numbers of shape (H, W)",
            remedy="save one plane of numbers with numpy.save",
        )
    return plane


def read_pfm(path: Path) -> npt.NDArray[np.float32]:
    """A grey PFM file as (H, W) float32, top row first.

    Source: netpbm.sourceforge.net/doc/pfm.html. Rows are stored bottom up; a negative scale means little-endian, and
    its size means nothing.

    Raises:
        SampleError: it is missing, cut short or another format.
    """
    content = read_bytes(path)
    header = re.match(rb"Pf\s+(\d+)\s+(\d+)\s+([-+.\deE]+)\s", content)
    if header is None:
        raise SampleError(f"{path} is no grey PFM file: it begins with {content[:12]!r}", remedy=_GET_AGAIN)
    shape = int(header[2]), int(header[1])
    return read_floats(path, content[header.end() :], shape, order="<" if header[3].startswith(b"-") else ">")[::-1]


def read_floats(path: Path, content: bytes, shape: tuple[int, int], *, order: str = "<") -> npt.NDArray[np.float32]:
    """Raw float32 values, row by row, as (H, W).

    Args:
        path: where they come from, for messages.
        content: all of them and nothing else.
        shape: (H, W).
        order: "<" for little-endian, ">" for big-endian.

    Raises:
        SampleError: there are more or fewer than that.
    """
    height, width = shape
    if len(content) != 4 * height * width:
        raise SampleError(
            f"{path} holds {len(content)} bytes of depth; {width} x {height} pixels need {4 * height * width}",
            remedy=_GET_AGAIN,
        )
    return np.frombuffer(content, f"{order}f4").reshape(shape).astype(np.float32)
