"""iBims-1: www.asg.ed.tum.de/lmf/ibims1, Koch et al. 2018 (arXiv:1805.01328).

Layout: either archive, itself or in the folder; the PNGs are taken where both lie there::

    ibims1_core_raw/rgb/corridor_01.png
    ibims1_core_raw/depth/corridor_01.png            16-bit, 50 m / 65535 a unit, 0: unknown
    ibims1_core_raw/calib/corridor_01.txt            fx,fy,cx,cy
    ibims1_core_raw/mask_invalid/corridor_01.png     0 where the truth is wrong
    ibims1_core_raw/mask_transp/corridor_01.png      0 on glass

    ibims1_core_mat/corridor_01.mat                  data.rgb, .depth (metres), .calib (3 x 3) and the masks

Counted is what both masks leave, as the publishers' evaluate_ibims.py does.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgedepth.core.errors import SampleError
from edgedepth.core.optional import require
from edgedepth.datasets.base import DataSet, FrameSet, Sample, make_sample, unique_frames
from edgedepth.datasets.files import folders_with, pictures_in, read_mask, read_picture, read_png16, read_text

__all__ = ["fits", "open_set"]

_RAW_BELOW = (".", "ibims1_core_raw")
_MAT_BELOW = (".", "ibims1_core_mat")
_METRES_PER_UNIT = 50 / 65535
_MASKS = ("mask_invalid", "mask_transp")  # the names are of what they take out: what is left is above 0
_REMEDY = "take the file as the publishers made it"


def fits(folder: Path) -> bool:
    """Whether mask_transp/, or the folder of .mat files under the publishers' name, is there."""
    return bool(folders_with(folder, _MASKS[1], below=_RAW_BELOW)) or any(_mat_files(folder))


def open_set(folder: Path) -> DataSet:
    """The core pictures, called like "corridor_01".

    Raises:
        DataSetError: neither form is there.
    """
    raw = folders_with(folder, _MASKS[1], below=_RAW_BELOW)
    if raw:
        pictures = ((path.stem, path) for path in pictures_in(raw[0] / "rgb"))
        frames = unique_frames(pictures, source=str(raw[0]), expected="rgb/*.png")
        return FrameSet(name="ibims", frames=frames, read=_read_raw)
    files = ((path.stem, path) for path in _mat_files(folder))
    frames = unique_frames(files, source=str(folder), expected="ibims1_core_raw/ or ibims1_core_mat/")
    return FrameSet(name="ibims", frames=frames, read=_read_mat)


def _mat_files(folder: Path) -> Iterator[Path]:
    own_name = folder.resolve().name == _MAT_BELOW[1]
    yield from sorted((folder if own_name else folder / _MAT_BELOW[1]).glob("*.mat"))


def _read_raw(name: str, picture: Path) -> Sample:
    root, file = picture.parents[1], f"{name}.png"
    calibration = root / "calib" / f"{name}.txt"
    words = read_text(calibration).replace(",", " ").split()
    try:
        focal_px = float(words[0])
    except (IndexError, ValueError) as error:
        raise SampleError(f"{calibration} doesn't begin with a focal length", remedy=_REMEDY) from error
    invalid, transparent = (read_mask(root / mask / file) for mask in _MASKS)
    return make_sample(
        name,
        image=read_picture(picture),
        depth_m=read_png16(root / "depth" / file, metres_per_unit=_METRES_PER_UNIT),
        focal_px=focal_px,
        counted=invalid & transparent,
    )


def _read_mat(name: str, path: Path) -> Sample:
    scipy_io = require("scipy.io", extra="datasets", purpose="to read iBims-1's .mat files")
    try:
        data = scipy_io.loadmat(path)["data"][0, 0]
        image, depth_m = np.ascontiguousarray(data["rgb"], dtype=np.uint8), np.asarray(data["depth"], np.float64)
        focal_px = float(data["calib"][0, 0])
        invalid, transparent = (np.asarray(data[mask]) > 0 for mask in _MASKS)
    except Exception as error:  # scipy raises anything over a damaged file
        raise SampleError(f"{path} is not of iBims-1, or is damaged: {error}", remedy=_REMEDY) from error
    return make_sample(name, image=image, depth_m=depth_m, focal_px=focal_px, counted=invalid & transparent)
