"""Converting one stage to IR, and the options that are refused. A whole export is in tests/cli/test_openvino.py."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgedepth.core.bundle import open_bundle
from edgedepth.core.errors import ExportFailedError, MissingExtraError, UnsupportedError
from edgedepth.core.spec import Precision, StageSpec, TensorSpec
from edgedepth.exporters.base import ExportOptions, exporter_for
from edgedepth.exporters.to_openvino import OpenVinoExporter
from edgedepth.exporters.to_openvino_stage import check_artefact, onnx_to_ir
from edgedepth.models.loading import LoadedModel

SCALE = StageSpec(
    name="scale",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("n", 64)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("n", 64)),),
)


def write_scale(folder: Path, largest: float = 1.0) -> Path:
    """y = x * gamma."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("n", 64)) for name in "xy"]
    gamma = numpy_helper.from_array(np.linspace(-1, largest, 64, dtype=np.float32), "gamma")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "gamma"], ["y"])], "s", values[:1], values[1:], [gamma])
    path = folder / "scale.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), str(path))
    return path


def convert(source: Path, stage: StageSpec = SCALE, precision: Precision = "fp32", name: str = "scale") -> Path:
    path = source.with_name(f"{name}.xml")
    onnx_to_ir(source, path, stage, precision=precision, about={"model": "toy"}, fp32_weights=frozenset())
    return path


def test_the_minis_bundle_is_half_the_size_at_fp16_and_bf16(mini_openvino: Callable[[Precision], Path]) -> None:
    sizes = {precision: open_bundle(mini_openvino(precision)).size for precision in ("fp32", "fp16", "bf16")}
    assert sizes["fp16"] < 0.55 * sizes["fp32"]
    assert sizes["bf16"] == sizes["fp16"]


class TestStage:
    def test_twice_gives_the_same_bytes(self, tmp_path: Path) -> None:
        source = write_scale(tmp_path)
        first, second = (convert(source, precision="fp16", name=name) for name in ("first", "second"))
        for suffix in (".xml", ".bin"):
            assert first.with_suffix(suffix).read_bytes() == second.with_suffix(suffix).read_bytes()

    @pytest.mark.parametrize("precision", ["fp16", "bf16"])
    def test_weights_beyond_fp16_are_refused_and_not_clamped(self, precision: Precision, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedError, match=r"weight gamma reaches 1e\+06"):
            convert(write_scale(tmp_path, largest=1e6), precision=precision)

    def test_fp32_keeps_them(self, tmp_path: Path) -> None:
        assert convert(write_scale(tmp_path, largest=1e6)).is_file()

    @pytest.mark.parametrize(
        ("declared", "problem"),
        [
            (replace(SCALE, inputs=(replace(SCALE.inputs[0], name="z"),)), "inputs"),
            (replace(SCALE, outputs=(replace(SCALE.outputs[0], shape=("n", 65)),)), "outputs"),
            (replace(SCALE, outputs=(replace(SCALE.outputs[0], dtype="float16"),)), "outputs"),
            (replace(SCALE, inputs=(replace(SCALE.inputs[0], shape=(3, 64)),)), "inputs"),
        ],
        ids=["input name", "output shape", "output dtype", "fixed batch"],
    )
    def test_another_declaration_is_caught(self, declared: StageSpec, problem: str, tmp_path: Path) -> None:
        with pytest.raises(ExportFailedError, match=problem):
            convert(write_scale(tmp_path), declared)

    def test_a_file_that_does_not_load_is_caught(self, tmp_path: Path) -> None:
        path = convert(write_scale(tmp_path))
        path.write_text(path.read_text().replace('type="Multiply"', 'type="Nultiply"'))
        with pytest.raises(ExportFailedError, match="stage scale: "):
            check_artefact(path, SCALE)

    def test_what_openvino_cannot_read_is_told_by_stage(self, tmp_path: Path) -> None:
        source = write_scale(tmp_path)
        source.write_bytes(source.read_bytes()[:40])
        with pytest.raises(ExportFailedError, match="stage scale: "):
            convert(source)


class TestOptions:
    @pytest.mark.parametrize(
        "options", [{}, {"precision": "fp16"}, {"precision": "bf16"}, {"layout": "single"}, {"dynamic_batch": True}]
    )
    def test_what_can_be_met(self, options: dict[str, Any]) -> None:
        assert OpenVinoExporter().check(ExportOptions(**options)).ok

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"precision": "int8"}, "OpenVINO at int8 is not built yet"),
            ({"opset": 17}, "no ONNX opset to choose"),
            ({"tile_batch": 36}, "tile batch 36"),
            ({"layout": "single", "dynamic_batch": True}, "single graph"),
        ],
    )
    def test_what_is_refused(self, options: dict[str, Any], reason: str, tiny: LoadedModel, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedError, match=reason):
            OpenVinoExporter().export(tiny, ExportOptions(**options), tmp_path / "bundle")
        assert list(tmp_path.iterdir()) == []

    def test_onnx_at_bf16_names_the_target_that_has_it(self) -> None:
        assert "--target openvino" in exporter_for("onnx").check(ExportOptions(precision="bf16")).remedy

    def test_a_missing_toolchain_is_told_in_one_line(
        self, tiny: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "openvino", None)
        with pytest.raises(MissingExtraError, match=r"edgedepth\[export,openvino\]"):
            OpenVinoExporter().export(tiny, ExportOptions(), tmp_path / "bundle")
