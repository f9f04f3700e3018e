"""open_dataset: what a user may call a data set, and how a layout is told or refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core import optional
from edgedepth.core.errors import DataSetError, MissingExtraError, OptionError
from edgedepth.datasets import LAYOUTS, open_dataset
from edgedepth.training.scenes import HELD_OUT_SEED, render_scene

from .miniatures import diode, draw, ibims_mat, nyuv2, plain, save


def test_an_empty_folder_fits_nothing_and_the_layouts_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataSetError) as caught:
        open_dataset(tmp_path)
    assert "fits no layout" in caught.value.problem
    assert all(layout.name in caught.value.problem for layout in LAYOUTS)
    assert "--layout" in caught.value.remedy


@pytest.mark.parametrize("layout", [layout.name for layout in LAYOUTS])
def test_an_empty_folder_is_no_set_of_any_layout(layout: str, tmp_path: Path) -> None:
    with pytest.raises(DataSetError):
        open_dataset(tmp_path, layout=layout)


def test_two_layouts_in_one_folder_have_to_be_chosen_from(tmp_path: Path) -> None:
    plain(tmp_path)
    mini = diode(tmp_path)
    with pytest.raises(DataSetError, match="fits more than one layout: plain, diode") as caught:
        open_dataset(tmp_path)
    assert caught.value.remedy == "name the layout: --layout plain"
    assert open_dataset(tmp_path, layout="diode").sample_names == (mini.sample,)


def test_a_layout_that_is_none_is_an_option_s_fault(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is no layout 'vkitti'; allowed are plain, nyuv2"):
        open_dataset(tmp_path, layout="vkitti")


def test_no_folder_and_a_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="doesn't exist; allowed are a data set's folder and synthetic:N"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(DataSetError, match="is a file"):
        open_dataset(save(tmp_path / "a.png", draw()))


def test_a_name_that_the_system_refuses_is_told() -> None:
    with pytest.raises(DataSetError, match=r"can't be looked into: File name too long|doesn't exist"):
        open_dataset("a" * 5000)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_may_not_be_looked_into_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        with pytest.raises(DataSetError, match="can't be looked into"):
            open_dataset(tmp_path)
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(("writer", "package"), [(nyuv2, "h5py"), (ibims_mat, "scipy")])
def test_a_missing_package_is_one_line_with_its_cure(
    writer: object, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = writer(tmp_path)  # type: ignore[operator]
    real = optional.importlib.import_module

    def without(name: str) -> object:
        if name.partition(".")[0] == package:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return real(name)

    monkeypatch.setattr(optional.importlib, "import_module", without)
    with pytest.raises(MissingExtraError, match=rf"{package} is needed to read .* pip install 'edgedepth\[datasets\]'"):
        open_dataset(tmp_path).load(mini.sample)


class TestSynthetic:
    def test_scenes_are_the_held_out_ones_in_their_order(self) -> None:
        data_set = open_dataset("synthetic:3")
        assert data_set.name == "synthetic:3"
        assert data_set.max_depth_m == 80
        assert data_set.metric
        assert data_set.sample_names == tuple(f"seed-{HELD_OUT_SEED + index}" for index in range(3))

    def test_a_sample_is_the_scene(self) -> None:
        sample = open_dataset("synthetic:2").load(f"seed-{HELD_OUT_SEED + 1}")
        scene = render_scene(HELD_OUT_SEED + 1)
        np.testing.assert_array_equal(sample.image, scene.image)
        known = np.isfinite(scene.depth_m)
        np.testing.assert_array_equal(sample.valid, known)
        np.testing.assert_array_equal(sample.depth_m[known], scene.depth_m[known])
        assert sample.mask is not None
        np.testing.assert_array_equal(sample.mask, scene.object_mask)
        assert sample.focal_px == scene.focal_px

    @pytest.mark.parametrize("name", ["seed-1000002", "seed-999999", "seed-7", "1000000", "seed-", "seed--1", "desk"])
    def test_trained_and_foreign_scenes_are_no_samples(self, name: str) -> None:
        with pytest.raises(DataSetError, match=f"has no sample '{name}'"):
            open_dataset("synthetic:2").load(name)

    @pytest.mark.parametrize("count", ["", "0", "-1", "05", "1e3", "many", "1000000", "5 "])
    def test_a_count_that_is_none_is_told(self, count: str) -> None:
        with pytest.raises(DataSetError, match="allowed are 1 to 999999"):
            open_dataset(f"synthetic:{count}")

    def test_it_has_no_layout(self) -> None:
        with pytest.raises(OptionError, match="has no layout; plain was asked for"):
            open_dataset("synthetic:5", layout="plain")
