"""SHA-256 of files, streamed, so that gigabytes cost no memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["sha256_file", "sha256_files"]

_CHUNK = 1 << 20
_WORKERS = 4


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_files(paths: Iterable[Path]) -> list[str]:
    """Hex SHA-256 of each file, in order. Files are read in parallel: hashlib lets go of the GIL."""
    with ThreadPoolExecutor(max_workers=_WORKERS) as pool:
        return list(pool.map(sha256_file, paths))
