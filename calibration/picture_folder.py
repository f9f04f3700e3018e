"""A folder of pictures as calibration frames."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedepth.calibration.frame_source import SourceFrame, Unreadable
from edgedepth.core.errors import PhotoError
from edgedepth.photos import list_photos, read_photo

__all__ = ["PictureFolder", "open_picture_folder"]


@dataclass(frozen=True, slots=True)
class PictureFolder:
    """The pictures in a folder, sorted by name, upright, with the focal length that their EXIF data tells.

    Args:
        folder: of them.
        paths: of the pictures.
    """

    folder: Path
    paths: tuple[Path, ...]

    @property
    def name(self) -> str:
        """As of FrameSource: the folder's own name."""
        return self.folder.resolve().name

    @property
    def identity(self) -> str:
        """As of FrameSource: changes with any file's name, size or time."""
        digest = hashlib.sha256(os.fsencode(self.folder.resolve()))
        for path in self.paths:
            digest.update(os.fsencode(f"{path.name}\0{_size_and_time(path)}\0"))
        return digest.hexdigest()

    @property
    def repeatable(self) -> bool:
        """As of FrameSource."""
        return True

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, numbers: Sequence[int]) -> Iterator[SourceFrame | Unreadable]:
        """As of FrameSource."""
        for number in numbers:
            path = self.paths[number]
            name = path.name.encode("utf-8", "backslashreplace").decode()  # file names needn't be UTF-8
            try:
                photo = read_photo(path)
            except PhotoError as error:
                yield Unreadable(number=number, name=name, reason=error.problem)
                continue
            if _is_grey16(path):
                yield Unreadable(number=number, name=name, reason="16-bit grey PNG, as depth maps are kept")
            else:
                yield SourceFrame(number=number, name=name, image=photo.pixels_rgb, focal_px=photo.focal_px)


def _size_and_time(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:  # a link to nowhere: read() will name it
        return "gone"
    return f"{status.st_size} {status.st_mtime_ns}"


def _is_grey16(path: Path) -> bool:
    """Whether a picture is a 16-bit grey PNG: recorders put depth maps beside the pictures."""
    with path.open("rb") as file:
        header = file.read(26)
    return header[:8] == b"\x89PNG\r\n\x1a\n" and header[24:26] == b"\x10\x00"  # IHDR's bit depth and colour type


def open_picture_folder(folder: Path) -> PictureFolder:
    """List a folder's pictures; none is decoded.

    Raises:
        PhotoError: there is no such folder, or no picture in it.
    """
    return PictureFolder(folder, tuple(list_photos([folder])))
