"""Intrinsics against OpenCV's own camera, files of every form, and everything that is no camera."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedepth import read_intrinsics
from edgedepth.cameras.camera_info_yaml import parse_camera_info
from edgedepth.cameras.intrinsics import Intrinsics
from edgedepth.cameras.undistort import Undistorter
from edgedepth.core.errors import IntrinsicsError

BASE = {"fx": 500.0, "fy": 480.0, "cx": 319.0, "cy": 242.0, "width": 640, "height": 480}
CAMERA = Intrinsics(**BASE)

ROS = """# written by camera_calibration
image_width: 640
image_height: 480
camera_name: narrow_stereo
camera_matrix:
  rows: 3
  cols: 3
  data: [500.0, 0., 319.0,
         0., 480.0, 242.0, 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.2, 0.05, 0.001, -0.002, 0.0]
rectification_matrix:
  rows: 3
  cols: 3
  data: [1, 0, 0, 0, 1, 0, 0, 0, 1]
"""


def project(camera: Intrinsics, points: np.ndarray) -> np.ndarray:
    """OpenCV's camera."""
    pixels, _ = cv2.projectPoints(
        points, np.zeros(3), np.zeros(3), camera.matrix, np.array(camera.distortion or (0.0,) * 4)
    )
    return pixels.reshape(-1, 2)


@settings(deadline=None)
@given(st.integers(16, 2000), st.integers(16, 2000), st.integers(0, 300), st.integers(0, 200))
def test_a_point_stays_where_it_is_in_a_resized_or_cropped_picture(width, height, left, top):
    points = np.array([[0.1, -0.2, 1.0], [-1.0, 0.7, 3.0]])
    pixels = project(CAMERA, points)
    # Centres have whole numbers: (x + 1/2) / width is the same share of the picture before and after.
    resized = project(CAMERA.resized(width, height), points)
    np.testing.assert_allclose((resized + 0.5) / (width, height), (pixels + 0.5) / (640, 480), atol=1e-9)
    cropped = CAMERA.cropped(left, top, 300, 200)
    np.testing.assert_allclose(project(cropped, points), pixels - (left, top), atol=1e-9)
    assert (cropped.width, cropped.height) == (300, 200)


def test_frames_of_another_size():
    assert CAMERA.for_frame(640, 480) is CAMERA
    assert CAMERA.for_frame(320, 240).fx == 250.0
    with pytest.raises(IntrinsicsError, match="aspect ratio"):
        CAMERA.for_frame(640, 360)
    with pytest.raises(IntrinsicsError, match="doesn't lie within"):
        CAMERA.cropped(400, 0, 300, 200)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fx": -500.0}, "fx is -500"),
        ({"fy": 0.0}, "fy is 0"),
        ({"fx": 4.2}, "millimetres"),
        ({"fx": math.nan}, "fx is nan"),
        ({"cx": 9000.0}, "principal point"),
        ({"width": 0}, "width is 0"),
        ({"height": 480.0}, "height is 480.0"),
        ({"model": "kannala", "distortion": (0.1,) * 4}, "the distortion model is 'kannala'"),
        ({"model": "plumb_bob", "distortion": (0.1,)}, "4 or 5 coefficients; got 1"),
        ({"model": "plumb_bob", "distortion": (0.1, 0, 0, math.inf)}, "allowed are numbers"),
        ({"fx": True}, "fx is True"),
        ({"fx": 10**400}, "fx is 1000.*allowed are numbers"),
        ({"width": 10**400}, "1 to 65536 whole pixels"),
        ({"model": "plumb_bob", "distortion": (10**400,) * 4}, "allowed are numbers"),
        ({"model": "plumb_bob", "distortion": ("0.1",) * 4}, "allowed are numbers"),
    ],
)
def test_what_is_no_camera(change, said):
    with pytest.raises(IntrinsicsError, match=said):
        Intrinsics(**(BASE | change))


def test_files_of_every_form(tmp_path):
    distortion = (-0.2, 0.05, 0.001, -0.002, 0.0)
    (tmp_path / "a.json").write_text(json.dumps(BASE | {"distortion": distortion}))
    (tmp_path / "b.yaml").write_text(ROS)
    storage = cv2.FileStorage(str(tmp_path / "c.yml"), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("camera_matrix", CAMERA.matrix)
    storage.write("distortion_coefficients", np.array([distortion]))
    storage.release()
    (tmp_path / "d.yaml").write_text(ROS.replace("data: [-0.2, 0.05, 0.001, -0.002, 0.0]", "data:\n" + "".join(
        f"  - {value}\n" for value in distortion)))  # fmt: skip
    for name in ("a.json", "b.yaml", "c.yml", "d.yaml"):
        camera = read_intrinsics(tmp_path / name)
        assert (camera.fx, camera.fy, camera.cx, camera.cy, camera.width, camera.height) == tuple(BASE.values()), name
        assert (camera.model, camera.distortion) == ("plumb_bob", distortion), name
        assert name in camera.source


@pytest.mark.parametrize("suffix", ["yml", "xml"])
@pytest.mark.parametrize(("fisheye", "model"), [(1, "equidistant"), (0, "plumb_bob")])
def test_opencvs_calibration_tells_its_model(tmp_path, suffix, fisheye, model):
    """As OpenCV's calibration program writes it (samples/cpp/.../camera_calibration.cpp): both have 4 coefficients."""
    path = tmp_path / f"c.{suffix}"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    storage.write("image_width", 640)
    storage.write("image_height", 480)
    storage.write("fisheye_model", fisheye)
    storage.write("camera_matrix", CAMERA.matrix)
    storage.write("distortion_coefficients", np.array([[0.1, 0.01, 0.001, 0.0]]).T)
    storage.release()
    camera = read_intrinsics(path)
    assert (camera.model, camera.distortion) == (model, (0.1, 0.01, 0.001, 0.0))


def test_the_camera_infos_yaml_is_yaml():
    yaml = pytest.importorskip("yaml", reason="PyYAML, the independent reader, is not installed")
    assert parse_camera_info(ROS) == yaml.safe_load(ROS)


def test_every_style_of_yaml():
    yaml = pytest.importorskip("yaml")
    data = yaml.safe_load(ROS)
    styles = [yaml.safe_dump(data, default_flow_style=flow) for flow in (False, None)]
    styles.append(
        "".join(yaml.safe_dump({name: value}, default_flow_style=True)[1:-2] + "\n" for name, value in data.items())
    )
    assert "camera_matrix: {cols: 3" in styles[-1]
    for text in styles:
        assert parse_camera_info(text) == data


def test_a_photographs_exif(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    Image.new("RGB", (96, 64)).save(tmp_path / "p.jpg", exif=exif)
    camera = read_intrinsics(tmp_path / "p.jpg")
    assert camera.fx == camera.fy == pytest.approx(28 * math.hypot(96, 64) / math.hypot(36, 24))
    assert (camera.cx, camera.cy) == (47.5, 31.5)
    Image.new("RGB", (96, 64)).save(tmp_path / "q.jpg")
    with pytest.raises(IntrinsicsError, match="doesn't tell"):
        read_intrinsics(tmp_path / "q.jpg")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "no camera"),
        ("a.json", "[1]", "expected an object"),
        ("a.json", json.dumps(BASE | {"fz": 1}), "unknown field 'fz'"),
        ("a.json", json.dumps({"fx": 500}), "fy is missing"),
        ("a.yaml", ROS.replace("camera_matrix", "k"), "camera_matrix is missing"),
        ("a.yaml", ROS.replace("plumb_bob", "thin_prism"), "thin_prism"),
        ("a.yaml", ROS.replace("[500.0, 0., 319.0,", "[500.0,"), "numbers where 9"),
        ("a.yaml", "&anchor [oh]", "line 1"),
        ("a.yaml", "camera_matrix: {data: [1, 2}", "line 1 opens a bracket"),
        ("a.yaml", "camera_matrix: 3", "camera_matrix is no matrix"),
        ("a.yml", "%YAML:1.0\n---\nimage_width: 3\n", "camera_matrix is missing"),
        ("a.yml", "%YAML:1.0\n---\n{{{", "no camera"),
        ("a.yml", "%YAML:1.0\n---\ncamera_matrix: oh\nimage_width: 3\n", "no camera"),
        (
            "a.yml",
            "%YAML:1.0\n---\ncamera_matrix: !!opencv-matrix\n   rows: 3\n   cols: 3\n   dt: d\n   data: [ 1 ]\n",
            "OpenCV can't read it",
        ),
        ("a.json", "[" * 100_000, "no camera"),
        ("a.json", json.dumps(BASE | {"distortion": [10**400] * 4}), "no camera"),
        ("a.yaml", ROS.replace("image_width: 640", "image_width: 1e999"), "whole pixels"),
        ("a.yaml", ROS.replace("image_width: 640", "image_width: 640.5"), "whole pixels"),
        ("a.yaml", ROS.replace("[500.0, 0., 319.0,", "[500.0, 5., 319.0,"), "askew"),
    ],
)
def test_files_that_describe_no_camera(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(IntrinsicsError, match=said):
        read_intrinsics(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(IntrinsicsError, match="can't be read"):
        read_intrinsics(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("model", "distortion"),
    [("plumb_bob", (-0.25, 0.08, 0.001, -0.001, 0.0)), ("equidistant", (0.05, -0.01, 0.0, 0.0))],
)
def test_undistorted_pixels_are_the_pinhole_cameras(model, distortion):
    """A grid of dots, drawn where OpenCV's distorted camera sees them, lands where the pinhole camera sees them."""
    camera = Intrinsics(**BASE, model=model, distortion=distortion)
    points = np.array([[x, y, 1.0] for x in (-0.4, 0, 0.35) for y in (-0.3, 0.05, 0.3)])
    if model == "equidistant":
        seen = cv2.fisheye.projectPoints(
            points[:, None], np.zeros(3), np.zeros(3), camera.matrix, np.array(distortion)
        )[0].reshape(-1, 2)
    else:
        seen = project(camera, points)
    picture = np.zeros((480, 640), np.uint8)
    for x, y in seen:
        cv2.circle(picture, (round(x), round(y)), 4, 255, -1)
    undistort = Undistorter(camera)
    flat = undistort(picture)
    assert not undistort.camera.distorts
    count, _, _, centres = cv2.connectedComponentsWithStats((flat > 127).astype(np.uint8))
    assert count == 10
    want = project(undistort.camera, points)
    for x, y in want:
        # Dots are drawn on whole pixels.
        assert np.hypot(*(centres[1:] - (x, y)).T).min() < 1.2
    with pytest.raises(IntrinsicsError, match="640 x 480"):
        undistort(picture[:240])
    assert Undistorter(CAMERA)(picture) is picture
