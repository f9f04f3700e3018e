"""KITTI: the forms in which the Eigen split goes round, and where its files may lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgedepth.core.errors import DataSetError
from edgedepth.datasets import open_dataset

from .miniatures import kitti, write

DRIVE = "2011_09_26_drive_0002_sync"
NAME = f"{DRIVE}/image_02/0000000069"
BTS, MONODEPTH, MONODEPTH2 = "eigen_test_files_with_gt.txt", "eigen_test_files.txt", "test_files.txt"


def with_list(folder: Path, name: str, content: str) -> Path:
    kitti(folder)
    (folder / BTS).unlink()
    write(folder / name, content)
    return folder


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (BTS, f"2011_09_26/{DRIVE}/image_02/data/0000000069.png None/../{DRIVE}/x.png 721.5377"),
        (MONODEPTH, f"2011_09_26/{DRIVE}/image_02/data/0000000069.jpg 2011_09_26/{DRIVE}/image_03/data/0000000069.jpg"),
        (MONODEPTH2, f"2011_09_26/{DRIVE} 0000000069 l"),
        (MONODEPTH2, f"2011_09_26/{DRIVE} 69 l"),
        ("kitti_eigen_test_files_with_gt.txt", f"2011_09_26/{DRIVE}/image_02/data/0000000069.png x.png 721\r"),
    ],
)
def test_every_form_of_the_list_names_the_same_frame(name: str, line: str, tmp_path: Path) -> None:
    data_set = open_dataset(with_list(tmp_path, name, f"{line}\n\n"))
    assert data_set.max_depth_m == 80
    assert data_set.sample_names == (NAME,)
    assert data_set.load(NAME).focal_px == 721.5377


def test_the_right_camera_has_its_own_calibration(tmp_path: Path) -> None:
    with_list(tmp_path, MONODEPTH2, f"2011_09_26/{DRIVE} 69 r\n")
    for root in (tmp_path / f"2011_09_26/{DRIVE}", tmp_path / f"val/{DRIVE}/proj_depth/groundtruth"):
        (root / "image_02").rename(root / "image_03")
    calibration = tmp_path / "2011_09_26/calib_cam_to_cam.txt"
    calibration.write_text(calibration.read_text() + "P_rect_03: 7.1e+02 0 0 0\n")
    assert open_dataset(tmp_path).load(f"{DRIVE}/image_03/0000000069").focal_px == 710


@pytest.mark.parametrize("place", [".", "train", "val", "data_depth_annotated/train", "data_depth_annotated/val"])
def test_the_truth_may_lie_where_archives_and_habits_put_it(place: str, tmp_path: Path) -> None:
    mini = kitti(tmp_path)
    if place != "val":
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        shutil.move(tmp_path / "val" / DRIVE, tmp_path / place / DRIVE)
    sample = open_dataset(tmp_path).load(NAME)
    assert sample.valid.sum() == ((mini.depth_m > 0) & mini.counted).sum()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (f"2011_09_26/{DRIVE} 69 l\n2011_09_26/{DRIVE} 69 l\n", f"has '{NAME}' twice"),
        (f"2011_09_26/{DRIVE} 69 l\nkitchen/0001.png\n", "line 2: kitchen"),
        (f"2011_09_26/2011_09_28_drive_0002_sync 69 l\n{DRIVE}", "line 1"),
        (f"2011_09_26/{DRIVE}/image_02/data/0000000069.png None 721.5\n", "holds no samples"),
        ("", "holds no samples"),
    ],
)
def test_a_bad_list_is_the_set_s_fault(content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=told):
        open_dataset(with_list(tmp_path, MONODEPTH2, content))


def test_no_list_and_two_lists_are_told(tmp_path: Path) -> None:
    with_list(tmp_path, MONODEPTH2, f"2011_09_26/{DRIVE} 69 l\n")
    write(tmp_path / MONODEPTH, "")
    with pytest.raises(DataSetError, match=f"has several: {MONODEPTH}, {MONODEPTH2}"):
        open_dataset(tmp_path)
    for name in (MONODEPTH, MONODEPTH2):
        (tmp_path / name).unlink()
    with pytest.raises(DataSetError, match="needs one list of the Eigen test split and has none"):
        open_dataset(tmp_path)
