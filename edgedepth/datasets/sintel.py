"""MPI Sintel: sintel.is.tue.mpg.de, the pictures of the training set and the depth training data.

Layout, both archives unpacked into one folder (with or without training/ around it)::

    training/final/alley_1/frame_0001.png        or clean/ where there is no final/
    training/depth/alley_1/frame_0001.dpt        tag, width, height, then float32 depth row by row
    training/camdata_left/alley_1/frame_0001.cam tag, then the intrinsic matrix as 9 doubles, the extrinsic as 12

Source: sintel_io.py of the depth archive. Depth is taken as metres, as the Depth Pro paper (arXiv:2410.02073) does when
it evaluates metric depth on Sintel; the sky is as far as the film's world has it, kilometres.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import SampleError
from edgedepth.datasets.base import DataSet, FrameSet, Sample, make_sample, unique_frames
from edgedepth.datasets.files import folders_with, pictures_in, read_bytes, read_floats, read_picture

__all__ = ["fits", "open_set"]

_TAG = 202021.25
_BELOW = (".", "training")
_DEPTH, _CAMERA, _PASSES = "depth", "camdata_left", ("final", "clean")
_REMEDY = "take the file as the publishers made it"


@dataclass(frozen=True, slots=True)
class _Frame:
    picture: Path
    depth: Path
    camera: Path


def fits(folder: Path) -> bool:
    """Whether depth/ and final/ or clean/ lie in the folder or its training/."""
    return any(_passes(root) for root in folders_with(folder, _DEPTH, below=_BELOW))


def open_set(folder: Path) -> DataSet:
    """The frames of the final pass, or of the clean one where only that is there.

    Samples are called like "final/alley_1/frame_0001".

    Raises:
        DataSetError: no frames.
    """
    roots = [root for root in folders_with(folder, _DEPTH, below=_BELOW) if _passes(root)]
    found = (frame for root in roots for frame in _frames(root, _passes(root)[0]))
    frames = unique_frames(found, source=str(folder), expected="training/final or clean, training/depth")
    return FrameSet(name="sintel", frames=frames, read=_read)


def _passes(root: Path) -> list[str]:
    return [name for name in _PASSES if (root / name).is_dir()]


def _frames(root: Path, render_pass: str) -> Iterator[tuple[str, _Frame]]:
    for scene in sorted(path for path in (root / render_pass).iterdir() if path.is_dir()):
        for picture in pictures_in(scene):
            inner = Path(scene.name, picture.stem)
            depth, camera = root / _DEPTH / f"{inner}.dpt", root / _CAMERA / f"{inner}.cam"
            yield f"{render_pass}/{inner.as_posix()}", _Frame(picture, depth, camera)


def _read(name: str, frame: _Frame) -> Sample:
    return make_sample(
        name,
        image=read_picture(frame.picture),
        depth_m=_read_dpt(frame.depth),
        focal_px=_read_focal_px(frame.camera),
    )


def _read_dpt(path: Path) -> npt.NDArray[np.float32]:
    content = _tagged(path, at_least=12)
    width, height = struct.unpack("<ii", content[4:12])
    return read_floats(path, content[12:], (height, width))


def _read_focal_px(path: Path) -> float:
    return float(struct.unpack("<d", _tagged(path, at_least=12)[4:12])[0])


def _tagged(path: Path, *, at_least: int) -> bytes:
    content = read_bytes(path)
    if len(content) < at_least or struct.unpack("<f", content[:4])[0] != _TAG:
        raise SampleError(f"{path} doesn't begin with Sintel's tag, {_TAG}", remedy=_REMEDY)
    return content
