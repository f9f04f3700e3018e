"""Pictures of a run: the worst are kept, and entries share what they compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgedepth.report.run_pictures import RunPictures

DEPTH = np.full((6, 8), 2.0, np.float32)
RGB = np.zeros((6, 8, 3), np.float32)


def add(pictures: RunPictures, name: str, abs_rel: float) -> None:
    pictures.add(name, RGB, DEPTH, DEPTH, abs_rel=abs_rel, reference_fov_deg=60.0)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_worst_are_kept_and_nothing_is_left_of_the_others(tmp_path: Path) -> None:
    pictures = RunPictures(tmp_path, "onnx fp16", 1)
    for name, abs_rel in (("mild.png", 0.1), ("bad.png", 0.3), ("fair.png", 0.2)):
        add(pictures, name, abs_rel)
    [kept] = pictures.pictures
    assert (kept.name, kept.abs_rel) == ("bad.png", 0.3)
    assert files(tmp_path) == {kept.rgb, kept.reference, kept.candidate}


def test_what_another_entry_names_stays_when_one_drops_it(tmp_path: Path) -> None:
    first, second = RunPictures(tmp_path, "onnx fp16", 1), RunPictures(tmp_path, "onnx int8", 1)
    add(first, "a.png", 0.3)
    add(first, "b.png", 0.1)
    add(second, "a.png", 0.1)
    add(second, "b.png", 0.3)
    named = [file for picture in (*first.pictures, *second.pictures) for file in (picture.rgb, picture.reference)]
    assert set(named) <= files(tmp_path)
    assert first.pictures[0].name == "a.png"
