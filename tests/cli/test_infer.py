"""edgedepth infer: pictures in, metres out, and every bad picture told."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from .conftest import Cli, draw_photo

# 35 mm equivalent on 120 x 80: 35 * hypot(120, 80) / hypot(36, 24), by hand.
F35_PX = 116.6667


def test_pictures_land_with_their_metres(cli: Cli, tiny_bundle: Path, photos: Path, tmp_path: Path) -> None:
    done = cli("infer", photos, "--bundle", tiny_bundle, "--out", tmp_path / "depth", "--npy", "--json")
    assert done.code == 0
    one, two = done.json["images"]
    assert [Path(entry["image"]).name for entry in (one, two)] == ["one.png", "two.jpg"]
    millimetres = cv2.imread(one["files"]["depth_png16_mm"], cv2.IMREAD_UNCHANGED)
    metres = np.load(one["files"]["depth_npy_m"])
    assert millimetres.dtype == np.uint16
    assert millimetres.shape == metres.shape == (64, 96)
    near = metres < 65
    assert np.abs(millimetres[near] / 1000 - metres[near]).max() <= 0.00051  # half a millimetre, and float32
    assert cv2.imread(two["files"]["color"]).shape == (80, 120, 3)
    assert one["depth_m"]["median"] == pytest.approx(np.median(metres))
    assert one["trained"] is False


def test_the_focal_length_comes_from_the_flag_then_exif_then_the_model(
    cli: Cli, tiny_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    run = ("infer", photos, "--bundle", tiny_bundle, "--out", tmp_path, "--json")
    predicted, exif = cli(*run).json["images"]
    assert exif["focal_px"] == pytest.approx(F35_PX, abs=1e-3)
    assert exif["focal_source"] == "EXIF FocalLengthIn35mmFilm = 35 mm"
    assert predicted["focal_source"].startswith("predicted by the model (")
    assert predicted["focal_px"] == pytest.approx(48 / math.tan(math.radians(predicted["fov_deg"] / 2)))
    given = cli(*run, "--focal-px", "100").json["images"]
    assert [(entry["focal_px"], entry["focal_source"]) for entry in given] == [(100.0, "given by --focal-px")] * 2
    assert "fov" not in given[0]["timings_ms"]
    # Depth is proportional to the focal length (section 3.2: inverse depth scales with W / f_px).
    assert exif["depth_m"]["median"] / given[1]["depth_m"]["median"] == pytest.approx(F35_PX / 100, rel=1e-4)


def test_what_a_16_bit_png_cannot_hold_is_told(cli: Cli, mini_bundle: Path, photos: Path, tmp_path: Path) -> None:
    # Depth is proportional to the focal length: 5000 px on 96 px puts the mini's metre or so near 65 m.
    words = ("infer", photos / "one.png", "--bundle", mini_bundle, "--out", tmp_path, "--focal-px", "5000", "--json")
    far = cli(*words)
    (entry,) = far.json["images"]
    assert 0 < entry["beyond_png16"] < 1
    assert "lie beyond 65.535 m, where a 16-bit PNG ends; --npy keeps them" in far.err
    metres = np.load(cli(*words, "--npy").json["images"][0]["files"]["depth_npy_m"])
    assert entry["beyond_png16"] == pytest.approx(np.mean(metres > 65.535))


def test_a_table_for_people_that_says_untrained(cli: Cli, mini_bundle: Path, photos: Path, tmp_path: Path) -> None:
    done = cli("infer", photos / "two.jpg", "--bundle", mini_bundle, "--out", tmp_path)
    assert done.code == 0
    assert "UNTRAINED weights: these depths mean nothing" in done.out
    assert "focal length 117 px, EXIF FocalLengthIn35mmFilm = 35 mm" in done.err
    assert "depth-pro-mini on onnx, cpu" in done.err


def test_the_reference_itself_gives_the_same_depth(cli: Cli, mini_bundle: Path, photos: Path, tmp_path: Path) -> None:
    one = photos / "one.png"
    onnx = cli("infer", one, "--bundle", mini_bundle, "--out", tmp_path, "--json").json["images"][0]
    reference = ("--model", "depth-pro-mini", "--backend", "torch", "--weights", "random:0")  # the bundle's
    torch = cli("infer", one, *reference, "--out", tmp_path, "--json").json
    # Kernels add float32 products in another order: core/tolerances.py, fp32.
    assert torch["images"][0]["depth_m"]["median"] == pytest.approx(onnx["depth_m"]["median"], rel=1e-4)
    assert (torch["images"][0]["backend"], onnx["backend"]) == ("torch", "onnx")


def bad_text(path: Path) -> None:
    path.write_text("not a picture")


def bad_truncated(path: Path) -> None:
    draw_photo(path, size=(400, 300))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bad_empty(path: Path) -> None:
    path.touch()


def bad_tiny(path: Path) -> None:
    Image.new("RGB", (1, 1)).save(path)


@pytest.mark.parametrize("make", [bad_text, bad_truncated, bad_empty, bad_tiny], ids=lambda make: make.__name__)
def test_a_bad_picture_is_told_and_the_others_go_on(
    cli: Cli, tiny_bundle: Path, photos: Path, tmp_path: Path, make
) -> None:  # type: ignore[no-untyped-def]
    bad = photos / "bad.jpg"
    make(bad)
    done = cli("infer", photos, "--bundle", tiny_bundle, "--out", tmp_path / "out", "--json")
    assert done.code == 2
    failed, *fine = done.json["images"]
    assert failed["image"] == str(bad)
    assert failed["error"]["remedy"]
    assert len(fine) == 2
    assert "edgedepth: error: " in done.err
    assert not list((tmp_path / "out").glob("bad*"))


@pytest.mark.parametrize("mode", ["CMYK", "I;16", "L", "LA", "RGBA", "P"])
def test_other_kinds_of_pictures_work(cli: Cli, tiny_bundle: Path, tmp_path: Path, mode: str) -> None:
    rng = np.random.default_rng(3)
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 65535, (40, 50)).astype(np.uint16))
    else:
        picture = Image.fromarray(rng.integers(0, 255, (40, 50, 3), np.uint8)).convert(mode)
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    picture.save(path)
    done = cli("infer", path, "--bundle", tiny_bundle, "--out", tmp_path / "out", "--json")
    assert done.code == 0
    assert (done.json["images"][0]["width"], done.json["images"][0]["height"]) == (50, 40)


def test_pictures_of_one_name_do_not_overwrite_each_other(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    one, two = draw_photo(tmp_path / "same.png"), draw_photo(tmp_path / "same.jpg")
    done = cli("infer", one, two, "--bundle", tiny_bundle, "--out", tmp_path / "out")
    assert done.code == 0
    assert {path.name for path in (tmp_path / "out").glob("*_depth.png")} == {
        "same.png_depth.png",
        "same.jpg_depth.png",
    }
    (tmp_path / "other").mkdir()
    twin = draw_photo(tmp_path / "other" / "same.png")
    refused = cli("infer", one, twin, "--bundle", tiny_bundle, "--out", tmp_path / "out")
    assert refused.code == 2
    assert "two pictures are called 'same.png'" in refused.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bundle", "MISSING"), "there is no bundle at"),
        (("--bundle", "PHOTOS"), "has no manifest.json, so it is not a bundle"),
        (("--bundle", "BUNDLE", "--backend", "trt"), "has target onnx; tensorrt was asked for"),
        (("--bundle", "BUNDLE", "--precision", "fp16"), "has precision fp32; fp16 was asked for"),
        (("--bundle", "BUNDLE", "--device", "cuda"), "cuda"),
        (("--bundle", "BUNDLE", "--device", "abacus"), "abacus"),
        (("--bundle", "BUNDLE", "--focal-px", "-3"), "focal_px is -3.0"),
        (("--bundle", "BUNDLE", "--focal-px", "nan"), "focal_px is nan"),
        (("--bundle", "BUNDLE", "--tile-batch", "3"), "exported for batches of exactly 5"),
        (("--bundle", "BUNDLE", "--out", "FILE"), "can't be made"),
        (("--model", "depth-proo"), "neither a bundle's folder nor a model"),
        (("--model", "depth-pro-mini"), "there is no depth-pro-mini bundle"),
        (("--backend", "trt"), "there is no tensorrt bundle"),
        (("--backend", "tensorflow"), "there is no backend 'tensorflow'"),
        (("--model", "depth-pro-mini", "--backend", "torch", "--precision", "fp16"), "the reference is fp32"),
    ],
)
def test_a_mistake_is_one_line_and_its_cure(
    cli: Cli, tiny_bundle: Path, photos: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "file"
    file.touch()
    places = {"BUNDLE": tiny_bundle, "MISSING": tmp_path / "nowhere", "PHOTOS": photos, "FILE": file}
    done = cli("infer", photos / "one.png", "--out", tmp_path / "out", *(places.get(word, word) for word in words))
    assert done.code == 2, done.err
    assert said in done.err
    assert "\n  try: " in done.err


def test_no_pictures_at_all(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for words in ((tmp_path / "empty",), (tmp_path / "nowhere.jpg",), ()):
        assert cli("infer", *words, "--bundle", tiny_bundle).code == 2


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="mount points are a Unix matter")
def test_an_output_folder_that_cannot_be_written(cli: Cli, tiny_bundle: Path, photos: Path) -> None:
    done = cli("infer", photos / "one.png", "--bundle", tiny_bundle, "--out", "/proc/depth")
    assert done.code == 2
    assert "/proc/depth can't be made" in done.err


def test_a_tampered_bundle_is_not_run(cli: Cli, tiny_bundle: Path, photos: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    data = bundle / "decoder" / "decoder.onnx.data"
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    done = cli("infer", photos / "one.png", "--bundle", bundle, "--out", tmp_path / "out")
    assert done.code == 2
    assert "has SHA-256" in done.err


def test_the_real_photograph_gives_its_focal_length(
    cli: Cli, tiny_bundle: Path, real_pictures: Path, tmp_path: Path
) -> None:
    berlin = real_pictures / "photos_exif" / "opensfm_berlin_01.jpg"
    (entry,) = cli("infer", berlin, "--bundle", tiny_bundle, "--out", tmp_path, "--json").json["images"]
    # EXIF: F35 = 35; 35 * hypot(3264, 2448) / hypot(36, 24), by hand.
    assert (entry["width"], entry["height"]) == (3264, 2448)
    assert entry["focal_px"] == pytest.approx(3300.5, abs=0.5)
    assert entry["focal_source"] == "EXIF FocalLengthIn35mmFilm = 35 mm"


JSON_CAMERA = '{"fx": 120, "fy": 100, "cx": 47.5, "cy": 31.5, "width": 96, "height": 64, "distortion": [-0.2, 0, 0, 0]}'
ROS_CAMERA = """
image_width: 192
image_height: 128
camera_matrix: {rows: 3, cols: 3, data: [240, 0, 95.5, 0, 200, 63.5, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 4, data: [-0.2, 0, 0, 0]}
"""


@pytest.fixture
def cameras(tmp_path: Path) -> dict[str, Path]:
    """One camera in every form, of the picture's size or of twice that; EXIF tells another one."""
    files = {name: tmp_path / f"camera.{name}" for name in ("json", "yaml", "xml")}
    files["json"].write_text(JSON_CAMERA)
    files["yaml"].write_text(ROS_CAMERA)
    storage = cv2.FileStorage(str(files["xml"]), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 192)
    storage.write("image_height", 128)
    storage.write("camera_matrix", np.array([[240.0, 0, 95.5], [0, 200, 63.5], [0, 0, 1]]))
    storage.write("distortion_coefficients", np.array([[-0.2, 0, 0, 0]]))
    storage.release()
    files["jpg"] = draw_photo(tmp_path / "camera.jpg", f35=35, size=(120, 80))
    return files


@pytest.mark.parametrize("form", ["json", "yaml", "xml"])
def test_a_camera_in_every_form_for_pictures(
    cli: Cli, tiny_bundle: Path, photos: Path, cameras: dict[str, Path], tmp_path: Path, form: str
) -> None:
    words = ("infer", photos / "one.png", "--bundle", tiny_bundle, "--out", tmp_path / "out", "--npy", "--json")
    by_focal = cli(*words, "--focal-px", "120").json["images"][0]
    want = np.load(by_focal["files"]["depth_npy_m"])
    done = cli(*words, "--camera", cameras[form], "--points", "npz", "--far-m", "1000")
    assert done.code == 0, done.err
    (entry,) = done.json["images"]
    assert entry["focal_px"] == pytest.approx(120)  # scaled with the picture; what metres rest on is fx
    depth = np.load(entry["files"]["depth_npy_m"])
    assert np.array_equal(depth, want)
    assert "its distortion is left in (--undistort takes it out)" in done.err
    assert ("scaled from 192 x 128" in done.err) == (form != "json")
    cloud = np.load(entry["files"]["points"])
    y, x = 10, 80
    # cx, cy of twice the size: (95.5 + 0.5) / 2 - 0.5.
    point = depth[y, x] * np.array([(x - 47.5) / 120, (y - 31.5) / 100, 1])
    assert cloud["points"][y, x] == pytest.approx(point, rel=1e-5)


def test_undistorted_pictures_and_their_points(
    cli: Cli, tiny_bundle: Path, photos: Path, cameras: dict[str, Path], tmp_path: Path
) -> None:
    picture = photos / "one.png"
    words = ("infer", picture, "--bundle", tiny_bundle, "--out", tmp_path / "out", "--npy", "--json")
    done = cli(*words, "--camera", cameras["json"], "--undistort", "--points", "npz")
    assert done.code == 0, done.err
    files = done.json["images"][0]["files"]
    matrix = np.array([[120.0, 0, 47.5], [0, 100, 31.5], [0, 0, 1]])
    straight = cv2.undistort(cv2.imread(str(picture)), matrix, np.array([-0.2, 0, 0, 0]))
    written = cv2.imread(files["undistorted"])
    inside = np.s_[8:-8, 8:-8]  # cv2.undistort leaves what the camera didn't see black
    apart = np.abs(written[inside].astype(int) - straight[inside])
    # Its map is in 1/32 of a pixel, ours in float32: they differ on edges alone, by a 32nd of the edge's step.
    assert apart.max() <= 255 / 32
    assert apart.mean() < 0.2
    assert np.array_equal(np.load(files["points"])["colors"][..., ::-1], written)
    # As the undistorted picture by itself, up to its rounding to bytes: infer() undistorts in float32.
    alone = cli("infer", files["undistorted"], *words[2:], "--focal-px", "120").json["images"][0]
    assert np.load(alone["files"]["depth_npy_m"]) == pytest.approx(np.load(files["depth_npy_m"]), rel=5e-3)


def test_a_photograph_as_camera_and_a_ply(
    cli: Cli, tiny_bundle: Path, photos: Path, cameras: dict[str, Path], tmp_path: Path
) -> None:
    words = ("infer", photos / "two.jpg", "--bundle", tiny_bundle, "--out", tmp_path / "out", "--json")
    done = cli(*words, "--camera", cameras["jpg"], "--points", "ply", "--near-m", "0.01", "--far-m", "1000")
    (entry,) = done.json["images"]
    assert entry["focal_px"] == pytest.approx(F35_PX, abs=1e-3)
    head = Path(entry["files"]["points"]).read_bytes()[:200].decode("ascii", "replace")
    assert f"element vertex {entry['points']}\n" in head
    assert entry["points"] + sum(entry["holes"].values()) == 80 * 120


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--camera", "camera.json", "--focal-px", "100"], "both --focal-px and --camera"),
        (["--undistort"], "--undistort needs"),
        (["--camera", "none.json"], "none.json can't be read"),
        (["--near-m", "0"], "near_m is 0.0"),
        (["--far-m", "nan"], "far_m is nan"),
        (["--points", "ply", "--relative"], "--points are in metres"),
        (["--camera", "square.json"], "another aspect ratio"),
    ],
)
def test_mistakes_about_cameras(
    cli: Cli,
    tiny_bundle: Path,
    photos: Path,
    cameras: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(cameras["json"].parent)
    Path("square.json").write_text(JSON_CAMERA.replace('"height": 64', '"height": 96'))
    done = cli("infer", photos / "one.png", "--bundle", tiny_bundle, "--out", tmp_path / "out", *words)
    assert done.code == 2
    assert said in done.err
