"""A folder that appears whole or not at all.

Everything is written into a hidden folder beside the target and moved there by renaming. A process that is killed
leaves the old folder or none; what it left beside it is swept up by the next writer.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from edgedepth.core.errors import BundleBusyError, OutputError

__all__ = ["replace_folder"]

_DISK_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}

try:
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

except ImportError:  # Windows
    import msvcrt

    def _lock(file: IO[bytes]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]


@contextlib.contextmanager
def replace_folder(target: Path, *, ours: Callable[[Path], bool]) -> Iterator[Path]:
    """Write a folder atomically.

    Args:
        target: where it shall be. Its parents are made.
        ours: whether a folder that stands there may be replaced: a bundle may, somebody's pictures may not.

    Yields:
        An empty folder to write into; it becomes `target` when the block ends without an exception.

    Raises:
        BundleBusyError: another process is writing the same target.
        OutputError: the place can't be written, the disk is full, or something else stands there.
    """
    target = Path.cwd() / target  # absolute, but a link to a folder stays a link
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = (target.parent / f".{target.name}.lock").open("ab")
    except OSError as error:
        raise _unwritable(target, error) from error
    with lock:
        try:
            _lock(lock)
        except OSError:
            raise BundleBusyError(
                f"another process is writing {target}",
                remedy="wait for it, or choose another folder with --out",
            ) from None
        _recover(target)
        _refuse_foreign(target, ours)
        yield from _write(target)


def _write(target: Path) -> Iterator[Path]:
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        yield work
        work.chmod(0o755)  # mkdtemp makes it private
        _sync(work)
        _swap(work, target)
    except OSError as error:
        # The block between may fail for reasons of its own; only what the disk did is ours to explain.
        if error.errno in _DISK_ERRORS:
            raise _unwritable(target, error) from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _swap(work: Path, target: Path) -> None:
    old = target.parent / f".{target.name}.old"
    if target.exists():
        target.rename(old)
    work.rename(target)
    shutil.rmtree(old, ignore_errors=True)


def _recover(target: Path) -> None:
    """Undo what a killed writer left: put back an old folder that was moved aside, drop unfinished new ones."""
    old = target.parent / f".{target.name}.old"
    if old.exists() and not target.exists():
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    for left in target.parent.glob(f".{target.name}.new-*"):
        shutil.rmtree(left, ignore_errors=True)


def _refuse_foreign(target: Path, ours: Callable[[Path], bool]) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise OutputError(f"{target} is a file; a folder is meant", remedy="choose another folder with --out")
    if any(target.iterdir()) and not ours(target):
        raise OutputError(
            f"{target} holds files that edgedepth did not write, and they won't be replaced",
            remedy="choose an empty or new folder with --out",
        )


def _sync(folder: Path) -> None:
    """Have the files on the disk before the rename makes them visible: a power cut must not leave a hollow bundle."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _unwritable(target: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"{target} can't be written: {reason}", remedy="free space or choose another folder with --out")
