"""A log of work as it is done, so that a killed process loses nothing and the next one goes on.

The first line tells what the work is; each further line is one entry. A line that was cut short by a kill or a full
disk is dropped when the file is opened again.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from edgedepth.core.errors import OutputError

__all__ = ["Journal", "append_entry"]

Plain = Mapping[str, Any]


class Journal:
    """The open file.

    Args:
        path: of it; its folder must exist.
        header: what the work is, as JSON's plain values. Where the file tells of other work, or of none that can be
            read, it is begun anew.

    Raises:
        OutputError: it can't be read or written.
    """

    def __init__(self, path: Path, header: Plain) -> None:
        self.path = path
        self.entries: list[dict[str, Any]] = []
        """What the file held already, in the order in which it came."""
        try:
            # Unbuffered: each line is with the system when add() returns.
            self._file: BinaryIO = path.open("ab", buffering=0)
            lines, kept = _whole_lines(path.read_bytes())
            goes_on = lines[:1] == [{"header": json.loads(json.dumps(header))}]  # tuples become lists, as in the file
            self._file.truncate(kept if goes_on else 0)
        except OSError as error:
            raise _cannot_write(path, error.strerror or str(error)) from error
        if goes_on:
            self.entries = lines[1:]
        else:
            self.add({"header": header})

    def add(self, entry: Plain) -> None:
        """Keep one entry.

        Raises:
            OutputError: it can't be written: a full disk. What was kept before stays.
        """
        try:
            append_entry(self._file, entry)
        except OSError as error:
            raise _cannot_write(self.path, error.strerror or str(error)) from error

    def close(self) -> None:
        """Close the file. Closing twice is fine."""
        self._file.close()


def append_entry(file: BinaryIO, entry: Plain) -> None:
    """Write an entry as one line to an unbuffered file.

    Raises:
        OSError: it can't be written, or only its beginning was.
    """
    line = json.dumps(entry, allow_nan=False).encode("ascii") + b"\n"
    if file.write(line) != len(line):  # the next write would have told why
        raise OSError(errno.ENOSPC, "the disk is full")


def _whole_lines(content: bytes) -> tuple[list[dict[str, Any]], int]:
    """The entries up to the first line that is damaged or cut short, and the bytes that they take."""
    entries, kept = [], 0
    for line in content.splitlines(keepends=True):
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not isinstance(entry, dict) or not line.endswith(b"\n"):
            break
        entries.append(entry)
        kept += len(line)
    return entries, kept


def _cannot_write(path: Path, reason: str) -> OutputError:
    return OutputError(f"{path} can't be written: {reason}", remedy="free space, or choose another folder with --out")
