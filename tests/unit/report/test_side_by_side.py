"""Picture, true depth and predicted depth side by side, in one range of colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from edgedepth.core.errors import OutputError
from edgedepth.report.side_by_side import save_beside_truth, save_overview
from edgedepth.result import DepthResult

HEIGHT, WIDTH = 90, 120
PICTURE = np.random.default_rng(2).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
DEPTH = np.broadcast_to(np.linspace(1, 8, WIDTH, dtype=np.float32), (HEIGHT, WIDTH)).copy()


def result_of(depth: npt.NDArray[np.float32], *, trained: bool = True) -> DepthResult:
    fields: dict[str, Any] = {"focal_px": 100.0, "fov_deg": 60.0, "focal_source": "predicted", "kind": "metric"}
    fields |= {"model": "mini", "trained": trained, "backend": "onnx", "device": "cpu", "timings_ms": {}}
    return DepthResult(depth=depth, inverse_depth=1 / depth, **fields)


def panels(path: Path) -> list[npt.NDArray[np.uint8]]:
    written = cv2.imread(str(path))
    return [np.asarray(panel) for panel in np.split(written, 3, axis=1)]


def test_the_same_depth_gets_the_same_colours(tmp_path: Path) -> None:
    save_beside_truth(PICTURE, DEPTH, result_of(DEPTH), tmp_path / "a.png")
    picture, true, predicted = panels(tmp_path / "a.png")
    assert np.array_equal(picture[..., ::-1], PICTURE)
    assert np.array_equal(true[30:], predicted[30:])  # the words are in the upper third
    assert not np.array_equal(true[:30], predicted[:30])


def test_another_scale_shows_in_colours_and_keeps_its_shape(tmp_path: Path) -> None:
    save_beside_truth(PICTURE, DEPTH, result_of(DEPTH * 10), tmp_path / "a.png")
    _, true, predicted = (panel[60].astype(int) for panel in panels(tmp_path / "a.png"))
    assert np.abs(true - predicted).sum(axis=-1).min() > 30
    assert all(len(np.unique(row, axis=0)) > 5 for row in (true, predicted))


def test_what_is_not_known_is_black(tmp_path: Path) -> None:
    known = DEPTH.copy()
    known[50:70] = 0
    save_beside_truth(PICTURE, known, result_of(DEPTH), tmp_path / "a.png")
    _, true, predicted = panels(tmp_path / "a.png")
    assert not true[50:70].any()
    assert predicted[50:70].any(axis=-1).all()


def test_untrained_is_said_in_the_picture(tmp_path: Path) -> None:
    for trained in (True, False):
        save_beside_truth(PICTURE, DEPTH, result_of(DEPTH, trained=trained), tmp_path / f"{trained}.png")
    told, untold = panels(tmp_path / "False.png")[2], panels(tmp_path / "True.png")[2]
    assert not np.array_equal(told, untold)


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    large = np.full((600, 1600), 3, np.float32)
    save_beside_truth(np.zeros((600, 1600, 3), np.uint8), large, result_of(large), tmp_path / "a.jpg")
    assert [panel.shape for panel in panels(tmp_path / "a.jpg")] == [(240, 640, 3)] * 3


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        save_beside_truth(PICTURE, DEPTH, result_of(DEPTH), tmp_path / "nowhere" / "a.jpg")


def test_an_overview_holds_every_frame_beside_its_depth_at_one_height(tmp_path: Path) -> None:
    tall = np.full((200, 100, 3), 90, np.uint8)
    depth = np.full((200, 100), 2.0, np.float32)
    save_overview([(PICTURE, result_of(DEPTH)), (tall, result_of(depth))], tmp_path / "a.png")
    written = cv2.imread(str(tmp_path / "a.png"))
    height = written.shape[0]
    wide, narrow = round(WIDTH * height / HEIGHT), round(100 * height / 200)
    assert written.shape[1] == 2 * wide + 2 * narrow
    assert (written[:, 2 * wide : 2 * wide + narrow] == 90).all()
