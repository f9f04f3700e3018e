"""The plain folder: what may lie in it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.errors import DataSetError, SampleError
from edgedepth.datasets import open_dataset

from .miniatures import draw, save, write


def put(folder: Path, name: str, depth_m: float = 2.0, *, suffix: str = ".png") -> None:
    save(folder / f"{name}{suffix}", draw())
    np.save(folder / f"{name}.depth.npy", np.full((8, 12), depth_m, np.float32))


def intrinsics(folder: Path, **fields: object) -> None:
    write(folder / "intrinsics.json", json.dumps(fields))


def problem_of(folder: Path, name: str) -> str:
    with pytest.raises(SampleError) as caught:
        open_dataset(folder).load(name)
    return caught.value.problem


def test_samples_are_the_pictures_by_name(tmp_path: Path) -> None:
    for name in ("b.2", "a", "c"):
        put(tmp_path, name, suffix=".jpg" if name == "c" else ".png")
    save(tmp_path / "a.mask.png", np.zeros((8, 12), np.uint8))
    write(tmp_path / "notes.txt", "not a picture")
    write(tmp_path / "._a.depth.npy", "what a Mac leaves on other people's disks")
    write(tmp_path / "._a.png", "likewise")
    assert open_dataset(tmp_path).sample_names == ("a", "b.2", "c")


def test_without_intrinsics_the_focal_length_is_unknown_and_depth_is_millimetres(tmp_path: Path) -> None:
    save(tmp_path / "a.png", draw())
    save(tmp_path / "a.depth.png", np.full((8, 12), 1234, np.uint16))
    data_set = open_dataset(tmp_path)
    sample = data_set.load("a")
    assert sample.focal_px is None
    assert data_set.metric
    np.testing.assert_array_equal(sample.depth_m, np.float32(1.234))


def test_a_picture_s_own_file_goes_before_the_folder_s(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", draw())
        save(tmp_path / f"{name}.depth.png", np.full((8, 12), 512, np.uint16))
    intrinsics(tmp_path, focal_px=100, depth_scale=0.25)
    write(tmp_path / "b.json", '{"focal_px": 200.5}')
    data_set = open_dataset(tmp_path)
    assert [data_set.load(name).focal_px for name in "ab"] == [100.0, 200.5]
    # What b's own file doesn't say is still the folder's.
    assert [data_set.load(name).depth_m.max() for name in "ab"] == [128, 128]


def test_depth_may_be_known_up_to_scale(tmp_path: Path) -> None:
    put(tmp_path, "a")
    intrinsics(tmp_path, metric=False)
    assert not open_dataset(tmp_path).metric


def test_a_mask_is_what_is_not_black(tmp_path: Path) -> None:
    put(tmp_path, "a")
    levels = np.zeros((8, 12), np.uint8)
    levels[2, 3:6] = 1, 128, 255
    save(tmp_path / "a.mask.png", levels)
    mask = open_dataset(tmp_path).load("a").mask
    assert mask is not None
    np.testing.assert_array_equal(mask, levels > 0)


class TestOneBadSample:
    def test_a_picture_without_depth(self, tmp_path: Path) -> None:
        put(tmp_path, "a")
        save(tmp_path / "b.png", draw())
        assert problem_of(tmp_path, "b") == "b needs one depth map and has none"
        assert open_dataset(tmp_path).load("a").name == "a"

    def test_depth_without_a_picture(self, tmp_path: Path) -> None:
        put(tmp_path, "a")
        (tmp_path / "a.png").unlink()
        assert problem_of(tmp_path, "a") == "a needs one picture and has none"

    def test_two_pictures_of_one_name(self, tmp_path: Path) -> None:
        put(tmp_path, "a")
        save(tmp_path / "a.jpg", draw())
        assert problem_of(tmp_path, "a") == "a needs one picture and has several, a.jpg, a.png"

    def test_two_depth_maps(self, tmp_path: Path) -> None:
        put(tmp_path, "a")
        save(tmp_path / "a.depth.png", np.ones((8, 12), np.uint16))
        assert problem_of(tmp_path, "a") == "a needs one depth map and has several, a.depth.png, a.depth.npy"

    def test_a_depth_png_of_8_bits(self, tmp_path: Path) -> None:
        save(tmp_path / "a.png", draw())
        save(tmp_path / "a.depth.png", np.ones((8, 12), np.uint8))
        assert "is no 16-bit grey PNG" in problem_of(tmp_path, "a")

    def test_integers_in_npy(self, tmp_path: Path) -> None:
        put(tmp_path, "a")
        np.save(tmp_path / "a.depth.npy", np.full((8, 12), 2000, np.uint16))
        assert "holds uint16; depth in .npy files is metres" in problem_of(tmp_path, "a")

    @pytest.mark.parametrize(
        ("values", "told"),
        [
            (np.ones((8, 12, 2), np.float32), "float32 of shape (8, 12, 2)"),
            (np.ones(96, np.float32), "float32 of shape (96,)"),
            (np.ones((8, 12), np.complex64), "complex64"),
            (np.array([[{}]], object), "no NumPy file that can be read"),
        ],
    )
    def test_other_arrays(self, values: np.ndarray, told: str, tmp_path: Path) -> None:
        put(tmp_path, "a")
        np.save(tmp_path / "a.depth.npy", values, allow_pickle=True)
        assert told in problem_of(tmp_path, "a")

    def test_an_archive_of_arrays(self, tmp_path: Path) -> None:
        put(tmp_path, "a")
        np.savez(tmp_path / "a.npz", depth=np.ones((8, 12)))
        (tmp_path / "a.npz").replace(tmp_path / "a.depth.npy")
        assert "several arrays" in problem_of(tmp_path, "a")

    def test_a_mask_of_another_size(self, tmp_path: Path) -> None:
        put(tmp_path, "a")
        save(tmp_path / "a.mask.png", np.ones((8, 11), np.uint8))
        assert problem_of(tmp_path, "a").startswith("a: the picture is 12 x 8 pixels and the mask 11 x 8")

    @pytest.mark.parametrize("focal_px", [0, -5.0])
    def test_a_focal_length_of_nothing(self, focal_px: float, tmp_path: Path) -> None:
        put(tmp_path, "a")
        intrinsics(tmp_path, focal_px=focal_px)
        assert "a: the focal length is" in problem_of(tmp_path, "a")

    @pytest.mark.parametrize(
        "content", ["{", "[1]", '{"fx": 500}', '{"focal_px": "500"}', '{"focal_px": NaN}', '{"depth_scale": 0}']
    )
    def test_its_own_intrinsics(self, content: str, tmp_path: Path) -> None:
        put(tmp_path, "a")
        write(tmp_path / "a.json", content)
        assert str(tmp_path / "a.json") in problem_of(tmp_path, "a")


class TestABadSet:
    @pytest.mark.parametrize(
        "content",
        [
            "{",
            "[1]",
            '{"fx": 5}',
            '{"focal_px": "5"}',
            '{"metric": "no"}',
            '{"depth_scale": -1}',
            '{"depth_scale": 1e999}',
        ],
    )
    def test_intrinsics_for_all(self, content: str, tmp_path: Path) -> None:
        put(tmp_path, "a")
        write(tmp_path / "intrinsics.json", content)
        with pytest.raises(DataSetError, match=r"intrinsics\.json") as caught:
            open_dataset(tmp_path)
        assert not isinstance(caught.value, SampleError)

    def test_metric_is_of_all_pictures(self, tmp_path: Path) -> None:
        put(tmp_path, "a")
        write(tmp_path / "a.json", '{"metric": false}')
        assert "unknown field 'metric'" in problem_of(tmp_path, "a")

    def test_pictures_alone(self, tmp_path: Path) -> None:
        save(tmp_path / "a.png", draw())
        with pytest.raises(DataSetError, match="holds no depth maps"):
            open_dataset(tmp_path, layout="plain")
