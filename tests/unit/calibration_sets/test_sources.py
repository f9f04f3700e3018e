"""What a user may name as a source: folders, data sets, videos, cameras, rendered scenes."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgedepth.calibrating import calibrate, open_frame_source
from edgedepth.calibration.frame_source import SourceFrame, Unreadable
from edgedepth.calibration.sets import build_calibration_set, open_calibration_set
from edgedepth.calibration.video_frames import CameraFrames, open_video
from edgedepth.core.errors import CalibrationError, DataSetError, DeviceError, OptionError, PhotoError

from .pictures import Image, folder_of, place, save, video_of

# Half a second of each place, as a robot that stops now and then.
DRIVE = [place(number // 5) for number in range(50)]


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return video_of(tmp_path_factory.mktemp("videos") / "drive.avi", DRIVE)


def close_to(frame: Image, original: Image) -> bool:
    """Motion JPEG of this quality is off by 2 levels on average; another place by 30 and more."""
    return float(np.abs(frame.astype(int) - original).mean()) < 8


# --- videos


def test_a_videos_frames_are_the_ones_of_their_numbers(drive: Path) -> None:
    video = open_video(drive)
    assert len(video) == 50
    numbers = [0, 4, 5, 23, 24, 49]
    frames = list(video.read(numbers))
    assert [frame.number for frame in frames] == numbers
    assert [frame.name for frame in frames] == [f"frame-{number:06}" for number in numbers]
    for frame in frames:
        assert isinstance(frame, SourceFrame)
        assert close_to(frame.image, DRIVE[frame.number])
    again = next(iter(video.read([23])))
    assert isinstance(again, SourceFrame)
    assert isinstance(frames[3], SourceFrame)
    np.testing.assert_array_equal(again.image, frames[3].image)


def test_near_duplicates_of_a_video_are_dropped(drive: Path, tmp_path: Path) -> None:
    made = calibrate(drive, tmp_path / "calib")
    places = sorted(int(name.removeprefix("frame-")) // 5 for name in made.names)
    assert places == list(range(10))
    assert [left.reason for left in made.index.left_out] == ["near-duplicate"] * 40
    assert made.index.source == "drive.avi"


def test_a_long_video_is_looked_at_all_over(drive: Path, tmp_path: Path) -> None:
    made = calibrate(drive, tmp_path / "calib", count=4, seed=2)
    assert made.index.candidates == 32
    assert len({int(name.removeprefix("frame-")) // 5 for name in made.names}) == 4


def test_a_video_that_was_cut_gives_what_it_has(drive: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    content = drive.read_bytes()
    cut.write_bytes(content[: len(content) * 6 // 10])
    read = list(open_video(cut).read(range(50)))
    last = max(frame.number for frame in read if isinstance(frame, SourceFrame))
    assert 20 < last < 40
    missing = [frame for frame in read if isinstance(frame, Unreadable)]
    assert [frame.number for frame in missing] == list(range(last + 1, 50))
    assert missing[0].reason == f"the video's frames can be decoded up to number {last}"
    made = calibrate(cut, tmp_path / "calib")
    assert sum(left.reason.startswith("can't be used") for left in made.index.left_out) == len(missing)


def test_a_still_video_is_refused(tmp_path: Path) -> None:
    still = video_of(tmp_path / "still.avi", [place(0)] * 30)
    with pytest.raises(CalibrationError, match=r"1 usable frames of 30.*29 left out: near-duplicate"):
        calibrate(still, tmp_path / "calib")


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(CalibrationError, match=r"bad\.mp4 is no video that can be decoded"):
        calibrate(tmp_path / "bad.mp4", tmp_path / "calib")


# --- cameras: a video's capture stands for one; it gives frames as fast as they are read


def camera(path: Path, count: int, **options: float) -> CameraFrames:
    settings: dict[str, float] = {"interval_s": 0.0, "warm_up_s": 0.0} | options
    return CameraFrames(index=0, count=count, open_capture=lambda _: cv2.VideoCapture(str(path)), **settings)


def test_a_camera_is_opened_once_and_its_frames_are_kept(drive: Path, tmp_path: Path) -> None:
    opened: list[int] = []

    def open_capture(index: int) -> cv2.VideoCapture:
        opened.append(index)
        return cv2.VideoCapture(str(drive))

    source = CameraFrames(index=3, count=48, interval_s=0, open_capture=open_capture, warm_up_s=0)
    made = build_calibration_set(source, tmp_path / "calib", count=6)
    assert opened == [3]
    assert len(open_calibration_set(made.path)) == 6
    for name, frame in zip(made.names, made.frames(), strict=True):
        assert close_to(frame, DRIVE[int(name.removeprefix("frame-"))])


class SteadyCapture:
    """A video that gives a frame every five milliseconds, as a camera of 200 frames a second."""

    def __init__(self, path: Path) -> None:
        self.video = cv2.VideoCapture(str(path))
        self.isOpened = self.video.isOpened
        self.release = self.video.release

    def read(self) -> tuple[bool, object]:
        time.sleep(0.005)
        return self.video.read()


def test_a_camera_warms_up_and_waits_between_frames(drive: Path) -> None:
    source = CameraFrames(
        index=0, count=4, interval_s=0.04, open_capture=lambda _: SteadyCapture(drive), warm_up_s=0.06
    )
    began = time.monotonic()
    frames = list(source.read(range(4)))
    assert time.monotonic() - began >= 0.06 + 3 * 0.04
    # By then it stood elsewhere: the frames before were taken off, not queued up and handed out late.
    assert isinstance(frames[0], SourceFrame)
    assert not close_to(frames[0].image, DRIVE[0]) or not close_to(frames[-1].image, DRIVE[0])


def test_a_camera_that_stops_is_told(drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgedepth.calibration.video_frames._PATIENCE_S", 0.1)
    with pytest.raises(DeviceError, match=r"camera 0 gave no frame for 0\.1 s"):
        build_calibration_set(camera(drive, 60), tmp_path / "calib", count=30)
    # Fifty frames are kept; ten are still to come.
    made = build_calibration_set(camera(drive, 60), tmp_path / "calib", count=30)
    assert made.index.candidates == 60
    assert len(made) == 10


def test_no_camera_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DeviceError, match="there is no camera 97"):
        calibrate("97", tmp_path / "calib")
    assert capfd.readouterr().err == ""  # OpenCV's own dozen lines


@pytest.mark.parametrize("interval_s", [-1.0, float("nan"), 1e9])
def test_intervals_that_are_none(tmp_path: Path, interval_s: float) -> None:
    with pytest.raises(OptionError, match="allowed are 0 to 3600"):
        calibrate("0", tmp_path / "calib", interval_s=interval_s)


# --- folders


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """Frames with their depth, as a robot with a depth camera records them: in edgedepth's plain layout."""
    folder = folder_of(tmp_path / "recorded", [place(seed) for seed in range(6)])
    for number in range(6):
        depth = np.full((64, 96), 1000 + 500 * number, np.uint16)
        depth[0] = 0
        assert cv2.imwrite(str(folder / f"{number:03}.depth.png"), depth)
    (folder / "intrinsics.json").write_text('{"focal_px": 80.0}')
    return folder


def test_recorded_frames_bring_their_depth(recorded: Path, tmp_path: Path) -> None:
    made = calibrate(recorded, tmp_path / "calib")
    assert sorted(made.names) == [f"{number:03}" for number in range(6)]
    for i, name in enumerate(made.names):
        depth = made.depth(i)
        assert depth is not None
        assert (depth[0] == 0).all()
        np.testing.assert_array_equal(depth[1:], np.float32(1 + 0.5 * int(name)))
        assert made.focal_px(i) == 80.0
    assert made.coverage.near_m is not None
    assert (made.coverage.near_m.least, made.coverage.near_m.most) == (1.0, 3.5)


def test_a_frame_whose_depth_is_broken_is_named(recorded: Path, tmp_path: Path) -> None:
    (recorded / "002.depth.png").write_bytes(b"no")
    made = calibrate(recorded, tmp_path / "calib")
    assert [(left.name, left.reason[:13]) for left in made.index.left_out] == [("002", "can't be used")]


def test_depth_of_no_known_scale_is_no_truth_in_metres(recorded: Path, tmp_path: Path) -> None:
    (recorded / "intrinsics.json").write_text('{"focal_px": 80.0, "metric": false}')
    made = calibrate(recorded, tmp_path / "calib")
    assert made.depth(0) is None
    assert made.focal_px(0) == 80.0


def test_only_the_pictures_of_a_folder(recorded: Path, tmp_path: Path) -> None:
    made = calibrate(recorded, tmp_path / "calib", layout="pictures")
    assert sorted(made.names) == [f"{number:03}.png" for number in range(6)]
    assert len(made.index.left_out) == 6  # the depth maps, 16-bit grey


def test_sources_that_are_none(tmp_path: Path) -> None:
    picture = save(tmp_path / "one.png", place(0))
    (tmp_path / "log.bag").write_bytes(b"#ROSBAG V2.0\n")
    (tmp_path / "empty").mkdir()
    for source, kind, message in (
        (picture, CalibrationError, "is one picture"),
        (tmp_path / "log.bag", CalibrationError, "is no video by its name"),
        (tmp_path / "none", CalibrationError, "there is no "),
        (tmp_path / "empty", PhotoError, "holds no pictures"),
        ("synthetic:0", DataSetError, "needs a number of scenes"),
        ("synthetic:many", DataSetError, "needs a number of scenes"),
    ):
        with pytest.raises(kind, match=message):
            calibrate(source, tmp_path / "calib")
    with pytest.raises(OptionError, match="there is no layout 'other'"):
        calibrate(tmp_path, tmp_path / "calib", layout="other")
    with pytest.raises(OptionError, match="there is no model"):
        calibrate("synthetic:8", tmp_path / "calib", model="other")
    assert not (tmp_path / "calib").exists()


def test_the_mini_takes_frames_as_the_full_one_does(tmp_path: Path) -> None:
    photos = folder_of(tmp_path / "photos", [place(seed) for seed in range(5)])
    made = [calibrate(photos, tmp_path / name, model=name) for name in ("depth-pro", "depth-pro-mini")]
    assert made[0].fingerprint == made[1].fingerprint


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", [place(seed) for seed in range(5)])
    odd = Path(str(folder) + "/b\udcff.png")
    try:
        (folder / "000.png").rename(odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    made = calibrate(folder, tmp_path / "calib")
    assert "b\\udcff.png" in made.names
    assert open_calibration_set(made.path).names == made.names


def test_focal_lengths_come_along(real_pictures: Path, tmp_path: Path) -> None:
    source = open_frame_source(real_pictures / "photos_exif")
    focal = {frame.name: frame.focal_px for frame in source.read(range(len(source))) if isinstance(frame, SourceFrame)}
    assert focal["depthpro_example.jpg"] is None
    # 35 mm equivalent of 35 mm: the diagonal of 3264 x 2448 pixels is that of 36 x 24 mm.
    assert focal["opensfm_berlin_01.jpg"] == pytest.approx(35 * np.hypot(3264, 2448) / np.hypot(36, 24), rel=0.04)
