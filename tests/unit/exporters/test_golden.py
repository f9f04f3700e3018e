"""The golden frame and what the reference makes of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from edgedepth.core.tolerances import tolerance_for
from edgedepth.exporters.golden import GOLDEN_FILE, draw_golden_frame, write_golden
from edgedepth.models.loading import LoadedModel


def test_the_frame_is_the_same_on_every_machine() -> None:
    frame = draw_golden_frame()
    assert (frame.shape, frame.dtype) == ((96, 128, 3), np.uint8)
    # Of this project's own drawing; integer arithmetic only, so no machine may give another.
    assert (
        hashlib.sha256(frame.tobytes()).hexdigest()
        == "4757a6f873a9a6efcae050ce02c56dd926535eb99e0d2d27a26a7e185a542ca8"
    )


def test_every_part_of_the_frame_has_texture() -> None:
    frame = draw_golden_frame().astype(float)
    blocks = frame.reshape(6, 16, 8, 16, 3).std(axis=(1, 3))
    assert blocks.min() > 2  # grey levels; a flat part would hide a tile that is out of place
    assert frame.std() > 40


def test_golden_depth_is_that_of_the_eager_whole(tiny: LoadedModel, tmp_path: Path) -> None:
    golden = write_golden(tiny, tmp_path, tile_batch=4, precision="fp16")
    assert golden.path == GOLDEN_FILE
    assert golden.max_abs_rel == tolerance_for("fp16").abs_rel
    with np.load(tmp_path / GOLDEN_FILE) as archive:
        frame, depth, fov_deg = archive["frame_rgb"], archive["depth"], archive["fov_deg"]
    image = torch.from_numpy(frame).permute(2, 0, 1).float() / 255 * 2 - 1
    expected = tiny.module.infer(image)
    # Tiles in batches of 4 instead of 35 and another resize: float32 sums in another order.
    np.testing.assert_allclose(depth, expected.depth[0, 0].numpy(), rtol=1e-4)
    assert abs(float(fov_deg) - float(expected.fov_deg)) < 1e-3
    assert (depth.dtype, fov_deg.dtype, depth.shape) == (np.float32, np.float32, (96, 128))
    assert depth.std() / depth.mean() > 0.01  # a flat depth would be reproduced by anything
