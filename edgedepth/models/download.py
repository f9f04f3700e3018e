"""One published checkpoint, fetched over HTTP: announced first, resumed, checked, and only then visible.

The transfer is huggingface_hub's: redirects, proxies, tokens, retries and the progress bar. Not its
hf_hub_download, which since 1.x throws a half-fetched file away when the process ends: two gigabytes over a robot's
link deserve to be continued tomorrow. So the half-fetched file is ours, and the library appends to it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from edgedepth.core.errors import DownloadError, OutputError
from edgedepth.core.hashing import sha256_file
from edgedepth.core.optional import require
from edgedepth.models.registry import WeightsSource

__all__ = ["download_file", "partial_path", "source_url"]

_DISK_ERRORS = {
    errno.EACCES,
    errno.EFBIG,
    errno.EIO,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
    getattr(errno, "EDQUOT", errno.ENOSPC),
}
_PURPOSE = "to download weights"


def source_url(source: WeightsSource) -> str:
    """Where the file is, on the hub or on the mirror that HF_ENDPOINT names.

    The variable is read here and now: huggingface_hub reads it when it is imported, which may be long before.
    """
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return f"{endpoint.rstrip('/')}/{source.repo}/resolve/{source.revision}/{source.file}"


def partial_path(target: Path) -> Path:
    """Where the bytes are until all of them are there and proven."""
    return target.with_name(f".{target.name}.part")


def download_file(source: WeightsSource, target: Path, *, announce: Callable[[str], None], remedy: str) -> None:
    """Fetch a checkpoint; `target` appears by renaming, after its sha256 was found right.

    Args:
        source: what to fetch, and what it has to be.
        target: where it shall be. What an interrupted call left beside it is continued.
        announce: told the licence, before anything is asked of the network.
        remedy: for every error of the network: what works without one.

    Raises:
        DownloadError: no network, a refusal, another file than expected, or another process is at it.
        OutputError: the disk is full or can't be written.
        MissingExtraError: huggingface_hub is not installed.
    """
    announce(
        f"Downloading {source.file} ({source.size / 1e9:.2f} GB) from {source_url(source)}. "
        f"Its licence, which whoever uses it accepts: {source.licence}, {source.licence_url}"
    )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise _failed(source, "HF_HUB_OFFLINE forbids it", remedy)
    filelock = require("filelock", extra="export", purpose=_PURPOSE)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.with_name(f".{target.name}.lock"), timeout=0):
            _fetch(source, partial_path(target), remedy)
            _check(source, partial_path(target), remedy)
            partial_path(target).replace(target)
    except filelock.Timeout:
        raise DownloadError(
            f"another process is downloading {source.file}", remedy="wait for it, then run this again"
        ) from None
    except OSError as error:
        raise OutputError(
            f"{target} can't be written: {error.strerror or error}",
            remedy="free space, or let EDGEDEPTH_HOME name a folder on another disk; what has come is kept",
        ) from error


def _fetch(source: WeightsSource, part: Path, remedy: str) -> None:
    """Append what is missing to the half-fetched file."""
    # http_get is not among huggingface_hub's top-level names, but has kept this signature from 0.30 to 2.4.
    hub = require("huggingface_hub.file_download", extra="export", purpose=_PURPOSE)
    url = source_url(source)
    if part.exists() and part.stat().st_size > source.size:
        part.unlink()
    try:
        # The library retries a download for a while; this question it asks once, so that no network fails at once.
        size = hub.get_hf_file_metadata(url, timeout=10).size
        if size not in (None, source.size):
            raise _failed(source, f"it has {size} bytes there instead of {source.size}: it is another file", remedy)
        with part.open("ab") as file:
            headers = hub.build_hf_headers(library_name="edgedepth")
            hub.http_get(url, file, resume_size=file.tell(), headers=headers, expected_size=source.size)
            file.flush()
            os.fsync(file.fileno())
    except DownloadError:
        raise
    except Exception as error:
        # requests' errors up to 0.36, httpx's from 1.0, httpx2's from 2.0: there is no common base to catch.
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise
        kept = f"; {part.stat().st_size} bytes are here and are not fetched again" if part.exists() else ""
        raise _failed(source, _reason(error) + kept, remedy) from error


def _check(source: WeightsSource, part: Path, remedy: str) -> None:
    """Refuse and remove what is not the published file."""
    found = sha256_file(part)
    if found != source.sha256:
        part.unlink()
        raise _failed(source, f"what came has sha256 {found} instead of {source.sha256}, and was removed", remedy)


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"the server answers {status}"
    first_line = (str(error).splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {first_line}"


def _failed(source: WeightsSource, reason: str, remedy: str) -> DownloadError:
    return DownloadError(f"{source_url(source)} can't be downloaded: {reason}", remedy=remedy)
