"""TUM and ICL sequences: pairing by time or by list, focal lengths by name, folders of sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.core.errors import DataSetError
from edgedepth.datasets import open_dataset
from edgedepth.datasets.tum import _pairs_by_time

from .miniatures import draw, save, write


def sequence(folder: Path, *, colours: list[float], depths: list[float]) -> Path:
    for kind, times in (("rgb", colours), ("depth", depths)):
        lines = [f"{time:.6f} {kind}/{time:.6f}.png" for time in times]
        write(folder / f"{kind}.txt", "\n".join(["# timestamp filename", *lines, ""]))
    return folder


def associated(folder: Path, *lines: str) -> Path:
    write(folder / "associations.txt", "\n".join(lines))
    return folder


def test_the_nearest_in_time_are_paired_first(tmp_path: Path) -> None:
    folder = sequence(tmp_path, colours=[1.0, 1.033, 1.066, 2.0], depths=[1.01, 1.034, 1.047, 2.03])
    # 1.047 is nearer to 1.033, which is taken by then; 2.0 and 2.03 are too far apart.
    assert _pairs_by_time(folder) == [
        ("rgb/1.000000.png", "depth/1.010000.png"),
        ("rgb/1.033000.png", "depth/1.034000.png"),
        ("rgb/1.066000.png", "depth/1.047000.png"),
    ]


times = st.lists(st.integers(0, 200), unique=True, max_size=12).map(lambda marks: [mark / 1000 for mark in marks])


@given(times, times)
def test_no_two_that_were_left_belong_together(
    tmp_path_factory: pytest.TempPathFactory, colours: list[float], depths: list[float]
) -> None:
    """Pairs are stable: whoever could be paired more closely is so already. That defines them but for ties."""
    folder = sequence(tmp_path_factory.mktemp("sequence"), colours=colours, depths=depths)
    pairs = [(float(Path(a).stem), float(Path(b).stem)) for a, b in _pairs_by_time(folder)]
    assert pairs == sorted(pairs)
    apart_of = dict.fromkeys([*(("rgb", time) for time in colours), *(("depth", time) for time in depths)], 0.02)
    for colour, depth in pairs:
        assert abs(colour - depth) < 0.02
        assert apart_of["rgb", colour] == apart_of["depth", depth] == 0.02  # each in one pair
        apart_of["rgb", colour] = apart_of["depth", depth] = abs(colour - depth)
    for colour in colours:
        for depth in depths:
            assert abs(colour - depth) >= min(apart_of["rgb", colour], apart_of["depth", depth])


@pytest.mark.parametrize("line", ["0 depth/0.png 0 rgb/0.png", "0 rgb/0.png 0 depth/0.png"], ids=["ICL", "TUM"])
def test_a_list_of_pairs_may_have_either_order(line: str, tmp_path: Path) -> None:
    folder = associated(tmp_path / "living_room_traj2_frei_png", line)
    save(folder / "rgb/0.png", draw())
    save(folder / "depth/0.png", np.full((8, 12), 10_000, np.uint16))
    sample = open_dataset(folder).load("living_room_traj2_frei_png/rgb/0")
    np.testing.assert_array_equal(sample.depth_m, 2)
    np.testing.assert_array_equal(sample.image, draw())
    assert sample.focal_px == 481.2


@pytest.mark.parametrize(
    ("name", "focal_px"),
    [
        ("rgbd_dataset_freiburg1_desk", 517.3),
        ("rgbd_dataset_freiburg2_xyz", 520.9),
        ("rgbd_dataset_freiburg3_long_office_household", 535.4),
        ("traj0_frei_png", 481.2),
        ("my_kinect", None),
    ],
)
def test_the_focal_length_is_the_camera_s(name: str, focal_px: float | None, tmp_path: Path) -> None:
    folder = sequence(tmp_path / name, colours=[1], depths=[1])
    save(folder / "rgb/1.000000.png", draw())
    save(folder / "depth/1.000000.png", np.ones((8, 12), np.uint16))
    data_set = open_dataset(tmp_path)
    assert data_set.load(f"{name}/rgb/1.000000").focal_px == focal_px


def test_a_folder_of_sequences_is_one_set(tmp_path: Path) -> None:
    sequence(tmp_path / "rgbd_dataset_freiburg1_xyz", colours=[1, 2], depths=[1, 2])
    associated(tmp_path / "living_room_traj2_frei_png", "0 depth/0.png 0 rgb/0.png")
    assert open_dataset(tmp_path).sample_names == (
        "living_room_traj2_frei_png/rgb/0",
        "rgbd_dataset_freiburg1_xyz/rgb/1.000000",
        "rgbd_dataset_freiburg1_xyz/rgb/2.000000",
    )


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["0 depth/0.png 0 rgb/0.png", "1 depth/1.png 1 rgb/0.png"], "has '.*/rgb/0' twice"),
        (["0 depth/0.png 0 depth/1.png"], "one has to lie in depth/"),
        (["0 rgb/0.png 0 left/0.png"], "one has to lie in depth/"),
        (["0 rgb/0.png"], "line 1: .* has 2 columns; expected are 4"),
        (["# nothing"], "holds no samples"),
        ([], "holds no samples"),
    ],
)
def test_a_bad_list_is_the_set_s_fault(lines: list[str], told: str, tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match=told):
        open_dataset(associated(tmp_path, *lines))


@pytest.mark.parametrize(("colours", "depths"), [([], [1.0]), ([1.0], []), ([1.0], [2.0])])
def test_nothing_that_belongs_together_is_told(colours: list[float], depths: list[float], tmp_path: Path) -> None:
    with pytest.raises(DataSetError, match="holds no samples"):
        open_dataset(sequence(tmp_path, colours=colours, depths=depths))


def test_a_time_that_is_none_is_told(tmp_path: Path) -> None:
    folder = sequence(tmp_path, colours=[1], depths=[1])
    write(folder / "rgb.txt", "now rgb/1.png\n")
    with pytest.raises(DataSetError, match=r"rgb\.txt isn't understood: .*'now'"):
        open_dataset(folder)
