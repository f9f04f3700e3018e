"""Real frames, put into their publishers' layouts: depth and focal length are what their source says they are."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgedepth.datasets import Sample, open_dataset

from .miniatures import write


def tum_sequence(frames: Path, folder: Path, *names: str) -> Path:
    lines = []
    for name in names:
        for kind, file in (("rgb", f"{name}.png"), ("depth", f"{name}_depth.png")):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(frames / file, folder / kind / f"{name}.png")
        lines.append(f"0 depth/{name}.png 0 rgb/{name}.png")
    write(folder / "associations.txt", "\n".join(lines))
    return folder


@pytest.fixture
def motorcycle(real_pictures: Path, tmp_path: Path) -> Path:
    """Middlebury's motorcycle as the data set's page lays it out, with the figures of the pictures' list of sources."""
    source, scene = real_pictures / "stereo_middlebury", tmp_path / "Motorcycle-perfect"
    scene.mkdir()
    shutil.copy(source / "motorcycle_left.png", scene / "im0.png")
    disparity = np.load(source / "motorcycle_disp.npz")["arr_0"].astype(np.float32)
    height, width = disparity.shape
    write(scene / "disp0.pfm", f"Pf\n{width} {height}\n-1\n".encode() + disparity[::-1].astype("<f4").tobytes())
    write(
        scene / "calib.txt",
        "cam0=[994.978 0 311.193; 0 994.978 254.877; 0 0 1]\ndoffs=31.086\nbaseline=193.001\nwidth=741\nheight=497\n",
    )
    return scene


def range_m(sample: Sample) -> tuple[float, float]:
    known = sample.depth_m[sample.valid]
    return float(known.min()), float(known.max())


def test_a_frame_of_tum(real_pictures: Path, tmp_path: Path) -> None:
    frames = real_pictures / "rgbd_tum_icl"
    folder = tum_sequence(frames, tmp_path / "rgbd_dataset_freiburg1_x", "fr1_1")
    sample = open_dataset(folder).load("rgbd_dataset_freiburg1_x/rgb/fr1_1")
    assert sample.image.shape == (480, 640, 3)
    assert sample.focal_px == 517.3
    raw = cv2.imread(str(frames / "fr1_1_depth.png"), cv2.IMREAD_UNCHANGED)  # another decoder than the reader's
    np.testing.assert_array_equal(sample.depth_m, (raw / 5000).astype(np.float32))
    np.testing.assert_array_equal(sample.valid, raw > 0)
    assert range_m(sample) == pytest.approx((4847 / 5000, 42819 / 5000))  # a desk and the wall behind it


def test_frames_of_icl(real_pictures: Path, tmp_path: Path) -> None:
    names = ("ch12_1", "ch12_2", "ch12_3")
    folder = tum_sequence(real_pictures / "rgbd_tum_icl", tmp_path / "living_room_traj1_frei_png", *names)
    data_set = open_dataset(tmp_path)
    assert len(data_set.sample_names) == 3
    for name in data_set.sample_names:
        sample = data_set.load(name)
        assert sample.focal_px == 481.2
        assert sample.valid.mean() > 0.99  # rendered: dense
        raw = np.asarray(Image.open(folder / "depth" / f"{name.rpartition('/')[2]}.png"))
        np.testing.assert_array_equal(sample.depth_m, (raw / 5000).astype(np.float32))


def test_middlebury_s_motorcycle(motorcycle: Path) -> None:
    sample = open_dataset(motorcycle.parent).load("Motorcycle-perfect")
    assert sample.focal_px == 994.978
    assert range_m(sample) == pytest.approx((2.1, 5.0), abs=0.05)  # as the list of sources rounds it
    # Where a disparity is unknown, depth is: the picture's left edge has no partner in the right one.
    assert not sample.valid.all()
    assert sample.valid.mean() > 0.8


def test_a_plain_folder_says_the_same_as_the_publisher_s_layout(motorcycle: Path, tmp_path: Path) -> None:
    expected = open_dataset(motorcycle).load("Motorcycle-perfect")
    folder = tmp_path / "plain"
    folder.mkdir()
    shutil.copy(motorcycle / "im0.png", folder / "motorcycle.png")
    millimetres = np.round(expected.depth_m * 1000).astype(np.uint16)
    Image.fromarray(millimetres).save(folder / "motorcycle.depth.png")
    write(folder / "motorcycle.json", '{"focal_px": 994.978}')
    sample = open_dataset(folder).load("motorcycle")
    np.testing.assert_array_equal(sample.valid, expected.valid)
    np.testing.assert_array_equal(sample.image, expected.image)
    # Half a millimetre is what rounding to millimetres costs.
    np.testing.assert_allclose(sample.depth_m, expected.depth_m, rtol=0, atol=0.00051)
    assert sample.focal_px == expected.focal_px
