"""Small pictures of places that aren't, in folders and videos."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


def place(seed: int, size: tuple[int, int] = (96, 64)) -> Image:
    """(H, W, 3) RGB: a floor, a wall and a few boxes, different for each seed."""
    rng = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    light, tilt = rng.uniform(40, 200), rng.uniform(-80, 80)
    picture = np.repeat((light + tilt * (x / width + y / height - 1))[..., None], 3, axis=2) + rng.uniform(-30, 30, 3)
    for _ in range(6):
        left, top = rng.integers(0, width - 16), rng.integers(0, height - 12)
        right, bottom = left + rng.integers(8, 48), top + rng.integers(6, 32)
        picture[top:bottom, left:right] = rng.uniform(0, 255, 3)
    return np.clip(picture, 0, 255).astype(np.uint8)


def noise(seed: int, size: tuple[int, int] = (96, 64), enlarged: int = 1) -> Image:
    """(H, W, 3) of uniform random bytes."""
    width, height = size
    bits = np.random.default_rng(seed).integers(0, 256, (height // enlarged, width // enlarged, 3), np.uint8)
    return np.asarray(cv2.resize(bits, size, interpolation=cv2.INTER_NEAREST), np.uint8)


def save(path: Path, image: Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return path


def folder_of(folder: Path, images: list[Image], suffix: str = ".png") -> Path:
    """A folder of pictures 000.png, 001.png, ..."""
    for number, image in enumerate(images):
        save(folder / f"{number:03}{suffix}", image)
    return folder


def video_of(path: Path, images: list[Image]) -> Path:
    """A Motion JPEG video of ten frames a second."""
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (width, height))
    assert writer.isOpened()
    for image in images:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path
