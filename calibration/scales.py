"""Whether a bundle's scales are those that calibration found: a look at the artefacts, beside what was written down.

A scale that is too large by some factor costs precision that the comparison with the reference is too coarse to see
in one layer of many; that it isn't what was calibrated is plain.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgedepth.core.bundle import Bundle
from edgedepth.core.errors import BundleError
from edgedepth.core.optional import require

__all__ = ["PEAKS_FILE", "check_scales", "onnx_peaks", "openvino_peaks", "write_peaks"]

PEAKS_FILE = "int8/peaks.json"
_STEPS = 127  # of a symmetric int8

# How far an artefact's range may be from the one that calibration saw: times, at least and at most. onnxruntime's
# quantizer is told the range, and divides it by 127.5. NNCF looks itself, at no more calls than exporters/
# to_openvino_int8.py lets it: where that is all of them it sees the same.
_TIMES = {"onnx": (0.99, 1.01), "tensorrt": (0.99, 1.01), "openvino": (0.7, 1.4)}


def write_peaks(folder: Path, peaks: Mapping[str, Mapping[str, float]]) -> None:
    """Write down what calibration found.

    Args:
        folder: the bundle's; its int8/ is there.
        peaks: by stage and node, the magnitude that the node's input is quantised up to.
    """
    text = json.dumps(peaks, indent=1, allow_nan=False) + "\n"
    (folder / PEAKS_FILE).write_text(text, encoding="utf-8", newline="\n")


def check_scales(bundle: Bundle) -> tuple[str, ...]:
    """Compare every scale of a calibrated bundle with what its calibration found.

    Args:
        bundle: of any target and precision; one that wasn't calibrated has nothing to compare.

    Returns:
        What differs, in words; nothing where all is well.

    Raises:
        MissingExtraError: what reads the artefacts isn't installed.
    """
    manifest = bundle.manifest
    if manifest.calibration is None or manifest.target not in _READERS:
        return ()
    try:
        recorded: dict[str, dict[str, float]] = json.loads(bundle.file(PEAKS_FILE).read_text(encoding="utf-8"))
    except (BundleError, OSError, ValueError):
        return (f"scales: {PEAKS_FILE} is missing or can't be read, so they can't be compared: export again",)
    failures = []
    for stage, artefact in manifest.artefacts.items():
        expected = recorded.get(stage, {})
        found = _READERS[manifest.target](bundle.file(artefact.path))
        for node in sorted(expected.keys() | found.keys()):
            if problem := _difference(expected.get(node), found.get(node), _TIMES[manifest.target]):
                failures.append(f"stage {stage}: the scale of {node} {problem}")
    return tuple(failures)


def _difference(expected: float | None, found: float | None, allowed: tuple[float, float]) -> str:
    if expected is None or found is None:
        return "was not calibrated" if expected is None else "is missing"
    if expected == 0 or not (math.isfinite(found) and found > 0):  # an input that is always 0 takes any scale
        return "" if expected == 0 and math.isfinite(found) else f"is {found / _STEPS:.3g}"
    times = found / expected
    return "" if allowed[0] <= times <= allowed[1] else f"is {times:.3g} times what calibration found"


def onnx_peaks(path: Path) -> dict[str, float]:
    """The largest magnitude that each node's quantised input can have."""
    onnx = require("onnx", extra="int8", purpose="to look at scales")
    graph = onnx.load(str(path), load_external_data=False).graph  # scales are small enough to stay in the graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    scales = {
        node.output[0]: float(onnx.numpy_helper.to_array(constants[node.input[1]]))
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] not in constants
    }
    return {node.name: _STEPS * scales[node.input[0]] for node in graph.node if node.input and node.input[0] in scales}


def openvino_peaks(path: Path) -> dict[str, float]:
    """As onnx_peaks; the IR tells what its operators were called (exporters/to_openvino_int8.py)."""
    openvino = require("openvino", extra="openvino", purpose="to look at scales")
    model = openvino.Core().read_model(str(path))
    names: dict[str, str] = {}
    if model.has_rt_info(["edgedepth", "int8_nodes"]):
        names = json.loads(model.get_rt_info(["edgedepth", "int8_nodes"]).astype(str))
    found = {}
    for op in model.get_ops():
        own = op.get_friendly_name()
        for value in op.input_values()[:1]:
            source: Any = value.get_node()
            if source.get_type_name() == "FakeQuantize":
                limits = [source.input_value(index).get_node().get_data() for index in (1, 2)]
                found[names.get(own, own)] = float(np.max(np.abs(limits)))
    return found


_READERS: dict[str, Callable[[Path], dict[str, float]]] = {
    "onnx": onnx_peaks,
    "tensorrt": onnx_peaks,
    "openvino": openvino_peaks,
}
