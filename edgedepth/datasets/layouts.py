"""The layouts of data sets that can be read, and how a folder's layout is found."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgedepth.core.errors import DataSetError, OptionError
from edgedepth.datasets import booster, diode, eth3d, ibims, kitti, middlebury, nyuv2, plain, sintel, sunrgbd, tum, void
from edgedepth.datasets.base import DataSet
from edgedepth.datasets.synthetic import SyntheticSet

__all__ = ["LAYOUTS", "Layout", "count_of", "open_dataset"]

_SYNTHETIC = "synthetic:"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a publisher lays a data set out.

    Args:
        name: for --layout.
        fits: whether a folder looks like it, by names alone.
        open_set: opens a folder as it; raises DataSetError.
    """

    name: str
    fits: Callable[[Path], bool]
    open_set: Callable[[Path], DataSet]


LAYOUTS = (
    Layout("plain", plain.fits, plain.open_set),
    Layout("nyuv2", nyuv2.fits, nyuv2.open_set),
    Layout("kitti", kitti.fits, kitti.open_set),
    Layout("tum", tum.fits, tum.open_set),
    Layout("middlebury", middlebury.fits, middlebury.open_set),
    Layout("sintel", sintel.fits, sintel.open_set),
    Layout("ibims", ibims.fits, ibims.open_set),
    Layout("diode", diode.fits, diode.open_set),
    Layout("booster", booster.fits, booster.open_set),
    Layout("eth3d", eth3d.fits, eth3d.open_set),
    Layout("void", void.fits, void.open_set),
    Layout("sunrgbd", sunrgbd.fits, sunrgbd.open_set),
)
_NAMES = ", ".join(layout.name for layout in LAYOUTS)


def open_dataset(description: str | os.PathLike[str], *, layout: str | None = None) -> DataSet:
    """Open a data set by what a user calls it.

    Args:
        description: a folder, or "synthetic:N" for N rendered scenes that were never trained on.
        layout: the name of the folder's layout, one of LAYOUTS; None: found by the folder's files.

    Raises:
        DataSetError: no such folder, a layout that can't be told, or a folder that isn't of it.
        OptionError: an unknown layout, or one given for rendered scenes.
        MissingExtraError: a package that reads the set's files isn't installed.
    """
    if layout is not None and layout not in {known.name for known in LAYOUTS}:
        raise OptionError(f"there is no layout {layout!r}; allowed are {_NAMES}", remedy="--layout plain, or none")
    text = os.fspath(description)
    if text.startswith(_SYNTHETIC):
        return _synthetic(text, layout)
    folder = Path(text)
    try:
        _check_is_folder(folder)
        return _chosen(folder, layout).open_set(folder)
    except OSError as error:
        raise DataSetError(
            f"{error.filename or folder} can't be looked into: {error.strerror}", remedy="check it and its permissions"
        ) from error


def _check_is_folder(folder: Path) -> None:
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "doesn't exist"
        raise DataSetError(
            f"{folder} {state}; allowed are a data set's folder and synthetic:N",
            remedy=f"check the path; the working folder is {Path.cwd()}",
        )


def _synthetic(text: str, layout: str | None) -> DataSet:
    if layout is not None:
        raise OptionError(f"{text} is rendered and has no layout; {layout} was asked for", remedy="leave --layout out")
    return SyntheticSet(count_of(text, _SYNTHETIC))


def count_of(text: str, prefix: str) -> int:
    """N of "synthetic:N" and its like.

    Raises:
        DataSetError: no number, or none that is allowed.
    """
    count = text.removeprefix(prefix)
    if not re.fullmatch(r"[1-9][0-9]{0,5}", count):
        raise DataSetError(
            f"{prefix}N needs a number of scenes; got {count!r}, allowed are 1 to 999999", remedy=f"{prefix}500"
        )
    return int(count)


def _chosen(folder: Path, name: str | None) -> Layout:
    candidates = [layout for layout in LAYOUTS if (layout.fits(folder) if name is None else layout.name == name)]
    if len(candidates) == 1:
        return candidates[0]
    fitting = ", ".join(layout.name for layout in candidates)
    raise DataSetError(
        f"{folder} fits {f'more than one layout: {fitting}' if fitting else 'no layout'}; known are {_NAMES} "
        "(docs/how-to/data-sets.md)",
        remedy=f"name the layout: --layout {candidates[0].name if candidates else 'plain'}",
    )
