"""NNCF's INT8: what was asked for is INT8, the products inside attention never are, and it computes nearly the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgedepth.calibration.blocks import find_layers
from edgedepth.calibration.ranges import collect_ranges
from edgedepth.calibration.recording import Recording
from edgedepth.calibration.scales import openvino_peaks
from edgedepth.core.bundle import open_bundle
from edgedepth.core.errors import ExportFailedError
from edgedepth.core.spec import StageSpec
from edgedepth.exporters.to_openvino_int8 import int8_ir
from edgedepth.quantizing.makers import peaks_of
from edgedepth.runtimes.base import SessionOptions
from edgedepth.runtimes.openvino_session import OpenVinoSession
from edgedepth.runtimes.ort_session import OrtSession

STAGE = "image_encoder"
CPU = SessionOptions(device="cpu")


@pytest.fixture(scope="module")
def spec(mini_bundle: Path) -> StageSpec:
    return open_bundle(mini_bundle).manifest.artefacts[STAGE].stage


@pytest.fixture(scope="module")
def source(mini_bundle: Path) -> Path:
    return mini_bundle / STAGE / f"{STAGE}.onnx"


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("calls")
    rng = np.random.default_rng(0)
    for number in range(2):
        np.savez(folder / f"{number}.npz", image=rng.uniform(-1, 1, (1, 3, 128, 128)).astype(np.float32))
    return sorted(folder.iterdir())


def make(source: Path, path: Path, spec: StageSpec, calls: list[Path], nodes: list[str], **options: Any) -> Path:
    settings: dict[str, Any] = {"weights_only": False, "fp32_weights": frozenset(), "about": {}} | options
    int8_ir(source, path, spec, nodes=nodes, calls=calls, **settings)
    return path


def producers(path: Path) -> list[tuple[str, list[str]]]:
    """For each matrix product, and each attention, which OpenVINO has as one operator, what its inputs come from."""
    import openvino

    model = openvino.Core().read_model(str(path))
    return [
        (op.get_type_name(), [value.get_node().get_type_name() for value in op.input_values()])
        for op in model.get_ops()
        if op.get_type_name() in ("MatMul", "ScaledDotProductAttention")
    ]


@pytest.mark.parametrize("blocks", [6, 2])
def test_the_layers_are_int8_and_attention_is_not(
    source: Path, spec: StageSpec, calls: list[Path], tmp_path: Path, blocks: int
) -> None:
    layers = find_layers(source, STAGE)[: 4 * blocks]
    path = make(source, tmp_path / "int8.xml", spec, calls, [node for layer in layers for node in layer.nodes])
    products = producers(path)
    assert sum(kind == "MatMul" for kind, _ in products) == 6 * 4
    quantised = [kind for kind, inputs in products if "FakeQuantize" in inputs]
    assert quantised == ["MatMul"] * 4 * blocks
    feeds = {"image": np.load(calls[0])["image"]}
    expected = OrtSession(source, spec, CPU).run(feeds)["image_features"]
    found = OpenVinoSession(path, spec, CPU, precision="int8").run(feeds)["image_features"]
    # Random weights, and INT8 with bf16 around it: a few percent. Another picture's features differ by much more.
    assert np.abs(found - expected).mean() < 0.1 * np.abs(expected).mean()
    size = path.with_suffix(".bin").stat().st_size
    fp32 = source.with_name(f"{source.name}.data").stat().st_size
    # A byte a weight in INT8 and four in what is kept; the patch embedding and scales are the rest.
    assert size < fp32 * (1 - 0.75 * blocks / 6 + 0.06)


def test_weights_alone(source: Path, spec: StageSpec, calls: list[Path], tmp_path: Path) -> None:
    nodes = [node for layer in find_layers(source, STAGE) for node in layer.nodes]
    path = make(source, tmp_path / "int8.xml", spec, calls, nodes, weights_only=True)
    assert all("FakeQuantize" not in inputs for _, inputs in producers(path))
    fp32 = source.with_name(f"{source.name}.data").stat().st_size
    assert path.with_suffix(".bin").stat().st_size < 0.3 * fp32


def test_a_node_that_is_not_there(source: Path, spec: StageSpec, calls: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError, match="no operator nowhere"):
        make(source, tmp_path / "int8.xml", spec, calls, ["nowhere"])


def test_its_scales_are_known_by_the_onnx_nodes_and_are_what_calibration_finds(
    source: Path, spec: StageSpec, calls: list[Path], tmp_path: Path
) -> None:
    layers = find_layers(source, STAGE)
    path = make(source, tmp_path / "int8.xml", spec, calls, [node for layer in layers for node in layer.nodes])
    for number, call in enumerate(calls):
        (frame := tmp_path / "recording" / f"frame-{number:05d}").mkdir(parents=True)
        shutil.copyfile(call, frame / f"{STAGE}-0000.npz")
    shutil.copytree(source.parent, tmp_path / "source")  # calibration writes beside the file
    ranges = collect_ranges(
        tmp_path / "source" / source.name,
        [tensor for layer in layers for tensor in layer.inputs],
        Recording(tmp_path / "recording", range(len(calls))),
        STAGE,
        method="mean",
        state=tmp_path / "ranges.npz",
    )
    found, expected = openvino_peaks(path), peaks_of(layers, ranges)
    assert found.keys() == expected.keys()
    # NNCF looks while OpenVINO computes, and makes the range 128 steps of 127.
    assert [found[node] / expected[node] for node in expected] == pytest.approx([128 / 127] * len(expected), rel=0.01)
