"""Rendered scenes on disk, so that training reads a picture instead of rendering it each time.

Three arrays and a settings file in a folder, read as memory maps. An interrupted build goes on where it stopped.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import OutputError, TrainingError
from edgedepth.core.files import write_file
from edgedepth.core.progress import Announce, Progress, silent, unheard
from edgedepth.training.scenes import HELD_OUT_SEED, render_scene

__all__ = ["CacheSettings", "SceneCache", "build_scene_cache", "squash_of"]

_SQUASHES = (4 / 3, 4 / 3, 4 / 3, 1.0, 3 / 2, 16 / 9, 3 / 4)
"""Aspect ratios of the frames that a square input is squeezed from: mostly 4:3."""

_SCENES_VERSION = 1
"""Raised when the same seed renders another picture."""

_SHARE = 32
"""Scenes that a worker renders at a time, at most."""

_LAST = "focal_over_width.npy"
"""Of an array's files the one that says which scenes are whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """What a cache holds.

    Args:
        first_seed: of the scenes, which are numbered from it.
        count: of scenes.
        side: of the square pictures in pixels.
        place: of all scenes, one of PLACES; None: each seed draws its own.
    """

    first_seed: int
    count: int
    side: int
    scenes_version: int = _SCENES_VERSION
    place: str | None = None

    def __post_init__(self) -> None:
        """Keep the held-out scenes held out.

        Raises:
            TrainingError: a seed from HELD_OUT_SEED on, or no scene.
        """
        if self.count < 1 or self.first_seed < 0 or self.first_seed + self.count > HELD_OUT_SEED:
            raise TrainingError(
                f"{self.count} scenes from seed {self.first_seed} are not training scenes",
                remedy=f"train on seeds in 0..{HELD_OUT_SEED - 1}; the others are for evaluation",
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneCache:
    """Opened arrays of a cache; index i is seed first_seed + i.

    Args:
        settings: what it holds.
        images: (N, S, S, 3) uint8 RGB, squeezed to squares.
        inverse_depth: (N, S, S) float16 in 1/m; 0 in the sky.
        focal_over_width: (N,) float32; 0 where the scene is not rendered yet.
    """

    settings: CacheSettings
    images: npt.NDArray[np.uint8]
    inverse_depth: npt.NDArray[np.float16]
    focal_over_width: npt.NDArray[np.float32]

    @property
    def rendered(self) -> npt.NDArray[np.int64]:
        """Indices of the scenes that are there."""
        return np.flatnonzero(self.focal_over_width > 0)


def _files(settings: CacheSettings) -> dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]]:
    """Shape and dtype of each file; the last one says which scenes are whole."""
    n, side = settings.count, settings.side
    return {
        "images.npy": ((n, side, side, 3), np.dtype(np.uint8)),
        "inverse_depth.npy": ((n, side, side), np.dtype(np.float16)),
        _LAST: ((n,), np.dtype(np.float32)),
    }


def build_scene_cache(
    folder: Path,
    settings: CacheSettings,
    *,
    first: int | None = None,
    workers: int = 1,
    announce: Announce = unheard,
    progress: Progress = silent,
) -> SceneCache:
    """Render what a cache does not hold yet, and open it.

    Args:
        folder: of the cache; made if it is not there.
        settings: what it shall hold.
        first: so many scenes are enough for now; None: all.
        workers: processes that render.
        announce: is told what is being done.
        progress: is told how many scenes are rendered.

    Raises:
        TrainingError: the folder holds another cache, a damaged one or something else.
        OutputError: the disk is full or can't be written; the scenes so far are kept.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _claim(folder, settings)
        if not (folder / _LAST).exists():
            _make_arrays(folder, settings)
        missing = np.flatnonzero(_open(folder, settings).focal_over_width[:first] == 0).tolist()
        if missing:
            announce(f"rendering {len(missing)} scenes of {settings.side}x{settings.side} into {folder}")
            _render(folder, settings, missing, workers, progress)
    except OSError as problem:
        raise OutputError(
            f"scenes can't be kept in {folder}: {problem.strerror or problem}",
            remedy="free the disk or name another folder with --cache",
        ) from problem
    return _open(folder, settings)


def _claim(folder: Path, settings: CacheSettings) -> None:
    file = folder / "settings.json"
    wanted = {name: value for name, value in asdict(settings).items() if value is not None}
    if not file.exists():
        if any(folder.iterdir()):
            raise TrainingError(
                f"{folder} is neither empty nor a scene cache", remedy="name another folder with --cache"
            )
        write_file(file, json.dumps(wanted).encode())
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise _damaged(folder, problem) from problem
    if held != wanted:
        raise TrainingError(
            f"{folder} holds other scenes: {held}, wanted {wanted}",
            remedy="delete the folder, or name another with --cache",
        )


def _damaged(folder: Path, problem: Exception) -> TrainingError:
    return TrainingError(f"{folder} is a damaged scene cache: {problem}", remedy=f"delete {folder} and start again")


def _make_arrays(folder: Path, settings: CacheSettings) -> None:
    """Empty arrays; they take up the disk as they are filled, so room for all of it is looked for first."""
    files = _files(settings)
    needed = sum(math.prod(shape) * dtype.itemsize for shape, dtype in files.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutputError(
            f"{settings.count} scenes of {settings.side}x{settings.side} take {needed / 1e9:.3g} GB, "
            f"and {folder} has {free / 1e9:.3g} GB left",
            remedy="free the disk or name another folder with --cache",
        )
    for name, (shape, dtype) in files.items():
        np.lib.format.open_memmap(folder / name, mode="w+", dtype=dtype, shape=shape)


def _open(folder: Path, settings: CacheSettings) -> SceneCache:
    arrays = []
    for name, (shape, dtype) in _files(settings).items():
        try:
            array = np.lib.format.open_memmap(folder / name, mode="r")
        except (FileNotFoundError, ValueError) as problem:
            raise _damaged(folder, problem) from problem
        if array.shape != shape or array.dtype != dtype:
            raise _damaged(folder, ValueError(f"{name} is {array.shape} {array.dtype}, not {shape} {dtype}"))
        arrays.append(array)
    return SceneCache(settings=settings, images=arrays[0], inverse_depth=arrays[1], focal_over_width=arrays[2])


def _render(folder: Path, settings: CacheSettings, missing: list[int], workers: int, progress: Progress) -> None:
    size = min(_SHARE, math.ceil(len(missing) / workers))
    shares = [missing[start : start + size] for start in range(0, len(missing), size)]
    done = 0

    def tell(scenes: int) -> None:
        nonlocal done
        done += scenes
        progress(f"scenes of {settings.side}x{settings.side}", done, len(missing))

    tell(0)
    if workers == 1:
        for share in shares:
            _render_share(folder, settings, share)
            tell(len(share))
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        rendered = {pool.submit(_render_share, folder, settings, share): len(share) for share in shares}
        for future in as_completed(rendered):
            future.result()
            tell(rendered[future])
    except BrokenProcessPool as problem:
        raise TrainingError(
            "a process that renders scenes was killed", remedy="start again, with fewer --workers if memory is short"
        ) from problem
    finally:
        pool.shutdown(cancel_futures=True)


def _render_share(folder: Path, settings: CacheSettings, indices: Sequence[int]) -> None:
    for index in indices:
        seed = settings.first_seed + index
        scene = render_scene(
            seed, width=settings.side, height=settings.side, squash=squash_of(seed), place=settings.place
        )
        entries = (
            scene.image.tobytes(),
            (1.0 / scene.depth_m).astype(np.float16).tobytes(),
            np.float32(scene.focal_px / settings.side).tobytes(),
        )
        for name, entry in zip(_files(settings), entries, strict=True):
            _store(folder / name, index - settings.count, entry)


def squash_of(seed: int) -> float:
    """Aspect ratio of the frame that a cache squeezes a scene's square from."""
    return Random(seed + 1).choice(_SQUASHES)  # noqa: S311  (an aspect ratio is no secret)


def _store(file: Path, from_end: int, entry: bytes) -> None:
    """Put an entry into an array's file: the entries end where the file ends, after npy's header.

    Written, not mapped: on a full disk a write raises, and a memory map's page kills its process.
    """
    with file.open("r+b") as array:
        array.seek(from_end * len(entry), os.SEEK_END)
        array.write(entry)
