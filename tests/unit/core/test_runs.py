"""Runs: what measuring commands keep and a report reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgedepth.core.errors import RunError
from edgedepth.core.runs import RUN_FILE, Entry, Picture, Quantiles, Run, Timing, read_run, write_run

FRAME = Quantiles(p50_ms=200.0, p90_ms=210.0, p99_ms=250.0, mean_ms=205.0)


def a_run() -> Run:
    timing = Timing(frame=FRAME, stages={"decoder": FRAME}, samples_ms=(200.0, 210.0), flops=4e9, ceiling_flops_s=4e10)
    picture = Picture(name="a.jpg", rgb="pictures/a.jpg", reference="pictures/a.npz", candidate="pictures/a.onnx.npz")
    entry = Entry(
        name="onnx fp32",
        model="depth-pro-mini",
        target="onnx",
        precision="fp32",
        status="passed",
        parity={"passed": True, "end_to_end": {"abs_rel": 1e-6, "fov_deg": None}, "failures": []},
        timing=timing,
        pictures=(picture,),
    )
    skipped = Entry(
        name="tensorrt fp16", model="m", target="tensorrt", precision="fp16", status="skipped", reason="no GPU"
    )
    return Run(
        kind="matrix",
        command="edgedepth matrix",
        created_utc="2026-11-22T00:00:00Z",
        machine={"cpu": "a"},
        versions={"numpy": "2"},
        entries=(entry, skipped),
    )


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    write_run(tmp_path, a_run())
    assert read_run(tmp_path) == a_run() == read_run(tmp_path / RUN_FILE)


def test_rates_follow_from_the_median() -> None:
    timing = a_run().entries[0].timing
    assert timing is not None
    assert timing.frames_per_second == 5.0
    assert timing.ceiling_fraction == pytest.approx(0.5)  # 4 GFLOP in 0.2 s is 20 GFLOP/s of 40


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not a run"),
        ("[]", "expected an object"),
        ('{"format": 9}', "format 9"),
        ('{"kind": "verify"}', "missing"),
    ],
)
def test_what_is_no_run_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / RUN_FILE).write_text(content)
    with pytest.raises(RunError, match=said):
        read_run(tmp_path)


def test_a_misspelt_field_is_refused_by_name(tmp_path: Path) -> None:
    write_run(tmp_path, a_run())
    data = json.loads((tmp_path / RUN_FILE).read_text())
    data["entries"][0]["status"] = "fine"
    (tmp_path / RUN_FILE).write_text(json.dumps(data))
    with pytest.raises(RunError, match=r"entries\[0\]\.status.*'fine'"):
        read_run(tmp_path)


def test_a_folder_without_a_run_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        read_run(tmp_path)
    assert "--out" in caught.value.remedy
