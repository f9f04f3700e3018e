"""A fault that a wide tolerance could hide, planted into the trained mini: rows of more than 8 bits catch it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgedepth import EdgeDepth
from edgedepth.core.tolerances import TOLERANCES
from edgedepth.programs import tile_encoder
from edgedepth.sample_photos import sample_photos
from edgedepth.verify.depth_errors import compare_depth

BOXES = tile_encoder.tile_boxes


@pytest.mark.parametrize(("scale", "first", "second"), [(1, 0, 1), (1, 11, 12), (1, 12, 17), (2, 3, 4)])
def test_two_tiles_that_change_places_fail_at_every_precision_but_8_bits(
    monkeypatch: pytest.MonkeyPatch, scale: int, first: int, second: int
) -> None:
    def swapped(tiling: Any, level: Any) -> list[Any]:
        boxes = list(BOXES(tiling, level))
        if level.scale == scale:
            one, other = boxes[first], boxes[second]
            boxes[first] = replace(one, row=other.row, column=other.column)
            boxes[second] = replace(other, row=one.row, column=one.column)
        return boxes

    photo = sample_photos()[0].pixels_rgb  # of the three the one that shows the first swap least, by 6.2e-2
    with EdgeDepth("depth-pro-mini", backend="torch", color="rgb") as model:
        right = model.infer(photo).depth
    monkeypatch.setattr(tile_encoder, "tile_boxes", swapped)
    with EdgeDepth("depth-pro-mini", backend="torch", color="rgb") as model:
        wrong = model.infer(photo).depth
    # Rounding to INT8 or FP8 costs as much in the worst pixel: their rows can't tell. The same code cuts their tiles.
    rows = [tolerance.max_rel for precision, tolerance in TOLERANCES.items() if precision not in ("int8", "fp8")]
    assert compare_depth(wrong, right).max_rel > max(rows)
