"""Reading small files that strangers made: nothing that isn't a plain file, and no more than such a file can have."""

from __future__ import annotations

import errno
import io
import math
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["check_plain", "read_arrays", "read_plain"]


def check_plain(path: Path) -> os.stat_result:
    """Refuse what is no plain file: opening a pipe would wait for ever.

    Raises:
        OSError: it isn't one, or isn't there.
    """
    facts = path.stat()
    if not stat.S_ISREG(facts.st_mode):
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    return facts


def read_plain(path: Path, *, limit: int) -> bytes:
    """A file's bytes.

    Args:
        path: of it; a link is followed.
        limit: the most bytes that such a file has.

    Raises:
        OSError: it isn't a plain file, has more bytes, or can't be read.
    """
    size = check_plain(path).st_size
    if size > limit:
        raise OSError(errno.EFBIG, f"it has {size} bytes; no such file has more than {limit}", str(path))
    with path.open("rb") as file:
        return file.read(limit)


def read_arrays(path: Path, *, limit: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz by name, nothing unpickled.

    Args:
        path: of the file.
        limit: the most bytes that the file has, and that its arrays have together.

    Raises:
        OSError: as read_plain.
        ValueError: it is no .npz, or an array is damaged, of objects, or larger than allowed or than what is stored.
    """
    content = read_plain(path, limit=limit)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            left = limit
            for member in archive.infolist():
                left -= _declared_bytes(archive, member)
                if left < 0:
                    raise ValueError(f"its arrays have more than {limit} bytes together")
        with np.load(io.BytesIO(content), allow_pickle=False) as loaded:
            return {name: loaded[name] for name in loaded.files}
    except Exception as error:  # over damaged bytes zipfile and numpy raise a dozen unrelated types
        raise ValueError(f"it is not an archive of arrays: {error}") from error


def _declared_bytes(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """What numpy will allocate for an array, read off its header alone."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(file)
        size = math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 0 or dtype.hasobject or size != member.file_size - file.tell():
            raise ValueError(f"{member.filename} declares {dtype} {shape}, which is not what it holds")
    return size
