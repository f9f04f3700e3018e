"""Noise and blank frames are told from pictures, and pictures from noise."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgedepth.calibration.fitness import BLANK, NOISE, fault_of, refuse_too_few
from edgedepth.calibration.set_index import LeftOut
from edgedepth.photos import PHOTO_SUFFIXES, read_photo
from edgedepth.training.scenes import CALIBRATION_SEED, render_scene

from .pictures import Image, noise, place


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("size", "enlarged"),
    [((64, 48), 1), ((512, 384), 1), ((512, 384), 2), ((512, 384), 4), ((1920, 1080), 1), ((1920, 1080), 15)],
)
def test_noise_is_noise_at_every_size(size: tuple[int, int], seed: int, enlarged: int) -> None:
    assert fault_of(noise(seed, size, enlarged)) == NOISE


@pytest.mark.parametrize("seed", range(3))
def test_other_noise(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bell = np.clip(rng.normal(128, 40, (384, 512, 3)), 0, 255).astype(np.uint8)
    grey = np.repeat(rng.integers(0, 256, (384, 512, 1), np.uint8), 3, axis=2)
    salt = np.repeat(np.where(rng.random((384, 512, 1)) < 0.1, 255, 0).astype(np.uint8), 3, axis=2)
    blurred = np.asarray(cv2.GaussianBlur(noise(seed, (512, 384)), (5, 5), 0), np.uint8)
    assert {fault_of(image) for image in (bell, grey, salt, blurred)} == {NOISE}


def wall(seed: int) -> Image:
    """A plain wall as a sensor sees it."""
    return np.clip(np.random.default_rng(seed).normal(180, 3, (384, 512, 3)), 0, 255).astype(np.uint8)


def test_nothing_to_see() -> None:
    black, white = np.zeros((384, 512, 3), np.uint8), np.full((384, 512, 3), 255, np.uint8)
    step = black + np.uint8(20)
    step[300:] = 21  # what JPEG's blocks leave of a constant picture at its lower border
    assert [fault_of(image) for image in (black, white, wall(0), wall(1), step)] == [BLANK] * 5


@pytest.mark.parametrize("seed", range(12))
def test_scenes_are_pictures(seed: int) -> None:
    assert fault_of(render_scene(CALIBRATION_SEED + seed, width=128, height=96).image) == ""
    assert fault_of(place(seed)) == ""


def test_a_noisy_night_is_a_picture() -> None:
    scene = render_scene(CALIBRATION_SEED, width=256, height=192).image
    rng = np.random.default_rng(0)
    night = np.clip(scene / 10 + rng.normal(0, 4, scene.shape), 0, 255).astype(np.uint8)
    snow = np.clip(scene * 0.5 + rng.normal(0, 40, scene.shape), 0, 255).astype(np.uint8)
    assert fault_of(night) == fault_of(snow) == ""


def test_real_photographs_are_pictures(real_pictures: Path) -> None:
    paths = [
        path
        for path in sorted(real_pictures.rglob("*"))
        if path.suffix.lower() in PHOTO_SUFFIXES and "depth" not in path.stem.replace("depthpro", "")
    ]
    assert len(paths) > 10
    assert {path.name: fault for path in paths if (fault := fault_of(read_photo(path).pixels_rgb))} == {}


def test_pictures_that_no_model_takes() -> None:
    assert "8 x 64 pixels; allowed are 16" in fault_of(np.zeros((64, 8, 3), np.uint8))


def test_a_refusal_counts_what_became_of_the_frames() -> None:
    left_out = [LeftOut(name=f"n{i}", reason=NOISE) for i in range(5)]
    left_out += [LeftOut(name="bad.jpg", reason="can't be used: it is cut short")]
    error = refuse_too_few("photos", 8, 2, left_out)
    assert "2 usable frames of 8" in error.problem
    assert "5 left out: random noise" in error.problem
    assert "1 left out: can't be used (bad.jpg: it is cut short)" in error.problem
    assert "noise are wrong on pictures" in error.remedy
