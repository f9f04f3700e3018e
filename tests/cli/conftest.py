"""The command line, called as a user calls it but in this process: starting one takes seconds each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from edgedepth.cli import main


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Cli = Callable[..., Done]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*words: str | Path) -> Done:
        try:
            code = main([str(word) for word in words])
        except SystemExit as stopped:  # argparse's own way out
            code = int(stopped.code or 0)
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(code, captured.out, captured.err)

    return run


def draw_photo(path: Path, *, seed: int = 0, f35: int | None = None, size: tuple[int, int] = (96, 64)) -> Path:
    """A picture with edges and gradients; with EXIF's 35 mm focal length when asked for."""
    rng = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack((x * 255 // width, y * 255 // height, (x + y) % 64 * 3), axis=-1).astype(np.uint8)
    pixels[8:24, 8:40] = rng.integers(0, 255, 3)
    exif = Image.Exif()
    if f35 is not None:
        exif.get_ifd(0x8769)[0xA405] = f35
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def draw_video(path: Path, count: int = 4) -> Path:
    """A square that moves over a gradient."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (96, 64))
    for number in range(count):
        frame = np.zeros((64, 96, 3), np.uint8)
        frame[..., 1] = np.arange(96) * 2
        frame[8:16, 8 + number : 16 + number] = 255
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    draw_photo(folder / "one.png", seed=1)
    draw_photo(folder / "two.jpg", seed=2, f35=35, size=(120, 80))
    return folder
