"""A plain folder: pictures with their depth maps beside them.

The layout is edgedepth's own::

    NAME.jpg                 the picture, in any format that infer reads
    NAME.depth.png           16-bit grey, millimetres (or depth_scale metres a unit), 0: unknown
    NAME.depth.npy           instead: float metres, (H, W)
    NAME.mask.png            optional: 0 is background, everything else foreground
    NAME.json                optional: {"focal_px": 1450.0, "depth_scale": 0.001}
    intrinsics.json          optional, for all pictures: the same, and "metric": false if depth has no known scale
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import DataSetError, SampleError
from edgedepth.core.plain import from_plain
from edgedepth.datasets.base import DataSet, FrameSet, Sample, make_sample, unique_frames
from edgedepth.datasets.files import pictures_in, read_mask, read_npy, read_picture, read_png16, read_text

__all__ = ["fits", "open_set"]

_DEPTH_SUFFIXES = (".depth.png", ".depth.npy")
_MASK_SUFFIX = ".mask.png"
_COMMON = "intrinsics.json"


@dataclass(frozen=True, slots=True)
class _Camera:
    """What NAME.json and intrinsics.json may say.

    Args:
        focal_px: horizontal focal length in pixels of the picture.
        depth_scale: metres a unit of the depth PNG.
    """

    focal_px: float | None = None
    depth_scale: float = 0.001


@dataclass(frozen=True, slots=True)
class _Frame:
    folder: Path
    pictures: tuple[Path, ...]
    common: dict[str, Any]


def fits(folder: Path) -> bool:
    """Whether a depth map lies in the folder."""
    return bool(_depth_maps(folder))


def open_set(folder: Path) -> DataSet:
    """Every picture and every depth map is a sample; one without the other is refused when it is loaded.

    Raises:
        DataSetError: no depth map, or an intrinsics.json that isn't understood.
    """
    depths = _depth_maps(folder)
    if not depths:
        raise DataSetError(
            f"{folder} holds no depth maps; looked for were NAME.depth.png and NAME.depth.npy",
            remedy="put each picture's depth map beside it under the picture's name",
        )
    common = _read_json(folder / _COMMON, DataSetError)
    metric = common.pop("metric", True)
    if not isinstance(metric, bool):
        raise DataSetError(f"{folder / _COMMON}: metric is {metric!r}; allowed are true and false", remedy="mend it")
    _camera(common, folder / _COMMON, DataSetError)  # told here, not once a sample
    pictures: dict[str, list[Path]] = {Path(path.stem).stem: [] for path in depths}
    for path in pictures_in(folder):
        if not path.name.endswith((*_DEPTH_SUFFIXES, _MASK_SUFFIX)):
            pictures.setdefault(path.stem, []).append(path)
    found = ((name, _Frame(folder, tuple(pictures[name]), common)) for name in sorted(pictures))
    frames = unique_frames(found, source=str(folder), expected="pictures with depth maps")
    return FrameSet(name="plain", frames=frames, read=_read, metric=metric)


def _depth_maps(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith(_DEPTH_SUFFIXES) and path.name[0] != "."]


def _read(name: str, frame: _Frame) -> Sample:
    picture = _only(name, "picture", frame.pictures)
    depths = [frame.folder / f"{name}{suffix}" for suffix in _DEPTH_SUFFIXES]
    depth = _only(name, "depth map", tuple(path for path in depths if path.exists()))
    mask = frame.folder / f"{name}{_MASK_SUFFIX}"
    own = frame.folder / f"{name}.json"
    camera = _camera(frame.common | _read_json(own, SampleError), own, SampleError)
    return make_sample(
        name,
        image=read_picture(picture),
        depth_m=read_png16(depth, metres_per_unit=camera.depth_scale) if depth.suffix == ".png" else _metres(depth),
        focal_px=camera.focal_px,
        mask=read_mask(mask) if mask.exists() else None,
    )


def _only(name: str, what: str, paths: tuple[Path, ...]) -> Path:
    if len(paths) != 1:
        got = f"several, {', '.join(path.name for path in paths)}" if paths else "none"
        raise SampleError(f"{name} needs one {what} and has {got}", remedy="take out what is too much, add what isn't")
    return paths[0]


def _metres(path: Path) -> npt.NDArray[np.floating[Any]]:
    values = read_npy(path)
    if values.dtype.kind != "f":
        raise SampleError(
            f"{path} holds {values.dtype}; depth in .npy files is metres in floating point",
            remedy="divide it by its units a metre, or save millimetres as a 16-bit PNG",
        )
    return values


def _read_json(path: Path, error: type[DataSetError]) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file."""
    if not path.exists():
        return {}
    try:
        content = json.loads(read_text(path, error))
    except ValueError as reason:
        raise error(f"{path} is no JSON: {reason}", remedy="mend it, or take it out") from reason
    if not isinstance(content, dict):
        raise error(f"{path} holds no JSON object", remedy='write {"focal_px": 1450.0}')
    return content


def _camera(content: dict[str, Any], path: Path, error: type[DataSetError]) -> _Camera:
    try:
        camera = from_plain(_Camera, content, where=path.name)
    except ValueError as reason:
        raise error(
            f"{path} isn't understood: {reason}; allowed are focal_px (pixels) and depth_scale (metres a unit), and "
            "in intrinsics.json also metric",
            remedy="mend it",
        ) from reason
    if camera.depth_scale <= 0:
        raise error(f"{path}: depth_scale is {camera.depth_scale}; allowed are metres above 0", remedy="mend it")
    return camera
