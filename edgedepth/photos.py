"""Picture files: decoded whole or refused, upright, with the focal length that their EXIF data tells."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO, Any

import cv2
import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import PhotoError
from edgedepth.core.optional import is_installed, require
from edgedepth.exif import focal_from_exif

__all__ = ["MAX_SIDE", "PHOTO_SUFFIXES", "Photo", "decode_photo", "list_photos", "read_photo"]

MAX_SIDE = 8192
"""Largest side of a picture in pixels; 8K is 7680 x 4320."""

PHOTO_SUFFIXES = (".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What a folder is searched for, in lower case."""

Pixels = npt.NDArray[np.uint8]

# Pillow's other plug-ins stay out: some hand the file to other programs (EPS to Ghostscript).
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_EXIF_IFD = 0x8769
_ORIENTATION = 0x0112
_SAVE_AGAIN = "save it again as JPEG or PNG with a picture editor, or take it out"

# 16 bits to 8, to the nearest: 65535 = 257 * 255.
_TO_BYTE = ((np.arange(65536) + 128) // 257).astype(np.uint8)

# What the stored picture needs to stand upright, by EXIF orientation.
_UPRIGHT: dict[int, Callable[[Pixels], Pixels]] = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored.swapaxes(0, 1)[:, ::-1],
    7: lambda stored: stored.swapaxes(0, 1)[::-1, ::-1],
    8: lambda stored: stored.swapaxes(0, 1)[::-1],
}
_TURNED = (5, 6, 7, 8)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Photo:
    """A picture file as its photographer saw it.

    Args:
        path: the file.
        pixels_rgb: (H, W, 3) uint8, RGB, upright.
        focal_px: focal length in pixels of the upright picture; None where EXIF doesn't tell it.
        focal_source: where the focal length came from, or why there is none; for people.
    """

    path: Path
    pixels_rgb: Pixels
    focal_px: float | None
    focal_source: str


def list_photos(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The picture files that are meant: files as they are named, folders as the pictures in them.

    Folders are searched by suffix (PHOTO_SUFFIXES), sorted by name, without their subfolders and hidden files.
    A file that is meant twice is listed once.

    Raises:
        PhotoError: a path that doesn't exist or can't be looked into, or a folder without a picture.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        try:
            found += _photos_in(path) if stat.S_ISDIR(path.stat().st_mode) else [path]
        except OSError as error:
            raise _cannot_open(path, error) from error
    return list(dict.fromkeys(found))


def read_photo(path: str | os.PathLike[str]) -> Photo:
    """Read a picture file: JPEG, PNG, WebP, TIFF, BMP, GIF, and HEIC where pillow-heif is installed.

    Everything becomes 8-bit RGB: 16 bits are rounded to 8, alpha is dropped as OpenCV does (the colour under a
    transparent pixel shows), CMYK is converted without its colour profile, and of an animation or a file of many
    pages the first picture is taken.

    Raises:
        PhotoError: no such file, not a picture, a damaged or truncated one, or one larger than MAX_SIDE.
        MissingExtraError: Pillow isn't installed.
    """
    path = Path(path)
    with _open(path) as file:
        return _decode(path, file)


def decode_photo(content: bytes, *, name: str) -> Photo:
    """A picture out of a file's bytes, as read_photo reads it; `name` is what messages and `path` call it.

    Raises:
        PhotoError, MissingExtraError: as read_photo.
    """
    if not content:
        raise PhotoError(f"{name} is empty (0 bytes)", remedy="copy or download it again")
    return _decode(Path(name), io.BytesIO(content))


def _decode(path: Path, file: IO[bytes]) -> Photo:
    pil = require("PIL.Image", extra="cli", purpose="to read pictures")
    with _strict_pillow():
        header = file.read(32)
        formats = _formats_for(path, header)
        file.seek(0)
        try:
            with pil.open(file, formats=formats) as image:
                return _to_photo(path, image, file, header)
        except PhotoError:
            raise
        except pil.DecompressionBombError as error:
            raise PhotoError(f"{path} is too large: {error}", remedy="shrink it first") from error
        except pil.UnidentifiedImageError as error:
            raise PhotoError(
                f"{path} is not a picture that can be read: it begins with {header[:8]!r}; "
                "allowed are JPEG, PNG, WebP, TIFF, BMP, GIF and HEIC",
                remedy=_SAVE_AGAIN,
            ) from error
        except Exception as error:  # what a decoder raises over broken bytes has no common base class
            raise PhotoError(f"{path} is damaged or cut short: {error}", remedy=_SAVE_AGAIN) from error


def _photos_in(folder: Path) -> list[Path]:
    entries = sorted(folder.iterdir())
    shown = (entry for entry in entries if entry.name[0] != "." and not entry.is_dir())
    photos = [entry for entry in shown if entry.suffix.lower() in PHOTO_SUFFIXES]
    if not photos:
        raise PhotoError(
            f"the folder {folder} holds no pictures; looked for are {', '.join(PHOTO_SUFFIXES)}",
            remedy="name the files themselves, or another folder (subfolders are not searched)",
        )
    return photos


def _open(path: Path) -> IO[bytes]:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise PhotoError(f"{path} is a folder; a picture file is meant", remedy="name a picture in it")
        if not stat.S_ISREG(status.st_mode):
            raise PhotoError(f"{path} is a device or a pipe; a picture file is meant", remedy="save it to a file first")
        if status.st_size == 0:
            raise PhotoError(f"{path} is empty (0 bytes)", remedy="copy or download it again")
        return path.open("rb")
    except OSError as error:
        raise _cannot_open(path, error) from error


def _cannot_open(path: Path, error: OSError) -> PhotoError:
    if isinstance(error, FileNotFoundError):
        return PhotoError(f"there is no file {path}", remedy=f"check the path; the working folder is {Path.cwd()}")
    return PhotoError(f"{path} can't be opened: {error.strerror}", remedy="check the path and its permissions")


def _formats_for(path: Path, header: bytes) -> tuple[str, ...]:
    """The formats that Pillow may try."""
    if header[4:8] != b"ftyp" or header[8:12] not in _HEIF_BRANDS:
        return _FORMATS
    if not is_installed("pillow_heif"):
        raise PhotoError(
            f"{path} is a HEIC picture, and pillow-heif, which reads them, is not installed",
            remedy="pip install pillow-heif",
        )
    require("pillow_heif", extra="cli", purpose="to read HEIC pictures").register_heif_opener()
    return ("HEIF",)


@contextlib.contextmanager
def _strict_pillow() -> Iterator[None]:
    """Pillow that refuses truncated files, whatever another library has set, and keeps its warnings to itself.

    It warns of oddities that don't touch the pixels, and of sizes that are refused here anyhow.
    """
    image_file: ModuleType = require("PIL.ImageFile", extra="cli", purpose="to read pictures")
    lenient, image_file.LOAD_TRUNCATED_IMAGES = image_file.LOAD_TRUNCATED_IMAGES, False  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        image_file.LOAD_TRUNCATED_IMAGES = lenient  # type: ignore[attr-defined]


def _to_photo(path: Path, image: Any, file: IO[bytes], header: bytes) -> Photo:
    """Decode an opened picture. Anything may be raised."""
    if max(image.size) > MAX_SIDE:
        raise PhotoError(
            f"{path} is {image.width} x {image.height} pixels; allowed are up to {MAX_SIDE} on each side",
            remedy="shrink it first",
        )
    if image.format != "TIFF":  # Pillow turns a TIFF upright as it loads, and forgets how it was stored
        image.load()
    orientation, tags = _exif(image)
    image.load()
    left_to_do, _ = _exif(image)
    pixels = np.ascontiguousarray(_UPRIGHT[left_to_do](_pixels(path, image, file, header)))
    height, width = pixels.shape[:2]
    # pillow-heif turns the pixels itself and keeps here how they were stored.
    turned = (image.info.get("original_orientation") or orientation) in _TURNED
    focal = focal_from_exif(tags, width=width, height=height, turned=turned)
    return Photo(path=path, pixels_rgb=pixels, focal_px=focal.focal_px, focal_source=focal.source)


def _exif(image: Any) -> tuple[int, dict[int, object]]:
    """Orientation (1 where there is none) and the Exif IFD. Damaged EXIF data is none: the pixels are whole."""
    try:
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
        return orientation if orientation in _UPRIGHT else 1, dict(exif.get_ifd(_EXIF_IFD))
    except Exception:  # as with decoders: no common base class
        return 1, {}


def _pixels(path: Path, image: Any, file: IO[bytes], header: bytes) -> Pixels:
    """The loaded picture as (H, W, 3) uint8 RGB, as it is stored."""
    if image.format == "PNG" and header[24] == 16:  # IHDR's bit depth
        # Pillow cuts 16-bit colours to their high byte and clips 16-bit greys; OpenCV keeps them.
        file.seek(0)
        wide = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
        if wide is None or wide.dtype != np.uint16:
            raise ValueError("OpenCV can't decode it as 16-bit PNG")
        return _wide_to_rgb(wide)
    if image.mode.startswith("I;16"):
        return _wide_to_rgb(np.asarray(image))
    if image.mode in ("I", "F"):
        raise PhotoError(
            f"{path} has 32 bits a pixel, and where its white lies can't be told; allowed are 8 and 16 bits",
            remedy="save it with 8 or 16 bits a channel",
        )
    return np.array(image.convert("RGB"))


def _wide_to_rgb(wide: npt.NDArray[Any]) -> Pixels:
    """16-bit grey (H, W), BGR or BGRA (H, W, 3 or 4) to 8-bit RGB."""
    narrow = _TO_BYTE[wide]
    return np.repeat(narrow[..., None], 3, axis=2) if narrow.ndim == 2 else narrow[..., 2::-1]
