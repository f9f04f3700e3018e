"""A folder that appears whole or not at all.

What is written lands in a hidden folder beside the target, `.NAME.new`, and is moved there by renaming; what stood
there waits in `.NAME.old` until the new one is in place. A process that is killed leaves the old folder, the new one,
or none (between the two renames); the next writer puts the old one back and sweeps up the rest. `.NAME.lock` keeps
two writers apart. It stays behind: removing it while another process opens it would let both in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from edgedepth.core.errors import BundleBusyError, OutputError

__all__ = ["check_replaceable", "locked", "remove_folder", "replace_folder", "set_aside", "sweep"]

_DISK_ERRORS = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FULL = 1 << 20  # bytes: with less than this free, a write that failed without saying why failed for lack of space

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
        target: where it shall be. Its parents are made. Where a link stands, what it points to is replaced.
        ours: whether a folder that stands there may be replaced: a bundle may, somebody's pictures may not.

    Yields:
        An empty folder to write into; it becomes `target` when the block ends without an exception.

    Raises:
        BundleBusyError: another process is writing the same target.
        OutputError: the place can't be written, the disk is full, or something else stands there.
    """
    target = _resolved(target)
    with locked(target):
        with _explained(target):
            work = _prepare(target, ours)
        try:
            with _explained(target, disk_only=True):
                yield work
            with _explained(target):
                _sync(work)
                _swap(work, target)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def check_replaceable(target: Path, *, ours: Callable[[Path], bool]) -> None:
    """Raise what replace_folder would raise now, before work is done that would be lost.

    Nothing changes but what it would do first: parents are made, and what a killed writer left is put right.
    """
    target = _resolved(target)
    with locked(target), _explained(target):
        _prepare(target, ours).rmdir()


def remove_folder(target: Path, *, ours: Callable[[Path], bool]) -> None:
    """Delete a folder as it was written: at once for whoever looks, however long the disk takes.

    Args:
        target: of it. A link is refused: what it points to lies elsewhere.
        ours: whether it may be deleted.

    Raises:
        BundleBusyError: another process is writing it.
        OutputError: it is not ours, isn't there, or can't be deleted.
    """
    if target.is_symlink() or not target.is_dir():
        raise OutputError(f"there is no folder {target} to delete", remedy="edgedepth store list names what is there")
    gone = _beside(target, "gone")
    with locked(target), _explained(target):
        _refuse_foreign(target, ours)
        shutil.rmtree(gone, ignore_errors=True)
        target.rename(gone)
        _flush(target.parent)
        shutil.rmtree(gone)


def sweep(folder: Path) -> int:
    """Delete what killed writers left in a folder: half-written and half-deleted ones, never what is being written.

    What was set aside while the new one was moved into place is put back.

    Returns:
        Bytes that came free.

    Raises:
        OutputError: something can't be deleted.
    """
    freed = 0
    for left in sorted(folder.glob(".*")) if folder.is_dir() else ():
        name, _, role = left.name[1:].rpartition(".")
        if not name or role not in ("new", "old", "gone") or left.is_symlink() or not left.is_dir():
            continue
        target = folder / name
        with contextlib.suppress(BundleBusyError), locked(target), _explained(target):
            if role == "old" and not target.exists():
                left.rename(target)
                continue
            freed += sum(path.stat().st_size for path in left.rglob("*") if path.is_file() and not path.is_symlink())
            shutil.rmtree(left)
    return freed


def _resolved(target: Path) -> Path:
    with _explained(target):
        target = Path(os.path.realpath(target))
    if os.path.ismount(target):
        raise OutputError(f"{target} is a mount point, which can't be replaced", remedy="choose a folder inside of it")
    return target


def set_aside(target: Path) -> Path:
    """Where the old folder waits while the new one takes its place."""
    return _beside(target, "old")


def _beside(target: Path, role: str) -> Path:
    return target.parent / f".{target.name}.{role}"


@contextlib.contextmanager
def locked(target: Path, *, remedy: str = "wait for it, or choose another folder with --out") -> Iterator[None]:
    """Keep other processes from writing what stands, or will stand, at a place. Its parents are made.

    Args:
        target: the place.
        remedy: what to do where another process holds it.

    Raises:
        BundleBusyError: another process holds it.
        OutputError: the place can't be written.
    """
    with _explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = _beside(target, "lock").open("ab")
    with file:
        with _explained(target):
            try:
                _lock(file)
            except OSError as error:
                if error.errno not in {errno.EACCES, errno.EAGAIN}:
                    raise  # a file system without locks, not a second writer
                raise BundleBusyError(f"another process is writing {target}", remedy=remedy) from None
        yield


def _prepare(target: Path, ours: Callable[[Path], bool]) -> Path:
    """Undo what a killed writer left, look at what stands in the way, and make the folder to write into."""
    work, old = _beside(target, "new"), set_aside(target)
    if old.exists() and not target.exists():
        old.rename(target)
    _refuse_foreign(target, ours)
    for left in (old, work):
        shutil.rmtree(left, ignore_errors=True)
    work.mkdir()
    return work


def _refuse_foreign(target: Path, ours: Callable[[Path], bool]) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir():
        raise OutputError(f"{target} is not a folder; a folder is meant", remedy="choose another folder with --out")
    if any(target.iterdir()) and not ours(target):
        raise OutputError(
            f"{target} holds something other than what edgedepth wrote, and it won't be replaced",
            remedy="choose an empty or new folder with --out, or delete this one",
        )


def _swap(work: Path, target: Path) -> None:
    old = set_aside(target)
    if target.exists():
        target.rename(old)
    try:
        work.rename(target)
    except BaseException:
        if old.exists():
            old.rename(target)
        raise
    _flush(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Have everything on the disk before the rename makes it visible: a power cut must not leave a hollow bundle."""
    for path in folder.rglob("*"):
        _flush(path)
    _flush(folder)


def _flush(path: Path) -> None:
    if os.name != "posix" and path.is_dir():
        return  # Windows opens no folders
    # Windows flushes only what is open for writing; elsewhere an artefact may be read-only.
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(target: Path, *, disk_only: bool = False) -> Iterator[None]:
    """Turn an OSError into an OutputError; with disk_only, only what the disk did: the rest is the block's own."""
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a path that no file system takes, with a zero byte
        if disk_only and not _is_disk_error(error, target.parent):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(
            f"{target} can't be written: {reason}", remedy="free space or choose another folder with --out"
        ) from error


def _is_disk_error(error: Exception, folder: Path) -> bool:
    if not isinstance(error, OSError):
        return False
    # numpy's tofile() tells how much it wrote, and not why it stopped.
    unexplained = error.errno is None and shutil.disk_usage(folder).free < _FULL
    return error.errno in _DISK_ERRORS or unexplained
