"""DepthResult: pictures, files and points."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgedepth.core.errors import OptionError, OutputError
from edgedepth.result import DepthResult

RNG = np.random.default_rng(11)
DEPTHS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=24), elements=st.floats(0.25, 80, width=32)
)


def result_of(depth: npt.ArrayLike, *, focal_px: float = 100.0, **changes: Any) -> DepthResult:
    array = np.asarray(depth, np.float32)
    fields: dict[str, Any] = {
        "depth": array,
        "inverse_depth": np.divide(1, array, out=np.zeros_like(array), where=array > 0),
        "focal_px": focal_px,
        "fov_deg": math.degrees(2 * math.atan(array.shape[1] / 2 / focal_px)),
        "focal_source": "given",
        "kind": "metric",
        "model": "depth-pro-mini",
        "trained": True,
        "backend": "onnx",
        "device": "cpu",
        "timings_ms": {"decoder": 12.5, "total": 40.0},
    }
    return DepthResult(**(fields | changes))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ramp(width: int = 256, height: int = 32) -> npt.NDArray[np.float32]:
    """Depths whose inverse falls evenly from 1 to 0.1 from left to right."""
    return np.broadcast_to(1 / np.linspace(1, 0.1, width, dtype=np.float32), (height, width)).copy()


# --- points


@given(depth=DEPTHS, focal_px=st.floats(1, 5000))
def test_points_project_back_onto_their_pixels(depth: npt.NDArray[np.float32], focal_px: float) -> None:
    points = result_of(depth, focal_px=focal_px).points()
    assert points.dtype == np.float32
    assert points.shape == (*depth.shape, 3)
    height, width = depth.shape
    # OpenCV's own camera is the independent one; its principal point counts pixel centres in whole numbers.
    camera = np.asarray([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]])
    pixels, _ = cv2.projectPoints(points.reshape(-1, 1, 3).astype(np.float64), np.zeros(3), np.zeros(3), camera, None)
    rows, columns = np.indices(depth.shape)
    # float32 points keep 7 digits of at most 12 pixels from the axis.
    np.testing.assert_allclose(pixels.reshape(*depth.shape, 2), np.stack([columns, rows], axis=-1), atol=1e-4)
    assert np.array_equal(points[..., 2], depth)


def test_points_of_a_wall_by_hand() -> None:
    # A wall 2 m away, 4 x 2 pixels, focal length 4 px: a pixel is 2 / 4 = 0.5 m wide, so it spans 2 m by 1 m.
    points = result_of(np.full((2, 4), 2.0), focal_px=4.0).points()
    assert points[0, :, 0].tolist() == [-0.75, -0.25, 0.25, 0.75]
    assert points[:, 0, 1].tolist() == [-0.25, 0.25]  # Y points down
    assert (points[..., 2] == 2.0).all()


def test_points_of_a_slanted_plane_lie_on_it() -> None:
    # The floor 1.5 m under a camera that looks 30 degrees down, worked out from rays: n · X = 1.5.
    height, width, focal_px = 60, 80, 70.0
    normal = np.asarray([0.0, math.cos(math.radians(30)), math.sin(math.radians(30))])
    rows, columns = np.indices((height, width)) + 0.5
    rays = np.stack([(columns - width / 2) / focal_px, (rows - height / 2) / focal_px, np.ones((height, width))], -1)
    depth = 1.5 / (rays @ normal)
    assert depth.min() > 0
    points = result_of(depth, focal_px=focal_px).points()
    np.testing.assert_allclose(points @ normal, 1.5, rtol=1e-6)  # float32 rounding
    angle = 2 * math.degrees(math.atan2(points[0, -1, 0] / points[0, -1, 2] + 0.5 / focal_px, 1))
    assert angle == pytest.approx(result_of(depth, focal_px=focal_px).fov_deg, abs=1e-5)


def test_points_keep_missing_depth_missing() -> None:
    points = result_of([[np.nan, 1.0], [1.0, 1.0]]).points()
    assert np.isnan(points[0, 0]).all()
    assert np.isfinite(points.reshape(-1, 3)[1:]).all()


# --- colours


def test_near_is_warm_and_far_is_cold() -> None:
    picture = result_of(ramp()).colorize()
    assert picture.shape == (32, 256, 3)
    assert picture.dtype == np.uint8
    blue, _, red = picture[16, 40].astype(int)
    assert red > 2 * blue
    blue, _, red = picture[16, -40].astype(int)
    assert blue > 2 * red


def test_colours_go_evenly_by_inverse_depth() -> None:
    picture = result_of(ramp()).colorize(1, 10, "viridis")
    steps = np.arange(255, -1, -1, dtype=np.uint8)[None]
    expected = cv2.applyColorMap(steps, cv2.COLORMAP_VIRIDIS)[0]
    assert np.abs(picture[0].astype(int) - expected).max() <= 5  # rounding may pick the neighbour of 256 colours


def test_a_locked_range_does_not_flicker() -> None:
    wall = np.full((32, 32), 3.0, np.float32)
    intruder = wall.copy()
    intruder[:, :16] = 0.5
    assert not np.array_equal(result_of(wall).colorize()[0, 20], result_of(intruder).colorize()[0, 20])
    near_m, far_m = result_of(ramp()).color_range()
    assert np.array_equal(
        result_of(wall).colorize(near_m, far_m)[:, 16:], result_of(intruder).colorize(near_m, far_m)[:, 16:]
    )
    frame = result_of(ramp())
    assert np.array_equal(frame.colorize(), frame.colorize(*frame.color_range()))


def test_the_range_is_robust_and_by_hand() -> None:
    near_m, far_m = result_of(ramp(width=101)).color_range()
    # 2 % and 98 % of inverse depths that run evenly from 0.1 to 1: 0.118 and 0.982.
    assert (near_m, far_m) == pytest.approx((1 / 0.982, 1 / 0.118), rel=1e-5)
    spiked = ramp(width=101)
    spiked[0, 0], spiked[0, 1] = 1e-4, 1e4
    # Two pixels of 3232 may move a percentile by a column, which is 0.009 of 0.118.
    assert result_of(spiked).color_range() == pytest.approx((near_m, far_m), rel=0.08)


def test_a_large_frame_is_sampled() -> None:
    depth = np.tile(ramp(width=2048, height=1), (2100, 1))
    # Every second column is looked at: they are 0.00088 of 0.118 apart.
    assert result_of(depth).color_range() == pytest.approx((1 / 0.982, 1 / 0.118), rel=0.008)


def test_a_flat_wall_is_one_colour() -> None:
    wall = 3 + RNG.normal(0, 1e-5, (32, 32)).astype(np.float32)
    assert len(np.unique(result_of(wall).colorize().reshape(-1, 3), axis=0)) <= 2


def test_missing_depth_is_black_and_breaks_nothing() -> None:
    depth = ramp()
    depth[0, 0], depth[0, 1], depth[0, 2], depth[0, 3] = np.nan, 0, -1, np.inf
    picture = result_of(depth).colorize()
    assert (picture[0, :3] == 0).all()
    assert picture[0, 3].any()  # infinitely far is far
    assert not result_of(np.full((16, 16), np.nan)).colorize().any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"near_m": 0}, "near_m is 0; allowed are metres above 0"),
        ({"far_m": -1}, "far_m is -1"),
        ({"far_m": math.inf}, "far_m is inf"),
        ({"near_m": math.nan}, "near_m is nan"),
        ({"near_m": 5, "far_m": 5}, "near_m is 5 and far_m 5; near_m must be smaller"),
        ({"colormap": "rainbow"}, "colormap is 'rainbow'; allowed are turbo"),
    ],
)
def test_colour_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        result_of(ramp()).colorize(**options)


@pytest.mark.parametrize("options", [{"near_m": 100}, {"far_m": 0.01}, {"near_m": 0.5}, {"far_m": 20}])
def test_half_a_range_is_enough(options: dict[str, float]) -> None:
    picture = result_of(ramp()).colorize(**options)
    extreme = cv2.applyColorMap(np.asarray([[0, 255]], np.uint8), cv2.COLORMAP_TURBO)[0]
    if "near_m" in options and options["near_m"] == 100:
        assert (picture == extreme[1]).all()  # everything is nearer
    if "far_m" in options and options["far_m"] == 0.01:
        assert (picture == extreme[0]).all()  # everything is farther


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (16, 2000), (2000, 16), (48, 64), (480, 640), (1080, 1920)])
def test_untrained_stands_in_the_picture(size: tuple[int, int]) -> None:
    depth = RNG.uniform(1, 5, size).astype(np.float32)
    trained, untrained = result_of(depth).colorize(), result_of(depth, trained=False).colorize()
    assert untrained.shape == trained.shape
    changed = (trained != untrained).any(axis=2)
    assert changed.any()
    if min(size) >= 48:
        assert changed.mean() < 0.25  # the depth is still to be seen
        assert np.nonzero(changed)[1].max() > size[1] / 3  # as large as the picture bears, or nearly
    if min(size) >= 480:
        assert (untrained == 255).all(axis=2).any()  # white letters on black


# --- files


@given(depth=DEPTHS)
def test_png16_is_within_half_a_millimetre(tmp_path_factory: pytest.TempPathFactory, depth: Any) -> None:
    path = result_of(depth).save_png16(tmp_path_factory.mktemp("png") / "depth.png")
    read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    assert read.shape == depth.shape
    kept = depth < 65.535
    # Half a millimetre, and float32's rounding of up to 65535.
    assert np.abs(read[kept] - depth[kept].astype(np.float64) * 1000).max(initial=0) <= 0.5 + 0.005
    assert (read[~kept] == 65535).all()


def test_png16_special_values_by_hand(tmp_path: Path) -> None:
    depth = [[np.nan, 0, -1, 1e-4, 0.0014], [0.0016, 1.2344, 65.535, 65.6, np.inf]]
    read = cv2.imread(str(result_of(depth).save_png16(tmp_path / "d.PNG")), cv2.IMREAD_UNCHANGED)
    assert read.tolist() == [[0, 0, 0, 1, 1], [2, 1234, 65535, 65535, 65535]]


def test_npy_keeps_every_bit(tmp_path: Path) -> None:
    depth = RNG.uniform(0.1, 100, (9, 7)).astype(np.float32)[:, ::-1]
    loaded = np.load(result_of(depth).save_npy(str(tmp_path / "d.npy")), allow_pickle=False)
    assert loaded.dtype == np.float32
    assert np.array_equal(loaded, depth)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp"])
def test_save_color(tmp_path: Path, suffix: str) -> None:
    result = result_of(ramp())
    read = cv2.imread(str(result.save_color(tmp_path / f"c{suffix}", 1, 10, "magma")))
    difference = np.abs(read.astype(int) - result.colorize(1, 10, "magma"))
    assert difference.mean() <= (0 if suffix == ".png" else 4)  # JPEG and WebP lose a little on a smooth ramp


@pytest.mark.parametrize(
    ("method", "name", "remedy"),
    [
        ("save_png16", "depth.jpg", "call it depth.png"),
        ("save_png16", "depth", "call it depth.png"),
        ("save_npy", "depth.npz", "call it depth.npy"),
        ("save_color", "depth.gif", "call it depth.png"),
        ("save_color", "", "give a file name"),
    ],
)
def test_wrong_suffixes_are_refused(tmp_path: Path, method: str, name: str, remedy: str) -> None:
    with pytest.raises(OptionError, match="allowed: ") as caught:
        getattr(result_of(ramp()), method)(tmp_path / name if name else "")
    assert caught.value.remedy == remedy
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(("method", "name"), [("save_png16", "d.png"), ("save_npy", "d.npy"), ("save_color", "d.jpg")])
def test_unwritable_places(tmp_path: Path, method: str, name: str) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        getattr(result_of(ramp()), method)(tmp_path / "missing" / name)
    (tmp_path / name).mkdir()
    with pytest.raises(OutputError, match="is not a file"):
        getattr(result_of(ramp()), method)(tmp_path / name)


def test_a_picture_too_large_for_its_format(tmp_path: Path) -> None:
    wide = result_of(np.ones((16, 17_000)))  # WebP ends at 16383 pixels
    with pytest.raises(OutputError, match="can't encode"):
        wide.save_color(tmp_path / "c.webp")
    assert names_in(tmp_path) == []


# --- the rest


def test_summary_is_json() -> None:
    depth = np.asarray([[1, 2, 3], [np.nan, 0, 8]], np.float32)
    summary = json.loads(json.dumps(result_of(depth, focal_px=np.float32(1.5)).summary(), allow_nan=False))
    assert summary == {
        "model": "depth-pro-mini",
        "kind": "metric",
        "trained": True,
        "backend": "onnx",
        "device": "cpu",
        "width": 3,
        "height": 2,
        "focal_px": 1.5,
        "focal_source": "given",
        "fov_deg": 90.0,  # 3 pixels wide, 1.5 px away
        "depth_m": {"min": 1.0, "median": 2.5, "max": 8.0},
        "timings_ms": {"decoder": 12.5, "total": 40.0},
        "scale_shift": None,
        "encoded": None,
        "stamp": None,
    }
    nothing = result_of(np.full((16, 16), np.nan)).summary()
    assert nothing["depth_m"] == {"min": None, "median": None, "max": None}


def test_a_result_is_frozen_and_prints_without_its_maps() -> None:
    result = result_of(ramp())
    with pytest.raises(AttributeError):
        result.focal_px = 1.0  # type: ignore[misc]
    assert "depth-pro-mini" in repr(result)
    assert "array" not in repr(result)
