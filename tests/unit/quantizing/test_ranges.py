"""Ranges of activations: right, streamed, resumable, and refused where they aren't numbers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedepth.calibration import ranges as ranges_module
from edgedepth.calibration.ranges import METHODS, channel_peaks, collect_ranges
from edgedepth.core.errors import QuantizationError

from . import graphs

TENSORS = ("normed", "active", "x")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return graphs.block_stage(tmp_path / "source" / "stage.onnx")


def test_minmax_is_the_least_and_the_most_that_was_seen(source: Path, tmp_path: Path) -> None:
    feeds = graphs.inputs(4)
    recording = graphs.recorded(tmp_path / "recording", feeds)
    found = collect_ranges(source, TENSORS, recording, "stage", method="minmax", state=tmp_path / "state.npz")
    seen = np.stack([one["x"] for one in feeds])
    assert found["x"] == (float(seen.min()), float(seen.max()))
    path = source.with_name("observed.onnx")
    assert not path.exists()
    assert found["active"][0] == 0  # behind a Relu


def test_thresholds_lie_within_what_was_seen(source: Path, tmp_path: Path) -> None:
    recording = graphs.recorded(tmp_path / "recording", graphs.inputs(4))
    found = {
        method: collect_ranges(source, ["normed"], recording, "stage", method=method, state=tmp_path / f"{method}.npz")
        for method in METHODS
    }
    largest = max(map(abs, found["minmax"]["normed"]))
    for method in ("entropy", "percentile"):
        low, high = found[method]["normed"]
        # Half a bin of 128 may stick out.
        assert 0 < max(-low, high) <= largest * (1 + 1 / 128)


@pytest.mark.parametrize("method", METHODS)
def test_groups_and_interruptions_change_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    recording = graphs.recorded(tmp_path / "recording", graphs.inputs(4))

    def collect(state: str, **options: Any) -> Any:
        return collect_ranges(source, TENSORS, recording, "stage", method=method, state=tmp_path / state, **options)

    expected = collect("whole.npz")
    monkeypatch.setattr(ranges_module, "GROUP_BYTES", 1)  # each tensor by itself

    def interrupt(step: str, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect("parts.npz", progress=interrupt)
    # What lies behind is not looked at again: the first group's four frames.
    begun: list[int] = []
    found = collect("parts.npz", progress=lambda step, done, total: begun.append(done))
    assert found == expected
    assert begun == list(range(12))


def test_a_resumed_run_reads_no_frame_twice(source: Path, tmp_path: Path) -> None:
    recording = graphs.recorded(tmp_path / "recording", graphs.inputs(3))

    def interrupt(step: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    state = tmp_path / "state.npz"
    with pytest.raises(KeyboardInterrupt):
        collect_ranges(source, TENSORS, recording, "stage", method="minmax", state=state, progress=interrupt)
    for frame in (0, 1):
        shutil.rmtree(tmp_path / "recording" / f"frame-0000{frame}")
    found = collect_ranges(source, TENSORS, recording, "stage", method="minmax", state=state)
    assert found["x"][1] >= max(float(one["x"].max()) for one in graphs.inputs(3))


def test_what_is_not_finite_is_named(tmp_path: Path) -> None:
    source = graphs.block_stage(tmp_path / "source" / "stage.onnx", divide=True)
    feeds = graphs.inputs(2)
    feeds[1]["x"][0, 0, 0] = 0
    recording = graphs.recorded(tmp_path / "recording", feeds)
    with pytest.raises(QuantizationError, match=r"activation normed is not finite on frame 2"):
        collect_ranges(source, ["normed"], recording, "stage", method="minmax", state=tmp_path / "state.npz")


def test_peaks_of_channels(source: Path, tmp_path: Path) -> None:
    feeds = graphs.inputs(3)
    recording = graphs.recorded(tmp_path / "recording", feeds)
    peaks = channel_peaks(source, ["x"], recording, "stage", state=tmp_path / "state.npz")
    expected = np.abs(np.concatenate([one["x"] for one in feeds])).max(axis=(0, 1))
    np.testing.assert_array_equal(peaks["x"], expected)
