"""Compared pictures as a page shows them: each photograph once, and what every entry made of it beside it.

Depths of one photograph have one range of colours, errors of the whole report another: what looks alike is alike.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgedepth.coloring import color_range
from edgedepth.core.errors import RunError
from edgedepth.core.progress import Progress, silent
from edgedepth.core.runs import Picture
from edgedepth.core.session import Array
from edgedepth.report.clouds import CloudRange, cloud_range, depth_codes
from edgedepth.report.gathering import Row
from edgedepth.report.panels import (
    depth_edges,
    depth_panel,
    edge_panel,
    error_limit,
    error_panel,
    error_size,
    photo_panel,
    signed_error,
)
from edgedepth.report.run_files import read_depth, read_rgb

__all__ = ["Cloud", "Comparison", "Strip", "Strips", "draw_strips"]

REFERENCE_EDGES, CANDIDATE_EDGES = (94, 234, 212), (253, 164, 55)
"""Teal and orange: apart for every kind of colour vision, and on a dark photograph."""

_FULL_SIDE, _LEAST_SIDE, _FULL_COUNT = 480, 160, 36  # so many pictures of full size are some 3 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """What a browser needs to draw a depth map as points.

    Args:
        codes: a data URI, see clouds.py.
        width: of the grid.
        height: of the grid.
    """

    codes: str
    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One entry on one photograph; pictures are data URIs.

    Args:
        row: the entry's number in the report.
    """

    row: int
    abs_rel: float | None
    depth: str
    error: str
    edges: str
    cloud: Cloud | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One photograph and all that was made of it; pictures are data URIs.

    Args:
        near_m: of the depths' warmest colour.
        far_m: of the coldest.
        focal_px: for the cloud's grid; None where nothing tells it, and then there is no cloud.
        drawn: depths of the cloud.
    """

    name: str
    width: int
    height: int
    photo: str
    backdrop: str
    reference: str
    reference_edges: str
    near_m: float
    far_m: float
    focal_px: float | None
    drawn: CloudRange | None
    reference_cloud: Cloud | None
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Strips:
    """All pictures of a report.

    Args:
        strips: photographs, the one with the largest error first.
        limit: relative error of the last colour, on all of them.
        left_out: photographs that there was no room for.
    """

    strips: tuple[Strip, ...]
    limit: float
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """A photograph with the entries that were compared on it: row number, folder, picture."""

    seen: tuple[tuple[int, Path, Picture], ...]

    @property
    def worst(self) -> float:
        errors = [picture.abs_rel for _, _, picture in self.seen]
        return max((math.inf if error is None else error for error in errors), default=0.0)


def draw_strips(rows: Sequence[Row], *, most: int, progress: Progress = silent) -> Strips:
    """Read and draw the pictures of all rows.

    Args:
        rows: of the report.
        most: photographs to show; those with the largest errors are.
        progress: told of each photograph.

    Raises:
        RunError: a file that leads out of its run, is too large, can't be read, or doesn't fit the others.
    """
    groups = sorted(_grouped(rows), key=lambda group: group.worst, reverse=True)
    shown = groups[:most]
    count = sum(len(group.seen) for group in shown)
    side = max(_LEAST_SIDE, min(_FULL_SIDE, round(_FULL_SIDE * math.sqrt(_FULL_COUNT / max(1, count)))))
    limit = error_limit([error_size(error) for group in shown for error in _errors(group)])
    strips = []
    for number, group in enumerate(shown):
        progress(f"drawing {group.seen[0][2].name}", number, len(shown))
        strips.append(_strip(group, limit, side))
    return Strips(strips=tuple(strips), limit=limit, left_out=len(groups) - len(shown))


def _grouped(rows: Sequence[Row]) -> list[_Shown]:
    """Photographs, each with its entries. Two are one if their files are: names of different cameras' files repeat."""
    groups: dict[tuple[str, str, str], list[tuple[int, Path, Picture]]] = {}
    for number, row in enumerate(rows):
        folder = row.pictures_folder
        for picture in row.entry.pictures:
            key = (str(folder), picture.rgb, picture.reference)
            groups.setdefault(key, []).append((number, folder, picture))
    return [_Shown(seen=tuple(seen)) for seen in groups.values()]


def _errors(group: _Shown) -> Iterator[Array]:
    _, folder, first = group.seen[0]
    reference = read_depth(folder, first.reference)
    for _, _, picture in group.seen:
        yield signed_error(_candidate(folder, picture, reference), reference)


def _candidate(folder: Path, picture: Picture, reference: Array) -> Array:
    depth = read_depth(folder, picture.candidate)
    if depth.shape != reference.shape:
        raise RunError(
            f"{picture.candidate!r} in {folder} has the shape {depth.shape}; its reference has {reference.shape}",
            remedy="measure again, or leave pictures out: edgedepth report --pictures 0",
        )
    return depth


def _strip(group: _Shown, limit: float, side: int) -> Strip:
    _, folder, first = group.seen[0]
    rgb, reference = read_rgb(folder, first.rgb), read_depth(folder, first.reference)
    near_m, far_m = color_range(reference)
    drawn = None if first.focal_px is None or not first.focal_px > 0 else cloud_range(reference)
    cloud = _cloud(reference, drawn, side)
    comparisons = []
    for row, _, picture in group.seen:
        depth = _candidate(folder, picture, reference)
        comparisons.append(
            Comparison(
                row=row,
                abs_rel=picture.abs_rel,
                depth=_uri("webp", depth_panel(depth, near_m, far_m, side)),
                error=_uri("webp", error_panel(signed_error(depth, reference), limit, side)),
                edges=_uri("webp", edge_panel(depth_edges(depth), CANDIDATE_EDGES, side)),
                cloud=_cloud(depth, drawn, side),
            )
        )
    grey = np.repeat(rgb.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8) // 3
    return Strip(
        name=first.name,
        width=reference.shape[1],
        height=reference.shape[0],
        photo=_uri("jpeg", photo_panel(rgb, side * 4 // 3)),
        backdrop=_uri("jpeg", photo_panel(grey, side)),
        reference=_uri("webp", depth_panel(reference, near_m, far_m, side)),
        reference_edges=_uri("webp", edge_panel(depth_edges(reference), REFERENCE_EDGES, side)),
        near_m=near_m,
        far_m=far_m,
        focal_px=first.focal_px * cloud.width / reference.shape[1] if first.focal_px and cloud else None,
        drawn=drawn,
        reference_cloud=cloud,
        comparisons=tuple(comparisons),
    )


def _cloud(depth: Array, drawn: CloudRange | None, side: int) -> Cloud | None:
    if drawn is None:
        return None
    codes, (width, height) = depth_codes(depth, drawn, side // 2)
    return Cloud(codes=_uri("webp", codes), width=width, height=height)


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
