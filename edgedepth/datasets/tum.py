"""TUM RGB-D, and ICL-NUIM as its TUM-compatible PNGs.

Layout of a sequence; a folder of sequences is one set::

    rgbd_dataset_freiburg1_xyz/rgb/1305031102.175304.png
    rgbd_dataset_freiburg1_xyz/depth/1305031102.160407.png
    rgbd_dataset_freiburg1_xyz/rgb.txt, depth.txt          "timestamp filename" a line
    living_room_traj2_frei_png/associations.txt            ICL instead: "0 depth/0.png 0 rgb/0.png" a line

Sources: cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats (depth PNGs hold 1/5000 m, 0: unknown; depth is
registered to the colour camera) and .../intrinsic_calibration (focal lengths); for ICL-NUIM
www.doc.ic.ac.uk/~ahanda/VaFRIC/iclnuim.html.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgedepth.core.errors import DataSetError
from edgedepth.datasets.base import DataSet, FrameSet, Sample, make_sample, unique_frames
from edgedepth.datasets.files import folders_with, label, read_picture, read_png16, read_text

__all__ = ["fits", "open_set"]

_PAIRS, _COLOURS, _DEPTHS = "associations.txt", "rgb.txt", "depth.txt"
_METRES_PER_UNIT = 1 / 5000
_APART_S = 0.02  # the default of the publishers' associate.py

# fx of the colour camera by what the sequence's folder is called.
_FOCAL_PX = {"freiburg1": 517.3, "freiburg2": 520.9, "freiburg3": 535.4, "frei_png": 481.2, "living_room": 481.2}


@dataclass(frozen=True, slots=True)
class _Frame:
    picture: Path
    depth: Path
    focal_px: float | None


def fits(folder: Path) -> bool:
    """Whether the folder is a sequence or holds sequences."""
    return bool(_sequences(folder))


def open_set(folder: Path) -> DataSet:
    """The pictures that have a depth map, of one sequence or of all in the folder.

    Samples are called like "rgbd_dataset_freiburg1_xyz/rgb/1305031102.175304". The focal length is known by the
    sequence's name; of a folder that is called otherwise it is None.

    Raises:
        DataSetError: no sequence, a list that isn't understood, or one that names a picture twice.
    """
    found = (pair for sequence in _sequences(folder) for pair in _frames(sequence, label(sequence, folder)))
    frames = unique_frames(found, source=str(folder), expected=f"{_COLOURS} with {_DEPTHS}, or {_PAIRS}")
    return FrameSet(name="tum", frames=frames, read=_read)


def _sequences(folder: Path) -> list[Path]:
    timed = [place for place in folders_with(folder, _COLOURS) if (place / _DEPTHS).exists()]
    return sorted({*timed, *folders_with(folder, _PAIRS)})


def _frames(sequence: Path, name: str) -> Iterator[tuple[str, _Frame]]:
    focal_px = next((focal for part, focal in _FOCAL_PX.items() if part in sequence.resolve().name), None)
    pairs = _listed_pairs(sequence) if (sequence / _PAIRS).exists() else _pairs_by_time(sequence)
    for picture, depth in pairs:
        frame = _Frame(sequence / picture, sequence / depth, focal_px)
        yield f"{name}/{Path(picture).with_suffix('').as_posix()}", frame


def _read(name: str, frame: _Frame) -> Sample:
    return make_sample(
        name,
        image=read_picture(frame.picture),
        depth_m=read_png16(frame.depth, metres_per_unit=_METRES_PER_UNIT),
        focal_px=frame.focal_px,
    )


def _listed_pairs(sequence: Path) -> list[tuple[str, str]]:
    """Picture and depth map of each line. TUM's own tool writes the picture first, ICL-NUIM the depth map."""
    pairs = []
    for _, first, _, second in _rows(sequence / _PAIRS, 4):
        depths = [file for file in (first, second) if file.startswith("depth")]
        if len(depths) != 1:
            raise DataSetError(
                f"{sequence / _PAIRS}: of {first} and {second}, one has to lie in depth/", remedy="mend the list"
            )
        pairs.append((second if depths[0] == first else first, depths[0]))
    return pairs


def _pairs_by_time(sequence: Path) -> list[tuple[str, str]]:
    """Pictures and depth maps less than 20 ms apart, each in one pair, nearest first: as associate.py pairs them."""
    colours, depths = _timed(sequence / _COLOURS), _timed(sequence / _DEPTHS)
    depth_times = [time for time, _ in depths]
    candidates = [
        (abs(time - depth_times[column]), row, column)
        for row, (time, _) in enumerate(colours)
        for column in range(bisect_left(depth_times, time - _APART_S), bisect_right(depth_times, time + _APART_S))
    ]
    free_rows, free_columns = set(range(len(colours))), set(range(len(depths)))
    pairs = []
    for apart, row, column in sorted(candidates):
        if apart < _APART_S and row in free_rows and column in free_columns:
            free_rows.remove(row)
            free_columns.remove(column)
            pairs.append((row, column))
    return [(colours[row][1], depths[column][1]) for row, column in sorted(pairs)]


def _timed(path: Path) -> list[tuple[float, str]]:
    try:
        return sorted((float(time), file) for time, file in _rows(path, 2))
    except ValueError as error:
        raise DataSetError(f"{path} isn't understood: {error}", remedy="take it as the publishers made it") from error


def _rows(path: Path, columns: int) -> Iterator[list[str]]:
    for number, line in enumerate(read_text(path, DataSetError).splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != columns:
            raise DataSetError(
                f"{path}, line {number}: {line:.80} has {len(words)} columns; expected are {columns}",
                remedy="take it as the publishers made it",
            )
        yield words
