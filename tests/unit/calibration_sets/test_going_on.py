"""An interrupted build goes on: killed, out of disk, or with another request in its place."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import edgedepth
from edgedepth.calibration import picture_folder
from edgedepth.calibration.picture_folder import open_picture_folder
from edgedepth.calibration.set_workshop import partial_folder
from edgedepth.calibration.sets import CalibrationSet, build_calibration_set, open_calibration_set
from edgedepth.core.errors import BundleBusyError, OutputError
from edgedepth.photos import Photo, read_photo

from .pictures import folder_of, place


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "photos", [place(seed) for seed in range(10)])


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the pictures that are really decoded."""
    names: list[str] = []

    def counted(path: Path) -> Photo:
        names.append(path.name)
        return read_photo(path)

    monkeypatch.setattr(picture_folder, "read_photo", counted)
    return names


class StoppedError(Exception):
    pass


def stop_at(step: int) -> Callable[[str, int, int], None]:
    def progress(text: str, done: int, total: int) -> None:
        if done == step and text.startswith("look"):
            raise StoppedError

    return progress


@pytest.mark.parametrize("count", [5, 12], ids=["chosen of many", "all at once"])
def test_what_was_done_is_not_done_again(photos: Path, tmp_path: Path, reads: list[str], count: int) -> None:
    source = open_picture_folder(photos)
    whole = build_calibration_set(source, tmp_path / "whole", count=count)
    in_one_go = len(reads)
    with pytest.raises(StoppedError):
        build_calibration_set(source, tmp_path / "calib", count=count, progress=stop_at(7))
    assert not (tmp_path / "calib").exists()
    reads.clear()
    told: list[str] = []
    made = build_calibration_set(source, tmp_path / "calib", count=count, announce=told.append)
    assert made.fingerprint == whole.fingerprint
    assert len(reads) == in_one_go - 7
    assert "going on with an interrupted build: 7 frames were looked at" in told
    assert not partial_folder(tmp_path / "calib").exists()


@pytest.mark.parametrize("change", ["count", "seed", "source"])
def test_another_request_begins_anew(photos: Path, tmp_path: Path, reads: list[str], change: str) -> None:
    source = open_picture_folder(photos)
    with pytest.raises(StoppedError):
        build_calibration_set(source, tmp_path / "calib", count=12, progress=stop_at(7))
    if change == "source":
        os.utime(photos / "003.png", (1, 1))
    reads.clear()
    count, seed = {"count": (11, 0), "seed": (12, 1), "source": (12, 0)}[change]
    made = build_calibration_set(source, tmp_path / "calib", count=count, seed=seed)
    assert len(reads) == 10
    open_calibration_set(made.path)


def test_a_hollow_file_is_stored_again(photos: Path, tmp_path: Path) -> None:
    source = open_picture_folder(photos)
    with pytest.raises(StoppedError):
        build_calibration_set(source, tmp_path / "calib", count=12, progress=stop_at(7))
    hollow = partial_folder(tmp_path / "calib") / "frames" / "00002.png"
    hollow.write_bytes(bytes(hollow.stat().st_size))  # a power cut
    made = build_calibration_set(source, tmp_path / "calib", count=12)
    assert open_calibration_set(made.path).fingerprint == made.fingerprint


BUILD = """
import sys
from pathlib import Path
from edgedepth.calibration.picture_folder import open_picture_folder
from edgedepth.calibration.sets import build_calibration_set

def progress(text, done, total):
    print(text, flush=True)
    sys.stdin.readline()

build_calibration_set(open_picture_folder(Path(sys.argv[1])), sys.argv[2], count=12, progress=progress)
"""


def start(photos: Path, out: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(edgedepth.__path__[0]).parent)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(photos), str(out)], stdin=pipe, stdout=pipe, text=True, env=environment
    )


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_build_goes_on(photos: Path, tmp_path: Path, reads: list[str]) -> None:
    process = start(photos, tmp_path / "calib")
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(4):
        assert process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
    assert process.stdout.readline().startswith("look at 004")
    with pytest.raises(BundleBusyError, match="another process is writing"):
        build_calibration_set(open_picture_folder(photos), tmp_path / "calib", count=12)
    process.kill()
    process.communicate()
    made = build_calibration_set(open_picture_folder(photos), tmp_path / "calib", count=12)
    assert reads == [f"{number:03}.png" for number in range(4, 10)]
    assert len(open_calibration_set(made.path)) == 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 96 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root on Linux")
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this system does not let root mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def enlarge(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


def test_a_full_disk_is_told_and_the_build_goes_on(photos: Path, small_disk: Path, reads: list[str]) -> None:
    source = open_picture_folder(photos)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(60 << 10))
    with pytest.raises(
        OutputError, match=r"(No space left on device|the disk is full); the frames so far are kept in"
    ) as caught:
        build_calibration_set(source, small_disk / "calib", count=12)
    assert "goes on" in caught.value.remedy
    done = len(reads)
    assert 1 <= done < 10
    reads.clear()
    enlarge(small_disk, "1m")
    made: CalibrationSet = build_calibration_set(source, small_disk / "calib", count=12)
    assert len(reads) == 10 - done + 1  # the one that did not fit, again
    assert len(open_calibration_set(made.path)) == 10
    assert {path.name for path in small_disk.iterdir()} == {"filler", "calib", ".calib.lock"}
