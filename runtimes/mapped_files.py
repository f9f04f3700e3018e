"""Files that a runtime has mapped and read: their pages go back to the system."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["forget_mapped_pages", "read_only_mappings"]

_MADV_DONTNEED = 4  # Linux, all architectures


def forget_mapped_pages(folders: Iterable[Path]) -> None:
    """Let go of the memory that mapped files below some folders take, on Linux; elsewhere the system does it alone.

    A runtime that has packed weights into buffers of its own keeps the file mapped, and what it read of it counts as
    this process's memory until the system needs it. Only mappings that can't be written to are touched: whoever reads
    them again, reads them from the file again.

    Args:
        folders: absolute.
    """
    if sys.platform != "linux":
        return
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
        madvise = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):  # no /proc in this container, or another C library
        return
    for start, length in read_only_mappings(maps, folders):
        madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(_MADV_DONTNEED))


def read_only_mappings(maps: str, folders: Iterable[Path]) -> list[tuple[int, int]]:
    """Address and length of the read-only mappings of files below some folders.

    Args:
        maps: what /proc/self/maps says.
        folders: absolute.
    """
    below = tuple(f"{folder}/" for folder in folders)
    found = []
    for line in maps.splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) == 6 and fields[1].startswith("r--") and fields[5].startswith(below):
            start, end = (int(address, 16) for address in fields[0].split("-"))
            found.append((start, end - start))
    return found
