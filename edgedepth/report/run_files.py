"""The pictures of a run's folder, read as what somebody else has written: nothing outside of it, nothing huge."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import PhotoError, RunError
from edgedepth.core.session import Array
from edgedepth.photos import read_photo

__all__ = ["MAX_BYTES", "MAX_SIDE", "file_of", "read_depth", "read_rgb"]

MAX_SIDE = 4096
"""Largest side of a picture or a depth map in pixels; runs are written with 640 at most."""

MAX_BYTES = 1 << 27
"""Largest file that is opened, and largest array that one may unpack to."""

_CURE = "measure again, or leave pictures out: edgedepth report --pictures 0"


def file_of(folder: Path, name: str) -> Path:
    """A file of a run.

    Args:
        folder: the run's.
        name: as run.json has it, relative to the folder.

    Raises:
        RunError: it leads out of the folder (an absolute path, "..", a link), or isn't a file of at most MAX_BYTES.
    """
    try:
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise RunError(f"{name!r} in {folder} leads out of the run's folder", remedy="don't trust this run")
        size = path.stat().st_size if path.is_file() else None
    except (OSError, ValueError, RuntimeError) as error:  # a null byte in a name; a loop of links
        raise RunError(f"{name!r} in {folder} can't be read: {error}", remedy=_CURE) from error
    if size is None:
        raise RunError(f"{folder} has no file {name!r}, which its run.json names", remedy=_CURE)
    if size > MAX_BYTES:
        raise RunError(f"{name!r} in {folder} has {size} bytes; allowed are {MAX_BYTES}", remedy=_CURE)
    return path


def read_rgb(folder: Path, name: str) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8, RGB.

    Raises:
        RunError: as file_of(), or not a picture, or larger than MAX_SIDE.
        MissingExtraError: Pillow isn't installed.
    """
    path = file_of(folder, name)
    try:
        pixels = read_photo(path).pixels_rgb
    except PhotoError as error:
        raise RunError(f"{name!r} in {folder} is not a picture: {error.problem}", remedy=_CURE) from error
    _check_side(folder, name, pixels.shape)
    return pixels


def read_depth(folder: Path, name: str) -> Array:
    """(H, W) float32 in m; NaN where there is no finite depth above 0.

    Raises:
        RunError: as file_of(), or not an NPZ with a two-dimensional float32 `depth` of at most MAX_SIDE a side.
    """
    path = file_of(folder, name)
    try:
        with zipfile.ZipFile(path) as archive, archive.open("depth.npy") as member:
            depth = _read_array(folder, name, member)
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{name!r} in {folder} is not an NPZ with `depth`: {error}", remedy=_CURE) from error
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(np.nan))


def _read_array(folder: Path, name: str, member: IO[bytes]) -> Array:
    """An array whose header was looked at before a byte of it is unpacked."""
    version = np.lib.format.read_magic(member)
    if version != (1, 0):
        raise ValueError(f"its format is {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    if len(shape) != 2 or dtype != np.float32:
        raise ValueError(f"`depth` is {dtype} of shape {shape}; allowed is (h, w) float32")
    _check_side(folder, name, shape)
    wanted = shape[0] * shape[1] * dtype.itemsize
    content = member.read(wanted + 1)
    if len(content) != wanted:
        raise ValueError(f"`depth` has {len(content)} bytes or more; its shape {shape} needs {wanted}")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _check_side(folder: Path, name: str, shape: tuple[int, ...]) -> None:
    height, width = shape[:2]
    if not (0 < height <= MAX_SIDE and 0 < width <= MAX_SIDE):
        raise RunError(
            f"{name!r} in {folder} is {width} x {height} pixels; allowed are 1 to {MAX_SIDE} on each side", remedy=_CURE
        )
