"""A fault that a wide tolerance could hide, planted into the trained mini: every row catches it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgedepth import EdgeDepth
from edgedepth.core.tolerances import TOLERANCES
from edgedepth.programs import tile_encoder
from edgedepth.sample_photos import sample_photos
from edgedepth.verify.structure import lost_structure

BOXES = tile_encoder.tile_boxes


@pytest.mark.parametrize(("scale", "first", "second"), [(1, 0, 1), (1, 11, 12), (1, 12, 17), (2, 3, 4)])
def test_two_tiles_that_change_places_fail_at_every_precision(
    monkeypatch: pytest.MonkeyPatch, scale: int, first: int, second: int
) -> None:
    def swapped(tiling: Any, level: Any) -> list[Any]:
        boxes = list(BOXES(tiling, level))
        if level.scale == scale:
            one, other = boxes[first], boxes[second]
            boxes[first] = replace(one, row=other.row, column=other.column)
            boxes[second] = replace(other, row=one.row, column=one.column)
        return boxes

    photos = [photo.pixels_rgb for photo in sample_photos()]  # what verify takes where no pictures are named
    with EdgeDepth("depth-pro-mini", backend="torch", color="rgb") as model:
        right = [model.infer(photo) for photo in photos]
    monkeypatch.setattr(tile_encoder, "tile_boxes", swapped)
    with EdgeDepth("depth-pro-mini", backend="torch", color="rgb") as model:
        wrong = [model.infer(photo) for photo in photos]
    lost = max(lost_structure(one.depth, other.depth) for one, other in zip(wrong, right, strict=True))
    for tolerance in TOLERANCES.values():
        assert lost > tolerance.lost_structure
