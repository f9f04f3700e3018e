"""A file appears whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgedepth.core.errors import OutputError
from edgedepth.core.files import write_file

NOBODY = 65534


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    assert write_file(path, b"old") == path
    assert write_file(str(path), memoryview(b"new")) == path
    assert path.read_bytes() == b"new"
    assert names_in(tmp_path) == ["a.bin"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target = tmp_path / "target"
    link = tmp_path / "link"
    link.symlink_to(target)
    write_file(link, b"content")
    assert link.is_symlink()
    assert target.read_bytes() == b"content"


def test_a_missing_folder_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder") as caught:
        write_file(tmp_path / "missing" / "a.bin", b"x")
    assert caught.value.remedy == f"mkdir -p {tmp_path / 'missing'}"
    assert not (tmp_path / "missing").exists()


def test_a_folder_a_device_and_a_file_as_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(OutputError, match="is not a file"):
        write_file(tmp_path, b"x")
    with pytest.raises(OutputError, match="can't be written"):
        write_file(tmp_path / "file" / "a.bin", b"x")
    if Path("/dev/null").exists():
        with pytest.raises(OutputError, match="is not a file"):
            write_file("/dev/null", b"x")
        assert Path("/dev/null").is_char_device()
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_name_too_long_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long"):
        write_file(tmp_path / ("a" * 300), b"x")
    assert names_in(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="permissions work otherwise on Windows")
def test_a_read_only_folder() -> None:
    # Not tmp_path: pytest's folders can't even be entered by the user that root turns into here.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.bin").write_bytes(b"old")
        folder.chmod(0o555)
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(NOBODY)
            with pytest.raises(OutputError, match="Permission denied"):
                write_file(folder / "a.bin", b"new")
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)
        assert (folder / "a.bin").read_bytes() == b"old"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this system does not let root mount a tmpfs")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_full_disk_leaves_the_old_file(small_disk: Path) -> None:
    write_file(small_disk / "a.bin", b"old")
    with pytest.raises(OutputError, match="No space left"):
        write_file(small_disk / "a.bin", bytes(1 << 20))
    assert names_in(small_disk) == ["a.bin"]
    assert (small_disk / "a.bin").read_bytes() == b"old"


def test_a_quota_leaves_the_old_file(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="there are no file size limits on Windows")
    write_file(tmp_path / "a.bin", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # Python ignores the signal, and write() fails
    try:
        with pytest.raises(OutputError, match="File too large"):
            write_file(tmp_path / "a.bin", bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names_in(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"old"
