"""Pictures of runs that somebody else has made: nothing outside of the folder, nothing huge, nothing broken."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedepth.core.errors import RunError
from edgedepth.report.run_files import MAX_SIDE, file_of, read_depth, read_rgb


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "pictures").mkdir(parents=True)
    (tmp_path / "secret.npz").write_bytes(b"secret")
    (folder / "pictures" / "link.npz").symlink_to(tmp_path / "secret.npz")
    (folder / "pictures" / "away").symlink_to(tmp_path)
    (folder / "pictures" / "loop").symlink_to("loop")
    return folder


@pytest.mark.parametrize(
    "name",
    ["../secret.npz", "pictures/../../secret.npz", "/etc/passwd", "pictures/link.npz", "pictures/away/secret.npz"],
)
def test_a_path_out_of_the_folder_is_refused(run: Path, name: str) -> None:
    with pytest.raises(RunError, match=r"leads out of the run's folder"):
        file_of(run, name)


@pytest.mark.parametrize("name", ["pictures/none.npz", "pictures", "", "pictures/loop", "a\0b", "x" * 5000])
def test_what_is_no_file_is_refused(run: Path, name: str) -> None:
    with pytest.raises(RunError, match=r"has no file|can't be read"):
        file_of(run, name)


def npz(member: bytes, name: str = "depth.npy") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, member)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npy_claiming(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


BROKEN: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "no zip": lambda: b"PK nothing of the kind",
    "another name": lambda: npz(npy(np.ones((2, 2), np.float32)), "deep.npy"),
    "doubles": lambda: npz(npy(np.ones((2, 2)))),
    "a line": lambda: npz(npy(np.ones(4, np.float32))),
    "objects": lambda: npz(npy(np.array([[{}]], dtype=object))),
    "no pixels": lambda: npz(npy(np.ones((0, 4), np.float32))),
    "too wide": lambda: npz(npy(np.ones((1, MAX_SIDE + 1), np.float32))),
    "a huge claim": lambda: npz(npy_claiming((1 << 40, 1 << 40))),
    "too little": lambda: npz(npy_claiming((4, 4)) + b"\0" * 63),
    "a bomb": lambda: npz(npy_claiming((4, 4)) + b"\0" * (1 << 24)),
    "cut short": lambda: npz(npy(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)))[:900],
    "damaged": lambda: npz(npy(np.ones((2, 2), np.float32)).replace(b"NUMPY", b"NUMPI")),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_depth_that_is_none_is_refused(run: Path, content: Callable[[], bytes]) -> None:
    (run / "depth.npz").write_bytes(content())
    with pytest.raises(RunError, match=r"depth\.npz"):
        read_depth(run, "depth.npz")


def test_depth_is_read_and_what_is_no_depth_becomes_a_hole(run: Path) -> None:
    depth = np.array([[1, np.nan, np.inf], [-np.inf, 0, -2]], np.float32)
    np.savez_compressed(run / "depth.npz", depth=depth)
    np.testing.assert_array_equal(read_depth(run, "depth.npz"), [[1, np.nan, np.nan], [np.nan] * 3])
    np.savez(run / "turned.npz", depth=np.asfortranarray(np.arange(1, 7, dtype=np.float32).reshape(2, 3)))
    np.testing.assert_array_equal(read_depth(run, "turned.npz"), [[1, 2, 3], [4, 5, 6]])


def test_a_picture_that_is_none_or_too_large_is_refused(run: Path) -> None:
    (run / "a.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with pytest.raises(RunError, match="not a picture"):
        read_rgb(run, "a.jpg")
    Image.new("RGB", (MAX_SIDE + 1, 2)).save(run / "wide.jpg")
    with pytest.raises(RunError, match="allowed are 1 to 4096"):
        read_rgb(run, "wide.jpg")
    Image.new("RGB", (3, 2), (255, 0, 0)).save(run / "red.png")
    assert read_rgb(run, "red.png").tolist() == [[[255, 0, 0]] * 3] * 2
