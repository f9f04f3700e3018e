"""What is particular to single layouts: folders of scenes, passes, file formats by other writers, turned pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from edgedepth.core.errors import SampleError
from edgedepth.datasets import open_dataset
from edgedepth.datasets.files import read_pfm

from .miniatures import booster, diode, draw, eth3d, middlebury, save, sintel, write


class TestMiddlebury:
    def test_a_scene_alone_is_called_by_its_folder(self, tmp_path: Path) -> None:
        middlebury(tmp_path)
        assert open_dataset(tmp_path / "Motorcycle-perfect").sample_names == ("Motorcycle-perfect",)

    def test_the_evaluation_s_copy_names_its_truth_otherwise(self, tmp_path: Path) -> None:
        mini = middlebury(tmp_path)
        mini.depth_file.rename(mini.depth_file.with_name("disp0GT.pfm"))
        np.testing.assert_array_equal(open_dataset(tmp_path).load(mini.sample).depth_m, mini.depth_m.astype(np.float32))

    @pytest.mark.parametrize("field", ["cam0", "doffs", "baseline"])
    def test_a_field_that_is_missing_is_named(self, field: str, tmp_path: Path) -> None:
        mini = middlebury(tmp_path)
        mini.calibration.write_text(mini.calibration.read_text().replace(f"{field}=", "other="))
        with pytest.raises(SampleError, match=f"has no {field}="):
            open_dataset(tmp_path).load(mini.sample)


class TestPfm:
    VALUES = np.arange(12, dtype=np.float32).reshape(3, 4) / 3

    def test_as_opencv_writes_it(self, tmp_path: Path) -> None:
        path = tmp_path / "opencv.pfm"
        assert cv2.imwrite(str(path), self.VALUES)
        np.testing.assert_array_equal(read_pfm(path), self.VALUES)

    def test_a_positive_scale_is_big_endian(self, tmp_path: Path) -> None:
        path = write(tmp_path / "big.pfm", b"Pf\n4 3\n1.0\n" + self.VALUES[::-1].astype(">f4").tobytes())
        np.testing.assert_array_equal(read_pfm(path), self.VALUES)

    def test_values_that_look_like_white_space_are_values(self, tmp_path: Path) -> None:
        content = b"\n" * 8  # two float32 that are no header any more
        path = write(tmp_path / "white.pfm", b"Pf\n2 1\n-1\n" + content)
        np.testing.assert_array_equal(read_pfm(path)[0], np.frombuffer(content, "<f4"))

    @pytest.mark.parametrize("content", [b"PF\n4 3\n-1\n", b"Pf\n4\n-1\n", b"Pf\n4 3\n-1\n" + b"\0" * 49])
    def test_anything_else_is_refused(self, content: bytes, tmp_path: Path) -> None:
        with pytest.raises(SampleError, match=r"bad\.pfm"):
            read_pfm(write(tmp_path / "bad.pfm", content))


class TestSintel:
    def test_the_clean_pass_stands_in_where_it_is_alone(self, tmp_path: Path) -> None:
        mini = sintel(tmp_path)
        (tmp_path / "training/final").rename(tmp_path / "elsewhere")
        data_set = open_dataset(tmp_path / "training")
        assert data_set.sample_names == ("clean/alley_1/frame_0001",)
        np.testing.assert_array_equal(data_set.load("clean/alley_1/frame_0001").image, draw(60))
        assert mini.focal_px == data_set.load("clean/alley_1/frame_0001").focal_px

    def test_another_tag_is_refused(self, tmp_path: Path) -> None:
        mini = sintel(tmp_path)
        mini.depth_file.write_bytes(b"PIEX" + mini.depth_file.read_bytes()[4:])
        with pytest.raises(SampleError, match="Sintel's tag"):
            open_dataset(tmp_path).load(mini.sample)


class TestDiode:
    @pytest.mark.parametrize("inner", ["val", "val/indoors", "val/indoors/scene_00019"])
    def test_any_of_its_folders_is_a_set(self, inner: str, tmp_path: Path) -> None:
        mini = diode(tmp_path)
        (name,) = open_dataset(tmp_path / inner).sample_names
        assert f"{inner}/{name}" == mini.sample

    def test_a_missing_mask_is_told(self, tmp_path: Path) -> None:
        mini = diode(tmp_path)
        mask = mini.depth_file.with_name(mini.depth_file.name.replace("depth", "depth_mask"))
        mask.unlink()
        with pytest.raises(SampleError, match=r"there is no file .*_depth_mask\.npy"):
            open_dataset(tmp_path).load(mini.sample)


class TestBooster:
    def test_every_light_is_a_sample_with_the_same_truth(self, tmp_path: Path) -> None:
        mini = booster(tmp_path)
        save(mini.picture.with_name("im1.png"), draw(90))
        data_set = open_dataset(tmp_path / "train/balanced")
        assert data_set.sample_names == ("Bathroom/camera_00/im0", "Bathroom/camera_00/im1")
        first, second = (data_set.load(name) for name in data_set.sample_names)
        np.testing.assert_array_equal(first.depth_m, second.depth_m)
        np.testing.assert_array_equal(second.image, draw(90))

    @pytest.mark.parametrize("name", ["proj_matL", "baselineLR"])
    def test_a_calibration_without_what_is_needed_is_refused(self, name: str, tmp_path: Path) -> None:
        mini = booster(tmp_path)
        mini.calibration.write_text(mini.calibration.read_text().replace(name, "other"))
        with pytest.raises(SampleError, match="has no proj_matL or no baselineLR"):
            open_dataset(tmp_path).load(mini.sample)

    def test_a_baseline_may_be_a_whole_number(self, tmp_path: Path) -> None:
        mini = booster(tmp_path)
        mini.calibration.write_text(mini.calibration.read_text().replace("125.0", "125"))
        np.testing.assert_array_equal(open_dataset(tmp_path).load(mini.sample).depth_m, mini.depth_m.astype(np.float32))


class TestEth3d:
    def test_one_camera_needs_no_list_of_pictures(self, tmp_path: Path) -> None:
        mini = eth3d(tmp_path)
        mini.calibration.write_text("7 PINHOLE 12 8 3400.5 3400.25 6 4\n")
        mini.calibration.with_name("images.txt").unlink()
        assert open_dataset(tmp_path).load(mini.sample).focal_px == 3400.5

    def test_a_picture_that_no_camera_took_is_told(self, tmp_path: Path) -> None:
        mini = eth3d(tmp_path)
        images = mini.calibration.with_name("images.txt")
        images.write_text(images.read_text().replace("DSC_0286", "DSC_9999"))
        with pytest.raises(SampleError, match=r"has no camera for DSC_0286\.JPG"):
            open_dataset(tmp_path).load(mini.sample)

    @pytest.mark.parametrize("orientation", [1, 3, 6, 8])
    def test_pictures_stay_as_they_are_stored(self, orientation: int, tmp_path: Path) -> None:
        mini = eth3d(tmp_path)
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(draw(10)).save(mini.picture, format="PNG", exif=exif)
        sample = open_dataset(tmp_path).load(mini.sample)
        np.testing.assert_array_equal(sample.image, draw(10))
        np.testing.assert_array_equal(sample.depth_m, mini.depth_m.astype(np.float32))
