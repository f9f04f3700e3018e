"""edgedepth calibrate: what it prints, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedepth import cli as cli_package
from edgedepth.calibration.sets import open_calibration_set
from edgedepth.cli import calibrate_command

from .conftest import Cli


def draw_places(folder: Path, count: int) -> Path:
    """Pictures of a gradient behind a few boxes, all different."""
    folder.mkdir()
    y, x = np.mgrid[0:64, 0:96]
    for number in range(count):
        rng = np.random.default_rng(number)
        pixels = np.stack((x * 2, y * 3, x + y), axis=-1).astype(np.uint8)
        for _ in range(4):
            top, left = rng.integers(0, 40), rng.integers(0, 60)
            pixels[top : top + 20, left : left + 30] = rng.integers(0, 255, 3)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def test_rendered_scenes(cli: Cli, tmp_path: Path) -> None:
    done = cli("calibrate", "synthetic:4", "--out", tmp_path / "calib")
    assert done.code == 0
    made = open_calibration_set(tmp_path / "calib")
    lines = done.out.splitlines()
    assert lines[0].endswith("calib: 4 frames of synthetic:4 (asked for 64, looked at 4)")
    assert lines[1] == f"fingerprint {made.fingerprint[:12]}, for models that take frames as depth-pro does"
    assert [line.split()[0] for line in lines[2:]] == ["coverage", "brightness", "contrast", "near", "far"]
    assert "4 frames are few" in done.err


def test_bad_pictures_are_counted_and_named(cli: Cli, tmp_path: Path) -> None:
    folder = draw_places(tmp_path / "photos", 6)
    (folder / "zz.jpg").write_text("no picture")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)).save(folder / "noise.png")
    Image.open(folder / "00.png").save(folder / "copy.png")
    done = cli("calibrate", folder, "--out", tmp_path / "calib")
    assert done.code == 0
    assert "left out: 1, near-duplicate" in done.out
    assert "left out: 1, random noise\n" in done.out
    assert "left out: 1, can't be used\n" in done.out
    assert "  noise.png: random noise" in done.out
    assert "  zz.jpg: can't be used: " in done.out
    again = cli("calibrate", folder, "--out", tmp_path / "calib", "--json")
    assert again.json["coverage"]["frames"] == 6
    assert {left["name"] for left in again.json["left_out"]} >= {"zz.jpg", "noise.png"}
    assert again.json["fingerprint"] == open_calibration_set(tmp_path / "calib").fingerprint
    assert "calib is replaced" in again.err


def test_noise_is_refused_with_the_reason(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "noise"
    folder.mkdir()
    for number in range(16):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 96, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    done = cli("calibrate", folder, "--out", tmp_path / "calib", "--json")
    assert done.code == 2
    assert done.json["error"]["type"] == "CalibrationError"
    assert "16 left out: random noise" in done.json["error"]["problem"]
    assert "wrong on pictures" in done.json["error"]["remedy"]
    assert not (tmp_path / "calib").exists()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("none",), "there is no none"),
        (("synthetic:8", "--count", "2"), "allowed are 4 or more"),
        (("synthetic:8", "--seed", "-1"), "seeds from 0 on"),
        (("synthetic:8", "--model", "other"), "there is no model 'other'"),
        (("synthetic:8", "--layout", "tum"), "has no layout"),
        (("0", "--every", "-1"), "allowed are 0 to 3600"),
    ],
)
def test_refusals(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], problem: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = cli("calibrate", *words, "--out", "calib")
    assert done.code == 2
    assert problem in done.err
    assert not (tmp_path / "calib").exists()


def test_ctrl_c_tells_that_the_work_is_kept(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = draw_places(tmp_path / "photos", 6)
    real, told = calibrate_command.calibrate, []

    def pressed(*args: object, **options: object) -> object:
        def progress(step: str, done: int, total: int) -> None:
            told.append(step)
            if done == 3:
                raise KeyboardInterrupt

        return real(*args, **options | {"progress": progress})  # type: ignore[arg-type]

    monkeypatch.setattr(calibrate_command, "calibrate", pressed)
    stopped = cli("calibrate", folder, "--out", tmp_path / "calib")
    assert stopped.code == 130
    assert "the same command goes on" in stopped.err
    monkeypatch.undo()
    assert "3 frames were looked at" in cli("calibrate", folder, "--out", tmp_path / "calib").err


def test_it_is_listed() -> None:
    assert "calibrate" in cli_package.COMMANDS
