"""Smoothing: the same function in fp32, and outliers that INT8 no longer suffers from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.calibration.ranges import channel_peaks
from edgedepth.calibration.smooth import find_pairs, smooth, smoothing_scale
from edgedepth.core.errors import OptionError

from . import graphs


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_fp32_stage_stays_equal(tmp_path: Path, alpha: float) -> None:
    values = graphs.weights()
    values["vit.blocks.0.norm1.weight"][3] = 100  # an outlier, as transformers have them
    source = graphs.block_stage(tmp_path / "source" / "stage.onnx", values=values)
    recording = graphs.recorded(tmp_path / "recording", graphs.inputs(3))
    (pair,) = find_pairs(source)
    assert (pair.activation, pair.weights) == ("normed", ("val_1",))
    peaks = channel_peaks(source, ["normed"], recording, "stage", state=tmp_path / "state.npz")
    out = tmp_path / "smooth.onnx"
    smooth(source, out, peaks, alpha=alpha)
    for feeds in graphs.inputs(2, seed=5):
        before, after = graphs.run(source, feeds)[0], graphs.run(out, feeds)[0]
        assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()


def test_a_real_encoder_stays_equal(tmp_path: Path, mini_bundle: Path) -> None:
    source = tmp_path / "image_encoder.onnx"
    for suffix in ("", ".data"):
        Path(f"{source}{suffix}").write_bytes(
            (mini_bundle / "image_encoder" / f"image_encoder.onnx{suffix}").read_bytes()
        )
    rng = np.random.default_rng(0)
    feeds = [{"image": rng.uniform(-1, 1, (1, 3, 128, 128)).astype(np.float32)} for _ in range(2)]
    recording = graphs.recorded(tmp_path / "recording", feeds, "image_encoder")
    pairs = find_pairs(source)
    assert len(pairs) == 12  # two LayerNorms in each of six blocks; the last one feeds no linear layer
    names = [pair.activation for pair in pairs]
    peaks = channel_peaks(source, names, recording, "image_encoder", state=tmp_path / "state.npz")
    out = tmp_path / "smooth.onnx"
    smooth(source, out, peaks)
    before, after = graphs.run(source, feeds[0])[0], graphs.run(out, feeds[0])[0]
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()


@given(st.lists(st.floats(0, 1e4, width=32), min_size=1, max_size=8), st.floats(0, 1), st.floats(0, 1e3, width=32))
def test_scales_are_usable(peaks: list[float], alpha: float, weight: float) -> None:
    activations = np.array(peaks, np.float32)
    scale = smoothing_scale(activations, np.full(len(peaks), weight, np.float32), alpha)
    assert scale.dtype == np.float32
    assert (scale > 0).all()
    assert np.isfinite(scale).all()


def test_half_and_half_gives_both_sides_the_same_peak() -> None:
    """With alpha 0.5 activation / s and weight * s are alike: sqrt(activation * weight)."""
    activations, weights = np.array([100.0, 1.0], np.float32), np.array([1.0, 4.0], np.float32)
    scale = smoothing_scale(activations, weights, 0.5)
    np.testing.assert_allclose(activations / scale, [10, 2], rtol=1e-6)
    np.testing.assert_allclose(weights * scale, [10, 2], rtol=1e-6)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_what_is_no_share_is_refused(tmp_path: Path, alpha: float) -> None:
    with pytest.raises(OptionError, match="0 to 1"):
        smooth(tmp_path / "none.onnx", tmp_path / "out.onnx", {}, alpha=alpha)
