"""Sets hold their frames to the bit, in the same order every time, and notice what was done to them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedepth.calibrating import calibrate
from edgedepth.calibration.picture_folder import open_picture_folder
from edgedepth.calibration.set_index import INDEX
from edgedepth.calibration.sets import CalibrationSet, build_calibration_set, open_calibration_set
from edgedepth.core.errors import CalibrationError, OptionError, OutputError
from edgedepth.training.scenes import CALIBRATION_SEED, HELD_OUT_SEED, render_scene

from .pictures import folder_of, noise, place

PLACES = [place(seed) for seed in range(12)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("sources") / "photos", PLACES)


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    return build_calibration_set(open_picture_folder(photos), tmp_path_factory.mktemp("sets") / "calib", count=8)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> CalibrationSet:
    return calibrate("synthetic:4", tmp_path_factory.mktemp("sets") / "rendered")


@pytest.fixture
def copy(made: CalibrationSet, tmp_path: Path) -> Path:
    """To do something to."""
    return Path(shutil.copytree(made.path, tmp_path / "copy"))


# --- what it holds


def test_the_frames_are_the_pictures_to_the_bit(made: CalibrationSet) -> None:
    assert len(made) == len(made.names) == len(set(made.names)) == 8
    for name, frame in zip(made.names, made.frames(), strict=True):
        np.testing.assert_array_equal(frame, PLACES[int(name.removesuffix(".png"))])


def test_it_starts_over_as_often_as_asked(made: CalibrationSet) -> None:
    first, second = made.frames(), made.frames()
    one = next(first)
    np.testing.assert_array_equal(one, next(second))
    assert len(list(first)) == 7
    np.testing.assert_array_equal(one, made.frame(0))
    assert len(list(made.frames())) == 8


def test_opened_it_is_what_was_built(made: CalibrationSet) -> None:
    assert open_calibration_set(made.path) == made
    assert made.preprocessing == "depth-pro"


def test_rendered_scenes_keep_their_truth(rendered: CalibrationSet) -> None:
    assert sorted(rendered.names) == [f"seed-{CALIBRATION_SEED + i}" for i in range(4)]
    for i, name in enumerate(rendered.names):
        scene = render_scene(int(name.removeprefix("seed-")))
        depth = rendered.depth(i)
        assert depth is not None
        assert depth.dtype == np.float32
        np.testing.assert_array_equal(depth, np.where(np.isfinite(scene.depth_m), scene.depth_m, 0))
        np.testing.assert_array_equal(rendered.frame(i), scene.image)
        assert rendered.focal_px(i) == scene.focal_px


def test_calibration_scenes_are_neither_trained_on_nor_evaluated() -> None:
    # synthetic:N is at most 999999 scenes from HELD_OUT_SEED on; training ends before that seed.
    assert CALIBRATION_SEED >= HELD_OUT_SEED + 999_999


def test_photographs_have_no_truth(made: CalibrationSet) -> None:
    assert [made.depth(i) for i in range(8)] == [None] * 8
    assert made.coverage.near_m is made.coverage.far_m is None


def test_coverage(rendered: CalibrationSet) -> None:
    lumas = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) / 255 for frame in rendered.frames()]
    coverage = rendered.coverage
    assert coverage.frames == coverage.with_depth == 4
    # Kept with four digits.
    assert coverage.brightness.least == pytest.approx(min(luma.mean() for luma in lumas), abs=1e-4)
    assert coverage.brightness.most == pytest.approx(max(luma.mean() for luma in lumas), abs=1e-4)
    assert coverage.contrast.median == pytest.approx(np.median([luma.std() for luma in lumas]), abs=1e-4)
    far = [np.percentile(depth[depth > 0], 95) for i in range(4) if (depth := rendered.depth(i)) is not None]
    assert coverage.far_m is not None
    assert coverage.far_m.most == pytest.approx(max(far), abs=1e-3)


# --- fingerprints


def test_the_same_seed_makes_the_same_folder(photos: Path, made: CalibrationSet, tmp_path: Path) -> None:
    again = build_calibration_set(open_picture_folder(photos), tmp_path / "again", count=8)
    assert again.fingerprint == made.fingerprint
    files = sorted(path.relative_to(made.path) for path in made.path.rglob("*") if path.is_file())
    assert len(files) == 9
    for file in files:
        assert (again.path / file).read_bytes() == (made.path / file).read_bytes()


def test_the_fingerprint_tells_frames_order_and_preprocessing(
    photos: Path, made: CalibrationSet, tmp_path: Path
) -> None:
    source = open_picture_folder(photos)
    others = [
        build_calibration_set(source, tmp_path / "a", count=8, seed=1),
        build_calibration_set(source, tmp_path / "b", count=7),
        build_calibration_set(source, tmp_path / "c", count=8, preprocessing="other"),
        *made.split(),
        made.first(7),
        CalibrationSet(made.path, made.index, made.entries[::-1]),
    ]
    # The seven frames that are chosen first are the first seven of eight.
    assert others[1].fingerprint == others[5].fingerprint
    assert len({made.fingerprint, *(other.fingerprint for other in others)}) == 7


def test_file_names_and_encoders_do_not_count(photos: Path, made: CalibrationSet, tmp_path: Path) -> None:
    renamed = tmp_path / "renamed"
    renamed.mkdir()
    for path in photos.iterdir():
        bgr = cv2.imread(str(path))
        assert bgr is not None
        assert cv2.imwrite(str(renamed / f"x{path.name}"), bgr, (cv2.IMWRITE_PNG_COMPRESSION, 0))
    assert build_calibration_set(open_picture_folder(renamed), tmp_path / "a", count=8).fingerprint == made.fingerprint


def test_another_models_set_is_refused(made: CalibrationSet) -> None:
    made.require_preprocessing("depth-pro")
    with pytest.raises(CalibrationError, match="take frames as depth-pro does; this one takes them as rsa does"):
        made.require_preprocessing("rsa")


def test_another_fingerprint_is_refused(made: CalibrationSet) -> None:
    made.require_fingerprint(made.fingerprint, of="the bundle b")
    with pytest.raises(CalibrationError, match="the bundle b was calibrated with the set 0000"):
        made.require_fingerprint("0" * 64, of="the bundle b")


# --- parts


@settings(max_examples=40, deadline=None)
@given(count=st.integers(2, 8), share=st.floats(0.01, 0.99))
def test_parts_share_nothing_and_miss_nothing(made: CalibrationSet, count: int, share: float) -> None:
    whole = made.first(count)
    kept, held = whole.split(share)
    assert kept.names
    assert held.names
    assert sorted(kept.names + held.names) == sorted(whole.names)
    # Rounded to a whole frame; neither part is empty.
    assert len(held) == pytest.approx(count * share, abs=1)
    assert (kept, held) == whole.split(share)


def test_a_part_gives_its_own_frames(made: CalibrationSet) -> None:
    _, held = made.split()
    assert len(held) == 2
    for name, frame in zip(held.names, held.frames(), strict=True):
        np.testing.assert_array_equal(frame, PLACES[int(name.removesuffix(".png"))])


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan")])
def test_shares_that_are_none(made: CalibrationSet, share: float) -> None:
    with pytest.raises(OptionError, match="can't be held back"):
        made.split(share)


def test_too_little_to_part(made: CalibrationSet) -> None:
    with pytest.raises(CalibrationError, match="two parts need 2"):
        made.first(1).split()
    with pytest.raises(OptionError, match="9 frames were asked for"):
        made.first(9)


# --- what was done to it


def test_no_set_there(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="is no calibration set"):
        open_calibration_set(tmp_path / "none")
    (tmp_path / "file").write_text("x")
    with pytest.raises(CalibrationError, match="is no calibration set"):
        open_calibration_set(tmp_path / "file")


def test_every_changed_frame_is_noticed(copy: Path) -> None:
    for path in sorted((copy / "frames").iterdir()):
        content = path.read_bytes()
        for damaged in (content[:-1], content[:40] + bytes([content[40] ^ 1]) + content[41:], b""):
            path.write_bytes(damaged)
            with pytest.raises(CalibrationError, match="is damaged"):
                open_calibration_set(copy)
        path.write_bytes(content)
    open_calibration_set(copy)


@pytest.mark.parametrize("kept", [0, 1, 100, 1500])
def test_an_index_that_was_cut_is_noticed(copy: Path, kept: int) -> None:
    (copy / INDEX).write_bytes((copy / INDEX).read_bytes()[:kept])
    with pytest.raises(CalibrationError, match="is damaged"):
        open_calibration_set(copy)


def test_every_missing_frame_is_noticed(copy: Path) -> None:
    (copy / "frames" / "00003.png").unlink()
    with pytest.raises(CalibrationError, match=r"00003\.png can't be read"):
        open_calibration_set(copy)


def test_a_frame_that_goes_after_opening_is_told(copy: Path) -> None:
    opened = open_calibration_set(copy)
    (copy / "frames" / "00000.png").unlink()
    with pytest.raises(CalibrationError, match=r"00000\.png can't be read"):
        next(opened.frames())


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("preprocessing", "other", "fingerprint is not that"),
        ("fingerprint", "0" * 64, "fingerprint is not that"),
        ("schema_version", 2, "this version reads 1"),
        ("frames", [], "fingerprint is not that"),
        ("frames", "no", "expected a list"),
        ("more", 1, "unknown field"),
    ],
)
def test_an_index_that_was_edited(copy: Path, field: str, value: object, message: str) -> None:
    plain = json.loads((copy / INDEX).read_text())
    (copy / INDEX).write_text(json.dumps(plain | {field: value}))
    with pytest.raises(CalibrationError, match=message):
        open_calibration_set(copy)


def test_an_edited_focal_length_is_noticed(rendered: CalibrationSet) -> None:
    entries = (dataclasses.replace(rendered.entries[0], focal_px=100.0), *rendered.entries[1:])
    assert CalibrationSet(rendered.path, rendered.index, entries).fingerprint != rendered.fingerprint


# --- what is refused, and what is left out


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ([noise(i) for i in range(20)], "20 left out: random noise"),
        ([PLACES[0]], "1 usable frames of 1"),
        ([PLACES[0]] * 20, "1 usable frames of 20.*19 left out: near-duplicate"),
        ([PLACES[i % 3] for i in range(20)], "3 usable frames of 20.*17 left out: near-duplicate"),
        ([np.full((64, 96, 3), 9, np.uint8)] * 5, "5 left out: blank"),
    ],
    ids=["noise", "one", "one, repeated", "three, repeated", "blank"],
)
def test_what_can_not_calibrate_is_refused(images: list[np.ndarray], reason: str, tmp_path: Path) -> None:  # type: ignore[type-arg]
    source = open_picture_folder(folder_of(tmp_path / "photos", images))
    with pytest.raises(CalibrationError, match=reason):
        build_calibration_set(source, tmp_path / "calib")
    assert {path.name for path in tmp_path.iterdir()} == {"photos", ".calib.lock"}


def test_bad_pictures_among_good_ones_are_counted_and_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "photos", [*PLACES[:6], noise(0), PLACES[0]])
    (folder / "cut.png").write_bytes((folder / "000.png").read_bytes()[:900])
    (folder / "text.jpg").write_text("not a picture")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert cv2.imwrite(str(folder / "range.png"), np.arange(96 * 64, dtype=np.uint16).reshape(64, 96))
    made = build_calibration_set(open_picture_folder(folder), tmp_path / "calib")
    assert len(made) == 6
    left_out = {left.name: left.reason for left in made.index.left_out}
    # Whichever of two equal frames isn't chosen is the duplicate.
    assert left_out.pop("007.png", None) or left_out.pop("000.png") == "near-duplicate"
    assert left_out.pop("006.png") == "random noise"
    assert set(left_out) == {"cut.png", "text.jpg", "gone.png", "range.png"}
    assert "damaged or cut short" in left_out["cut.png"]
    assert "not a picture" in left_out["text.jpg"]
    assert "there is no file" in left_out["gone.png"]
    assert "depth maps" in left_out["range.png"]
    assert open_calibration_set(made.path).index.left_out == made.index.left_out


@pytest.mark.parametrize(("count", "seed"), [(3, 0), (0, 0), (-5, 0), (8, -1)])
def test_counts_and_seeds_that_are_none(photos: Path, tmp_path: Path, count: int, seed: int) -> None:
    with pytest.raises(OptionError, match="allowed are 4 or more, and seeds from 0"):
        build_calibration_set(open_picture_folder(photos), tmp_path / "calib", count=count, seed=seed)


def test_somebody_elses_folder_is_not_replaced(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "diary.txt").write_text("dear")
    with pytest.raises(OutputError, match="won't be replaced"):
        build_calibration_set(open_picture_folder(photos), tmp_path)


def test_a_set_is_replaced_and_that_is_told(photos: Path, copy: Path) -> None:
    told: list[str] = []
    made = build_calibration_set(open_picture_folder(photos), copy, count=5, announce=told.append)
    assert told == [f"{copy} is replaced", "5 frames are few: scales found on them are rough; 16 and more are usual"]
    assert open_calibration_set(copy) == made
    assert len(list((copy / "frames").iterdir())) == 5
