"""KITTI, the Eigen test split: cvlibs.net/datasets/kitti, raw data and annotated depth maps.

Layout, as the publishers' archives unpack into one folder::

    2011_09_26/calib_cam_to_cam.txt
    2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069.png
    val/2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/0000000069.png     or train/, or without either
    eigen_test_files_with_gt.txt                                                      the list of frames

The list is the one of Eigen et al. 2014, in any of the forms in which it goes round: github.com/cleinc/bts
(eigen_test_files_with_gt.txt, where "None" marks the 45 frames without truth), github.com/nianticlabs/monodepth2
(test_files.txt) or github.com/mrharicot/monodepth (eigen_test_files.txt).

Depth PNGs hold 1/256 m, 0: unknown (the depth development kit's readme). Counted is what lies inside of Garg's crop
(Garg et al. 2016), between 1 mm and 80 m. The focal length is that of P_rect of the frame's camera.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedepth.core.errors import DataSetError, SampleError
from edgedepth.datasets.base import DataSet, FrameSet, Mask, Sample, make_sample, unique_frames
from edgedepth.datasets.files import read_picture, read_png16, read_text

__all__ = ["fits", "open_set"]

_LIST_PATTERNS = ("*eigen_test_files*.txt", "test_files.txt")
_LINE = re.compile(
    r"(?P<date>\d{4}_\d\d_\d\d)/(?P<drive>(?P=date)_drive_\d{4}_sync)"
    r"(?:/image_(?P<camera>0[23])/data/(?P<frame>\d+)\.(?:png|jpg)|\s+(?P<index>\d+)\s+(?P<side>[lr])\s*$)"
)
_DEPTH_FOLDERS = (".", "train", "val", "data_depth_annotated/train", "data_depth_annotated/val")
_GARG_ROWS, _GARG_COLUMNS = (0.40810811, 0.99189189), (0.03594771, 0.96405229)  # shares of height and width
_RANGE_M = (1e-3, 80.0)


@dataclass(frozen=True, slots=True)
class _Frame:
    root: Path
    date: str
    drive: str
    camera: str
    number: int


def fits(folder: Path) -> bool:
    """Whether folders are called by dates, as those of the raw data are."""
    return any(re.fullmatch(r"\d{4}_\d\d_\d\d", path.name) for path in folder.iterdir())


def open_set(folder: Path) -> DataSet:
    """The frames of the list that lies in the folder, but those that it marks as without truth.

    Samples are called like "2011_09_26_drive_0002_sync/image_02/0000000069".

    Raises:
        DataSetError: no list, several, one that isn't understood, or one that names a frame twice.
    """
    lists = sorted({path for pattern in _LIST_PATTERNS for path in folder.glob(pattern)})
    if len(lists) != 1:
        got = f"several: {', '.join(path.name for path in lists)}" if lists else "none"
        raise DataSetError(
            f"{folder} needs one list of the Eigen test split and has {got}; allowed names are "
            "eigen_test_files_with_gt.txt, eigen_test_files.txt and test_files.txt",
            remedy="copy one of them there from the repositories that docs/how-to/data-sets.md names",
        )
    frames = unique_frames(_listed(folder, lists[0]), source=str(lists[0]), expected="lines with a frame each")
    return FrameSet(name="kitti", frames=frames, read=_read, max_depth_m=_RANGE_M[1])


def _listed(root: Path, path: Path) -> Iterator[tuple[str, _Frame]]:
    for number, line in enumerate(read_text(path, DataSetError).splitlines(), start=1):
        if not line.strip():
            continue
        match = _LINE.match(line)
        if match is None:
            raise DataSetError(
                f"{path}, line {number}: {line:.80} is no frame of KITTI's raw data",
                remedy="take the list as its authors publish it",
            )
        if "None" in line.split()[1:]:
            continue
        camera = match["camera"] or {"l": "02", "r": "03"}[match["side"]]
        index = int(match["frame"] or match["index"])
        frame = _Frame(root, match["date"], match["drive"], camera, index)
        yield f"{frame.drive}/image_{camera}/{index:010d}", frame


def _read(name: str, frame: _Frame) -> Sample:
    folder = frame.root / frame.date / frame.drive / f"image_{frame.camera}" / "data"
    png, jpg = (folder / f"{frame.number:010d}{suffix}" for suffix in (".png", ".jpg"))
    image = read_picture(jpg if jpg.exists() and not png.exists() else png)
    depth_m = read_png16(_depth_file(frame), metres_per_unit=1 / 256)
    counted = _garg_crop(depth_m.shape[0], depth_m.shape[1]) & (depth_m > _RANGE_M[0]) & (depth_m < _RANGE_M[1])
    return make_sample(name, image=image, depth_m=depth_m, focal_px=_focal_px(frame), counted=counted)


def _depth_file(frame: _Frame) -> Path:
    inner = Path(frame.drive, "proj_depth", "groundtruth", f"image_{frame.camera}", f"{frame.number:010d}.png")
    candidates = [frame.root / folder / inner for folder in _DEPTH_FOLDERS]
    return next((path for path in candidates if path.exists()), candidates[0])


def _focal_px(frame: _Frame) -> float:
    path = frame.root / frame.date / "calib_cam_to_cam.txt"
    match = re.search(rf"^P_rect_{frame.camera}:\s*([-+.\deE]+)\s", read_text(path), re.MULTILINE)
    if match is None:
        raise SampleError(f"{path} has no P_rect_{frame.camera}", remedy="unpack the publishers' calibration there")
    return float(match[1])


def _garg_crop(height: int, width: int) -> Mask:
    inside = np.zeros((height, width), np.bool_)
    top, bottom = (int(share * height) for share in _GARG_ROWS)
    left, right = (int(share * width) for share in _GARG_COLUMNS)
    inside[top:bottom, left:right] = True
    return inside
