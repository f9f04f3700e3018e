"""VOID: github.com/alexklwong/void-dataset, Wong et al. 2020 (arXiv 1905.08616).

Layout; void_1500, void_500 or void_150 is the data set's folder::

    test_image.txt                                       optional, and its like: paths of the frames that count
    data/birthplace_of_internet/image/1552097970.0.png
    data/birthplace_of_internet/ground_truth/1552097970.0.png    16-bit grey, 1/256 m, 0: unknown
    data/birthplace_of_internet/K.txt                            3 x 3 intrinsics

Truth counts from 0.2 to 5 m: the protocol of RSA's evaluation (arXiv 2410.02924) and of the set's authors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgedepth.core.errors import DataSetError, SampleError
from edgedepth.datasets.base import DataSet, FrameSet, Sample, make_sample, unique_frames
from edgedepth.datasets.files import read_picture, read_png16, read_text

__all__ = ["fits", "open_set"]

_LIST = "test_image.txt"
_RANGE_M = (0.2, 5.0)
_METRES_PER_UNIT = 1 / 256


def fits(folder: Path) -> bool:
    """Whether a sequence with pictures and truth lies in data/."""
    return any(_sequences(folder))


def open_set(folder: Path) -> DataSet:
    """The frames of test_image.txt, or all; called "birthplace_of_internet/1552097970.0".

    Raises:
        DataSetError: no frames, or a list of something else.
    """
    listed = folder / _LIST
    if listed.exists():
        lines = [line for line in read_text(listed, DataSetError).splitlines() if line.strip()]
        pictures = [_of_line(folder, line.strip(), listed) for line in lines]
    else:
        pictures = [path for sequence in _sequences(folder) for path in sorted((sequence / "image").glob("*.png"))]
    found = ((f"{path.parent.parent.name}/{path.stem}", path) for path in pictures)
    frames = unique_frames(found, source=str(folder), expected="data/*/image/*.png")
    return FrameSet(name="void", frames=frames, read=_read, max_depth_m=_RANGE_M[1])


def _sequences(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("data/*/ground_truth") if (path.parent / "image").is_dir())


def _of_line(folder: Path, line: str, listed: Path) -> Path:
    """The list's paths begin above the folder: void_release/void_1500/data/..."""
    parts = Path(line).parts
    if "data" not in parts or parts[-2:-1] != ("image",):
        raise DataSetError(
            f"{listed}: {line:.80} is no frame of VOID", remedy="take the list as its authors publish it"
        )
    return folder.joinpath(*parts[len(parts) - 1 - parts[::-1].index("data") :])


def _read(name: str, picture: Path) -> Sample:
    sequence = picture.parent.parent
    depth_m = read_png16(sequence / "ground_truth" / picture.name, metres_per_unit=_METRES_PER_UNIT)
    counted = (depth_m >= _RANGE_M[0]) & (depth_m <= _RANGE_M[1])
    focal_px = _focal_px(sequence / "K.txt")
    return make_sample(name, image=read_picture(picture), depth_m=depth_m, focal_px=focal_px, counted=counted)


def _focal_px(path: Path) -> float:
    try:
        values = np.array(read_text(path).split(), np.float64).reshape(3, 3)
    except ValueError as error:
        raise SampleError(f"{path} is no 3 x 3 matrix", remedy="take it as the publishers made it") from error
    return float(values[0, 0])
