"""Point clouds: read back by somebody else's reader, with their holes named."""

from __future__ import annotations

import numpy as np
import pytest

from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.cameras.points import Hole, make_points
from edgedepth.core.errors import FrameError, OptionError

CAMERA = Intrinsics(fx=8.0, fy=4.0, cx=3.0, cy=2.0, width=8, height=6)
DEPTH = np.linspace(0.5, 20, 48, dtype=np.float32).reshape(6, 8)
RGB = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)


def test_points_by_hand():
    cloud = make_points(DEPTH, CAMERA)
    z = DEPTH[5, 7]
    assert cloud.points[5, 7].tolist() == pytest.approx([(7 - 3) / 8 * z, (5 - 2) / 4 * z, z])
    assert cloud.points.shape == (6, 8, 3)


def test_holes_have_names():
    depth = DEPTH.copy()
    depth[0, 0], depth[0, 1] = np.nan, 0
    cloud = make_points(depth, CAMERA, RGB, near_m=1.5, far_m=10)
    near, far = int((depth[depth > 0] < 1.5).sum()), int((depth > 10).sum())
    assert cloud.hole_counts() == {"no_depth": 2, "too_near": near, "too_far": far}
    assert np.isnan(cloud.points[cloud.holes != Hole.NONE]).all()
    points, colors = cloud.flat()
    assert len(points) == len(colors) == 48 - 2 - near - far
    assert np.isfinite(points).all()


@pytest.mark.parametrize("colors", [None, RGB], ids=["grey", "coloured"])
def test_a_ply_is_read_by_plyfile(tmp_path, colors):
    plyfile = pytest.importorskip("plyfile", reason="plyfile, the independent reader, is not installed")
    cloud = make_points(DEPTH, CAMERA, colors, far_m=15)
    cloud.save(tmp_path / "c.ply")
    vertices = plyfile.PlyData.read(tmp_path / "c.ply")["vertex"]
    points, flat_colors = cloud.flat()
    for index, name in enumerate("xyz"):
        assert np.array_equal(vertices[name], points[:, index])
    if colors is None:
        assert {p.name for p in vertices.properties} == {"x", "y", "z"}
    else:
        for index, name in enumerate(("red", "green", "blue")):
            assert np.array_equal(vertices[name], flat_colors[:, index])


def test_an_npz_keeps_the_pictures_order(tmp_path):
    cloud = make_points(DEPTH, CAMERA, RGB, far_m=15)
    cloud.save(tmp_path / "c.npz")
    with np.load(tmp_path / "c.npz") as kept:
        assert np.array_equal(kept["points"], cloud.points, equal_nan=True)
        assert np.array_equal(kept["colors"], RGB)
        assert np.array_equal(kept["holes"], cloud.holes)


def test_what_is_refused(tmp_path):
    with pytest.raises(OptionError, match=r"neither \.ply nor \.npz"):
        make_points(DEPTH, CAMERA).save(tmp_path / "c.pcd")
    with pytest.raises(OptionError, match="far_m"):
        make_points(DEPTH, CAMERA, near_m=3, far_m=2)
    with pytest.raises(OptionError, match="near_m is '1'"):
        make_points(DEPTH, CAMERA, near_m="1")
    with pytest.raises(FrameError, match="colours"):
        make_points(DEPTH, CAMERA, RGB[:3])
    with pytest.raises(FrameError, match="colours are a list"):
        make_points(DEPTH, CAMERA, RGB.tolist())
