"""Every layout: values come out exactly as its publisher defines them, and each kind of broken file is one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.errors import DataSetError, SampleError
from edgedepth.datasets import LAYOUTS, DataSet, open_dataset

from .miniatures import CALIBRATED, OF_FILES, WRITERS, Miniature, Writer, draw, ibims, ibims_mat, nyuv2, save


def name_of(writer: Writer) -> str:
    return writer.__name__


@pytest.fixture(params=WRITERS, ids=name_of)
def mini(request: pytest.FixtureRequest, tmp_path: Path) -> Miniature:
    return request.param(tmp_path / "set")


@pytest.fixture(params=OF_FILES, ids=name_of)
def of_files(request: pytest.FixtureRequest, tmp_path: Path) -> Miniature:
    return request.param(tmp_path / "set")


def refusal(mini: Miniature) -> SampleError:
    """What loading the miniature's sample raises. Opening the set is no fault: one bad sample is not all."""
    data_set = open_dataset(mini.folder)
    assert mini.sample in data_set.sample_names
    with pytest.raises(SampleError) as caught:
        data_set.load(mini.sample)
    return caught.value


def test_each_layout_has_a_miniature() -> None:
    assert {layout.name for layout in LAYOUTS} == {writer.__name__.partition("_")[0] for writer in WRITERS}


def test_the_sample_is_what_was_written(mini: Miniature) -> None:
    data_set: DataSet = open_dataset(mini.folder)
    assert data_set.name == mini.set_name
    assert data_set.metric
    assert data_set.sample_names == (mini.sample,)
    sample = data_set.load(mini.sample)
    assert sample.name == mini.sample
    assert sample.image.dtype == np.uint8
    np.testing.assert_array_equal(sample.image, mini.image)
    assert sample.depth_m.dtype == np.float32
    np.testing.assert_array_equal(sample.depth_m, mini.depth_m.astype(np.float32))
    assert sample.valid.dtype == np.bool_
    np.testing.assert_array_equal(sample.valid, (mini.depth_m > 0) & mini.counted)
    assert sample.valid.any()
    assert not sample.valid.all()
    assert sample.focal_px == mini.focal_px
    assert sample.mask is None


def test_the_layout_may_be_named(mini: Miniature) -> None:
    assert open_dataset(str(mini.folder), layout=mini.layout).sample_names == (mini.sample,)


def test_exactly_one_layout_fits(mini: Miniature) -> None:
    assert [layout.name for layout in LAYOUTS if layout.fits(mini.folder)] == [mini.layout]


@pytest.mark.parametrize("writer", WRITERS, ids=name_of)
def test_every_other_layout_refuses_the_folder(writer: Writer, tmp_path: Path) -> None:
    mini = writer(tmp_path)
    for layout in LAYOUTS:
        if layout.name != mini.layout:
            with pytest.raises(DataSetError, match=r"holds no|there is no|needs one list"):
                open_dataset(tmp_path, layout=layout.name)


@pytest.mark.parametrize("writer", WRITERS, ids=name_of)
def test_no_valid_pixel_is_refused(writer: Writer, tmp_path: Path) -> None:
    assert "no pixel has a valid depth" in refusal(writer(tmp_path / "set", known=False)).problem


def test_a_missing_depth_file_is_named(of_files: Miniature) -> None:
    # A depth map is what a plain folder is told by: it needs another one to stay one.
    save(of_files.folder / "other.depth.png", np.ones((4, 4), np.uint16))
    of_files.depth_file.unlink()
    with pytest.raises(SampleError) as caught:
        open_dataset(of_files.folder, layout=of_files.layout).load(of_files.sample)
    wanted = "desk needs one depth map and has none" if of_files.layout == "plain" else of_files.depth_file.name
    assert wanted in caught.value.problem


def test_a_depth_file_cut_short_is_refused(of_files: Miniature) -> None:
    content = of_files.depth_file.read_bytes()
    of_files.depth_file.write_bytes(content[: len(content) // 2])
    assert str(of_files.depth_file) in refusal(of_files).problem


def test_an_empty_depth_file_is_refused(of_files: Miniature) -> None:
    of_files.depth_file.write_bytes(b"")
    assert str(of_files.depth_file) in refusal(of_files).problem


def test_a_picture_cut_short_is_refused(of_files: Miniature) -> None:
    content = of_files.picture.read_bytes()
    of_files.picture.write_bytes(content[: len(content) // 2])
    assert str(of_files.picture) in refusal(of_files).problem


def test_a_picture_of_another_size_is_refused(of_files: Miniature) -> None:
    height, width = of_files.depth_m.shape
    save(of_files.folder / "other.png", draw(0, width + 2, height))
    (of_files.folder / "other.png").replace(of_files.picture)
    assert f"{width} x {height}" in refusal(of_files).problem or f"{width + 2} x {height}" in refusal(of_files).problem


@pytest.mark.parametrize("writer", CALIBRATED, ids=name_of)
class TestCalibration:
    def test_missing(self, writer: Writer, tmp_path: Path) -> None:
        mini = writer(tmp_path)
        mini.calibration.unlink()
        layout = open_dataset(tmp_path, layout=mini.layout)  # its files may be what the layout is told by
        with pytest.raises(SampleError, match=f"there is no file .*{mini.calibration.name}"):
            layout.load(mini.sample)

    @pytest.mark.parametrize("content", [b"", b"nothing of use\n", b"\xff\xfe\x00\x80" * 8])
    def test_not_understood(self, writer: Writer, content: bytes, tmp_path: Path) -> None:
        mini = writer(tmp_path)
        mini.calibration.write_bytes(content)
        assert str(mini.calibration) in refusal(mini).problem


def test_an_unknown_sample_is_told(mini: Miniature) -> None:
    with pytest.raises(DataSetError, match="has no sample 'nobody'"):
        open_dataset(mini.folder).load("nobody")


def test_depth_that_is_nan_or_negative_is_unknown(tmp_path: Path) -> None:
    save(tmp_path / "a.png", draw(0, 4, 1))
    np.save(tmp_path / "a.depth.npy", np.array([[np.nan, -1, np.inf, 2.5]], np.float32))
    sample = open_dataset(tmp_path).load("a")
    np.testing.assert_array_equal(sample.depth_m, [[0, 0, 0, 2.5]])
    np.testing.assert_array_equal(sample.valid, [[False, False, False, True]])


class TestNyuv2:
    def test_without_the_split_all_frames_count_and_the_name_says_so(self, tmp_path: Path) -> None:
        mini = nyuv2(tmp_path)
        (tmp_path / "splits.mat").unlink()
        data_set = open_dataset(tmp_path)
        assert data_set.name == "nyuv2:all"
        assert data_set.max_depth_m == 10
        assert data_set.sample_names == ("0001", "0002")
        np.testing.assert_array_equal(data_set.load("0002").image, mini.image)

    def test_a_split_of_another_set_is_refused(self, tmp_path: Path) -> None:
        import scipy.io

        nyuv2(tmp_path)
        scipy.io.savemat(tmp_path / "splits.mat", {"testNdxs": [[1], [3]]})
        with pytest.raises(DataSetError, match="names frame 3; there are 2"):
            open_dataset(tmp_path)

    @pytest.mark.parametrize("file", ["nyu_depth_v2_labeled.mat", "splits.mat"])
    def test_a_damaged_file_is_refused(self, file: str, tmp_path: Path) -> None:
        nyuv2(tmp_path)
        (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:100])
        with pytest.raises(DataSetError, match=f"{file} is not"):
            open_dataset(tmp_path)

    def test_a_file_without_depth_is_refused(self, tmp_path: Path) -> None:
        import h5py

        nyuv2(tmp_path)
        with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "a") as file:
            del file["rawDepths"]
        with pytest.raises(DataSetError, match="rawDepths"):
            open_dataset(tmp_path)


class TestIbims:
    def test_a_folder_may_be_the_archive_itself(self, tmp_path: Path) -> None:
        for writer in (ibims, ibims_mat):
            (inner,) = writer(tmp_path / writer.__name__).folder.iterdir()
            assert open_dataset(inner).sample_names == ("corridor_01",)

    def test_a_damaged_mat_file_is_one_sample_s_fault(self, tmp_path: Path) -> None:
        mini = ibims_mat(tmp_path)
        path = tmp_path / "ibims1_core_mat/corridor_01.mat"
        path.write_bytes(path.read_bytes()[:300])
        assert str(path) in refusal(mini).problem
