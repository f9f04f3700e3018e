"""SHA-256 of files, against hashlib over the whole bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.hashing import sha256_file, sha256_files


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_sha256_around_the_chunk(tmp_path: Path, size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "file").write_bytes(data)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_many_files_in_their_order(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}" for i in range(20)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * (1 << (20 - i)))  # the first takes longest
    assert sha256_files(paths) == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_the_first_error_is_raised(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sha256_files([tmp_path / "absent"])
