"""Core ML's session around its predictor, and what is decided without Core ML. The contract runs on the evaluator."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgedepth.core.errors import BundleTamperedError, DeviceError, OptionError, StageError
from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.core.targets import exists_on
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.coreml_devices import compute_units_for, in_words
from edgedepth.runtimes.coreml_placement import count_places
from edgedepth.runtimes.coreml_session import CoreMlSession, Predictor

STAGE = StageSpec(
    name="toy",
    inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 3, 2, 2)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 2)),),
)


class Given:
    """A predictor that gives what it was told to, and keeps what it was fed."""

    device = "given"

    def __init__(
        self,
        outputs: Mapping[str, Any] | Exception,
        *,
        stage: StageSpec = STAGE,
        pictures: frozenset[str] = frozenset(),
    ) -> None:
        self.stage = stage
        self.pictures = pictures
        self.fed: dict[str, Any] = {}
        self._outputs = outputs

    def predict(self, feeds: Mapping[str, Any], out: Mapping[str, Any]) -> Mapping[str, Any]:
        self.fed = dict(feeds)
        if isinstance(self._outputs, Exception):
            raise self._outputs
        return self._outputs


def session_on(predictor: Predictor, options: SessionOptions | None = None) -> CoreMlSession:
    return CoreMlSession(Path("a.mlpackage"), STAGE, options or SessionOptions(), open_predictor=lambda *_: predictor)


RIGHT = {"y": np.array([[1, 2]], np.float32)}
IMAGE = {"image": np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 2, 2)}


def test_outputs_are_copied_out_of_the_predictors_arrays() -> None:
    session = session_on(Given(RIGHT))
    result = session.run(IMAGE)["y"]
    assert np.array_equal(result, RIGHT["y"])
    assert not np.shares_memory(result, RIGHT["y"])
    assert session.device == "given"


def test_a_predictor_may_compute_into_the_callers_arrays() -> None:
    class Backed(Given):
        def predict(self, feeds: Mapping[str, Any], out: Mapping[str, Any]) -> Mapping[str, Any]:
            out["y"][...] = RIGHT["y"]
            return out

    buffer = np.zeros((1, 2), np.float32)
    assert session_on(Backed(RIGHT)).run(IMAGE, {"y": buffer})["y"] is buffer
    assert np.array_equal(buffer, RIGHT["y"])


@pytest.mark.parametrize(
    ("outputs", "told"),
    [
        ({}, "'y' came as nothing"),
        ({"y": np.zeros((1, 2), np.float16)}, "float16"),
        ({"y": np.zeros((1, 1), np.float32)}, r"\(1, 1\)"),
        (RuntimeError("the Neural Engine said no"), "the Neural Engine said no"),
    ],
    ids=["missing", "dtype", "a shape that would broadcast", "failure"],
)
def test_what_comes_has_to_be_what_is_declared(outputs: Any, told: str) -> None:
    with pytest.raises(StageError, match=told):
        session_on(Given(outputs)).run(IMAGE)


@pytest.mark.parametrize(
    "declared",
    [
        replace(STAGE, outputs=(replace(STAGE.outputs[0], dtype="float16"),)),
        replace(STAGE, inputs=(replace(STAGE.inputs[0], name="picture"),)),
        replace(STAGE, outputs=()),
    ],
    ids=["dtype", "name", "missing"],
)
def test_a_package_that_declares_something_else_is_refused(declared: StageSpec) -> None:
    with pytest.raises(BundleTamperedError, match="the manifest declares"):
        session_on(Given(RIGHT, stage=declared))


def test_pictures_are_handed_over_as_the_nearest_of_8_bits() -> None:
    predictor = Given(RIGHT, pictures=frozenset({"image"}))
    session = session_on(predictor)
    session.run(IMAGE)
    picture = predictor.fed["image"]
    assert picture.dtype == np.uint8
    assert picture.shape == (2, 2, 3)
    assert picture[0, 0].tolist() == [0, 93, 185]  # -1, -3/11 and 5/11, as (x + 1) * 127.5
    assert picture[1, 1, 2] == 255
    assert session.pictures == {"image"}


@pytest.mark.parametrize(
    "options",
    [{"threads": 2}, {"streams": 2}, {"performance": "throughput"}, {"dla_core": 0}, {"build_if_missing": True}],
)
def test_options_without_effect_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="no effect on the coreml backend"):
        session_on(Given(RIGHT), SessionOptions(**options))


@pytest.mark.skipif(sys.platform == "darwin", reason="a Mac opens it")
def test_elsewhere_core_ml_itself_is_one_line() -> None:
    with pytest.raises(DeviceError, match=r"Core ML runs on macOS.*edgedepth verify BUNDLE"):
        CoreMlSession(Path("a.mlpackage"), STAGE, SessionOptions())


@pytest.mark.parametrize(
    ("word", "units"),
    [("auto", "ALL"), ("cpu", "CPU_ONLY"), ("GPU", "CPU_AND_GPU"), ("npu", "CPU_AND_NE"), ("ane", "CPU_AND_NE")],
)
def test_devices(word: str, units: str) -> None:
    assert compute_units_for(word) == units
    assert "cpu" in in_words(units)


@pytest.mark.parametrize("word", ["cuda", "npu:1", ""])
def test_unknown_devices(word: str) -> None:
    with pytest.raises(OptionError, match="allowed are auto, cpu, gpu, npu"):
        compute_units_for(word)


def test_where_core_ml_exists() -> None:
    assert exists_on("coreml", "darwin")
    assert not exists_on("coreml", "linux")
    assert exists_on("onnx", "win32")


def test_places_are_counted() -> None:
    """The classes carry the names of coremltools.models.compute_device."""
    engine, cpu = type("MLNeuralEngineComputeDevice", (), {}), type("MLCPUComputeDevice", (), {})
    usages = [SimpleNamespace(preferred_compute_device=kind()) for kind in (engine, cpu, engine)]
    assert count_places([*usages, None]) == {"npu": 2, "cpu": 1}
