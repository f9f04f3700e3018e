"""Every option is met or refused with its reason, before anything is loaded or written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgedepth.core.errors import OptionError, UnsupportedError
from edgedepth.exporters.base import ExportOptions, exporter_for
from edgedepth.exporters.to_onnx import OnnxExporter


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "fp16"},
        {"layout": "single"},
        {"dynamic_batch": True},
        {"tile_batch": 1},
        {"decoder_windows": True},
        {"tile_batch": 35},
        {"opset": 17},
        {"opset": 18},
        {"opset": 19},
    ],
    ids=str,
)
def test_what_can_be_met(options: dict[str, Any]) -> None:
    assert OnnxExporter().check(ExportOptions(**options)).ok


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"precision": "bf16"}, "bf16"),
        ({"precision": "int8"}, "int8"),
        ({"layout": "folded"}, "folded"),
        ({"tile_batch": 0}, "tile batch 0 "),
        ({"tile_batch": 36}, "tile batch 36"),
        ({"tile_batch": True}, "tile batch True"),
        ({"tile_batch": 5.0}, "tile batch 5.0"),
        ({"opset": 16}, "opset 16"),
        ({"opset": 21}, "opset 21"),
        ({"opset": "20"}, "opset '20'"),
        ({"layout": "single", "dynamic_batch": True}, "single graph"),
        ({"layout": "single", "decoder_windows": True}, "no decoder of its own"),
    ],
    ids=str,
)
def test_what_is_refused(options: dict[str, Any], reason: str, tmp_path: Path, tiny: Any) -> None:
    support = OnnxExporter().check(ExportOptions(**options))
    assert not support.ok
    assert reason in support.reason
    assert support.remedy
    with pytest.raises(UnsupportedError, match=reason):
        OnnxExporter().export(tiny, ExportOptions(**options), tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_targets() -> None:
    assert exporter_for("onnx").target == "onnx"
    assert exporter_for("ov").target == "openvino"
    assert exporter_for("trt").target == "tensorrt"
    assert exporter_for("coreml").target == "coreml"
    with pytest.raises(OptionError, match="caffe"):
        exporter_for("caffe")
