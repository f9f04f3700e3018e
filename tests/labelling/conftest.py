"""Frames of every kind, and a network that labels them quickly."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image


def encoded(seed: int, kind: str = "PNG", f35: int | None = None) -> bytes:
    """A small picture of its own."""
    rng = np.random.default_rng(seed)
    pixels = cv2.resize(rng.integers(0, 255, (4, 6, 3), np.uint8), (48, 32))
    exif = Image.Exif()
    if f35:
        exif.get_ifd(0x8769)[0xA405] = f35
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, exif=exif)
    return content.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six files: three pictures, one twice, one broken, one that is no picture at all."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "a.png").write_bytes(encoded(1))
    (folder / "b.jpg").write_bytes(encoded(2, "JPEG", f35=28))
    (folder / "below" / "c.png").write_bytes(encoded(3))
    (folder / "below" / "same as a.png").write_bytes(encoded(1))
    (folder / "broken.jpg").write_bytes(encoded(4, "JPEG")[:-60])
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden" / "d.png").write_bytes(encoded(5))
    return folder


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """A shard as WebDataset writes it: pictures with their captions beside them."""
    path = tmp_path / "0001.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in (("x.png", encoded(7)), ("x.txt", b"a caption"), ("y.jpg", encoded(8, "JPEG", f35=35))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Five frames, each of one grey."""
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (48, 32))
    for grey in range(0, 250, 50):
        writer.write(np.full((32, 48, 3), grey, np.uint8))
    writer.release()
    return path


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network that labels quickly."""
    monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path / "home"))
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
