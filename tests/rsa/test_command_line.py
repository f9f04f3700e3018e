"""edgedepth infer with captions, as a user calls it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgedepth.cli import main
from edgedepth.core.bundle import Bundle

from .conftest import Frame

Infer = Callable[..., tuple[int, str, str]]


@pytest.fixture
def infer(bundle: Bundle, pictures: list[Frame], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Infer:
    cv2.imwrite(str(tmp_path / "photo.png"), pictures[0])

    def run(*words: str) -> tuple[int, str, str]:
        call = ["infer", str(tmp_path / "photo.png"), "--bundle", str(bundle.path), "--out", str(tmp_path / "out")]
        code = main([*call, *words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def facts_of(out: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(out)["images"][0]
    return facts


def test_a_caption(infer: Infer, tmp_path: Path) -> None:
    code, out, err = infer("--caption", "An office with two desks", "--json")
    facts = facts_of(out)
    assert code == 0
    assert facts["kind"] == "metric"
    assert facts["scale_shift"]["captions"] == ["An office with two desks"]
    assert "scale" in err
    png = cv2.imread(str(tmp_path / "out" / "photo_depth.png"), cv2.IMREAD_UNCHANGED)
    assert png.dtype == np.uint16
    assert abs(np.median(png) / 1000 - facts["depth_m"]["median"]) < 0.002


def test_several_captions_tell_their_spread(infer: Infer) -> None:
    code, _, err = infer("--caption", "a room", "--caption", "a street", "--caption", "a lamp")
    assert code == 0
    assert "medians of 3 captions" in err


def test_detections(infer: Infer) -> None:
    code, out, _ = infer("--detections", "chair=2,desk", "--json")
    assert code == 0
    assert facts_of(out)["scale_shift"]["captions"] == ["An image with 2 chairs, desk."]


def test_a_pinned_scale(infer: Infer) -> None:
    code, out, _ = infer("--scale-shift", "0.05,0.2", "--json")
    assert code == 0
    assert facts_of(out)["scale_shift"]["scale"] == 0.05


def test_relative_depth_writes_no_millimetres(infer: Infer, tmp_path: Path) -> None:
    code, out, _ = infer("--relative", "--npy", "--json")
    assert code == 0
    assert set(facts_of(out)["files"]) == {"color", "depth_npy_no_unit"}
    assert not (tmp_path / "out" / "photo_depth.png").exists()
    assert infer("--relative")[0] == 0  # the table, too


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "takes its scale from words"),
        (("--caption", ""), "empty"),
        (("--caption", "word " * 10_000), "50,000 characters"),
        (("--detections", "chair=-1"), "counts are 1 and more"),
        (("--detections", "chair=many"), "whole number"),
        (("--scale-shift", "0.1"), "two numbers"),
        (("--scale-shift", "a,b"), "two numbers"),
        (("--scale-shift=-1,2",), "positive"),
    ],
)
def test_what_is_refused(infer: Infer, words: tuple[str, ...], told: str) -> None:
    code, _, err = infer(*words)
    assert code == 2
    assert told in err
    assert "Traceback" not in err


def test_models_tells_what_the_released_heads_say_of_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "says of itself" not in capsys.readouterr().out
    assert main(["models", "--verbose"]) == 0
    shown = capsys.readouterr().out
    assert "rsa-depth-anything: its head says of itself, on nyu: abs_rel 0.1418" in shown
