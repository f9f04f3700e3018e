"""Whether a file is still the one that was looked at, told by its inode's facts and without reading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileStamp", "stamp_of"]


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What changes when a file is written, replaced or swapped for a link.

    On POSIX the time of the last change (ctime) is set by the system and by nobody else; where a writer sets back the
    time of the last modification, it still tells.
    """

    device: int
    inode: int
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def stamp_of(path: Path) -> FileStamp:
    """The stamp of a path itself: a link is not followed.

    Raises:
        OSError: it isn't there, or can't be looked at.
    """
    facts = path.lstat()
    return FileStamp(facts.st_dev, facts.st_ino, facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
