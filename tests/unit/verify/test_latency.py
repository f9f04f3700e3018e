from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedepth.verify.latency import Latency, interleaved, matmul_rate, peak_rss_bytes, timed

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


def test_median_and_spread_by_hand():
    latency = Latency(samples_s=(2.0, 1.0, 3.0, 100.0, 2.0))
    assert latency.median_s == 2.0
    # The 10 and 90 % points of five samples lie 0.4 of the way from the outer ones to their neighbours.
    assert latency.spread == pytest.approx(((3.0 + 0.6 * 97) - (1.0 + 0.4)) / 2 / 2)


@given(st.lists(st.floats(1e-3, 10), min_size=1), st.floats(0.1, 10))
def test_the_spread_has_no_unit(samples, unit):
    scaled = Latency(samples_s=tuple(unit * sample for sample in samples))
    assert scaled.spread == pytest.approx(Latency(samples_s=tuple(samples)).spread, abs=1e-9)
    assert scaled.spread >= 0


def test_warm_ups_are_run_and_not_timed():
    slow = iter([0.2, 0.0, 0.0, 0.0])
    latency = timed(lambda: time.sleep(next(slow)), warmups=1, runs=3)
    assert len(latency.samples_s) == 3
    assert max(latency.samples_s) < 0.2


def test_things_take_turns():
    calls: list[str] = []
    latencies = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, warmups=1, rounds=2)
    assert calls == ["a", "b"] * 3
    assert {name: len(latency.samples_s) for name, latency in latencies.items()} == {"a": 2, "b": 2}


def test_peak_memory_sees_what_was_held_and_let_go():
    before = peak_rss_bytes()
    held = np.ones(200_000_000, np.uint8)
    assert held.any()
    del held
    assert peak_rss_bytes() >= max(before, 200_000_000)


@pytest.mark.parametrize("dtype", ["fp32", "bf16", "int8"])
def test_a_rate_of_products(dtype):
    assert matmul_rate(dtype, [(32, 64, 128)], runs=2) > 0


@pytest.fixture(scope="module")
def mini_ratios() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mini_ratios", BENCHMARKS / "mini_ratios.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_ratios_are_of_the_same_round(mini_ratios: ModuleType):
    """A neighbour that doubles every time of the second round changes no ratio."""
    samples = {mini_ratios.EAGER: (1.0, 2.0, 1.0), "onnx fp32": (0.5, 1.0, 0.6)}
    latencies = {name: Latency(samples_s=values) for name, values in samples.items()}
    assert mini_ratios.ratios(latencies) == {mini_ratios.EAGER: 1.0, "onnx fp32": 0.5}


def test_a_ratio_that_grew_is_told(mini_ratios: ModuleType):
    before = {"onnx fp32": 0.5, "openvino bf16": 0.2}
    assert mini_ratios.grown({"onnx fp32": 0.6, "new": 9.0}, before, 1.25) == []
    (told,) = mini_ratios.grown({"onnx fp32": 0.7, "openvino bf16": 0.2}, before, 1.25)
    assert told == "onnx fp32: 0.700 of the reference, 0.500 before"
