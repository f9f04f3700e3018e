"""A file that appears whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from edgedepth.core.errors import OutputError

__all__ = ["flush_folder", "write_file"]


def write_file(path: str | os.PathLike[str], content: bytes | memoryview, *, durable: bool = False) -> Path:
    """Write a file atomically: a killed process or a full disk leaves the old file or none.

    Args:
        path: where it shall be; its folder must exist. A link stays a link, and the file behind it is replaced.
        content: all of it.
        durable: force the content to the disk before the file appears, so that a power cut leaves no empty one. A
            camera's frames are written without. flush_folder() makes its name last, too.

    Returns:
        The path that was asked for.

    Raises:
        OutputError: no such folder, no permission, a full disk, or something else than a file stands there.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".edgedepth-{secrets.token_hex(8)}.tmp")
    try:
        if target.exists() and not target.is_file():
            # Renaming over a device such as /dev/null would take it from everybody.
            raise OutputError(f"{path} is not a file, and won't be replaced by one", remedy="choose another file name")
        if not target.parent.is_dir():
            raise OutputError(
                f"{path} can't be written: there is no folder {target.parent}", remedy=f"mkdir -p {target.parent}"
            )
        with temporary.open("xb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        raise OutputError(
            f"{path} can't be written: {error.strerror or error}", remedy="free space or choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return path


def flush_folder(folder: Path) -> None:
    """Force the names in a folder to the disk. Where folders can't be opened (Windows), nothing is done.

    Raises:
        OutputError: the disk fails.
    """
    if os.name != "posix":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise OutputError(f"{folder} can't be written: {error.strerror}", remedy="check the disk") from error
