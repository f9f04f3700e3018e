"""A disk that is full."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def file_size_limit() -> Iterator[Callable[[int], None]]:
    """Sets the size in bytes from which on this process's writes fail, as on a full disk."""
    resource = pytest.importorskip("resource", reason="there are no file size limits on Windows")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores the signal
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
