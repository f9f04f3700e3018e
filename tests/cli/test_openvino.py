"""--target openvino as a user calls it: a whole export of the smallest model, then everything that finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from xml.etree import ElementTree

import openvino
import pytest

from edgedepth.cli import main
from edgedepth.core.bundle import Bundle, open_bundle
from edgedepth.core.spec import Precision
from edgedepth.models.loading import LoadedModel
from edgedepth.models.registry import MODELS

from .conftest import Cli

HERE = openvino.Core().available_devices


@pytest.fixture(scope="module")
def single(
    tiny: LoadedModel,
    tracing_once: Callable[[], AbstractContextManager[None]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Bundle]:
    """One graph, in fp16: it holds every operator there is."""
    out = tmp_path_factory.mktemp("single") / "bundle"
    words = ("--model", tiny.entry.name, "--weights", "random:0", "--layout", "single", "--fp16", "--out", str(out))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MODELS, tiny.entry.name, tiny.entry)
        with tracing_once():
            assert main(["export", "--target", "openvino", *words]) == 0
        yield open_bundle(out)


class TestBundle:
    def test_it_holds_no_onnx(self, single: Bundle) -> None:
        assert set(single.manifest.files) == {"golden.npz", "whole/whole.xml", "whole/whole.bin"}

    def test_manifest(self, single: Bundle) -> None:
        manifest = single.manifest
        assert (manifest.target, manifest.precision, manifest.layout) == ("openvino", "fp16", "single")
        assert manifest.tile_batch is None
        assert manifest.device is None
        assert {"openvino", "torch", "onnx", "onnx-opset", "python", "edgedepth"} <= set(manifest.toolchain)

    def test_the_ir_tells_what_it_is(self, single: Bundle, tiny: LoadedModel) -> None:
        model = openvino.Core().read_model(str(single.path / "whole" / "whole.xml"))
        names = ("stage", "model", "precision", "trained", "weights_sha256")
        assert [model.get_rt_info(["edgedepth", name]).astype(str) for name in names] == [
            *("whole", "depth-pro-tiny", "fp16", "false"),
            tiny.spec.weights_sha256,
        ]

    def test_nothing_tells_where_it_was_exported(self, single: Bundle) -> None:
        text = (single.path / "whole" / "whole.xml").read_bytes()
        assert b".py" not in text
        assert str(single.path.parent).encode() not in text

    def test_what_decides_metres_and_what_sees_the_picture_is_marked_to_stay_fp32(self, single: Bundle) -> None:
        layers = ElementTree.parse(single.path / "whole" / "whole.xml").findall("layers/layer")
        marked = [layer.get("type") for layer in layers if layer.find("rt_info/attribute[@name='precise']") is not None]
        assert marked == ["Convolution"] * 5  # depth's and the field of view's last, and three patch embeddings


def test_verify_passes(cli: Cli, single: Bundle, photos: Path) -> None:
    done = cli("verify", single.path, "--images", photos, "--json")
    assert done.code == 0, done.out
    assert set(done.json["stages"]) == {"whole"}


def test_infer_proves_itself_and_tells_where_it_ran(cli: Cli, single: Bundle, photos: Path, tmp_path: Path) -> None:
    done = cli("infer", photos / "one.png", "--bundle", single.path, "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    assert "running its golden frame" in done.err
    assert "f32)" in done.err
    assert "golden" not in cli("infer", photos / "one.png", "--bundle", single.path, "--out", tmp_path / "again").err


def test_a_device_that_is_not_here_is_told(cli: Cli, single: Bundle, photos: Path) -> None:
    if any(name.startswith("NPU") for name in HERE):
        pytest.skip("this machine has an NPU; the refusal is for those without")
    done = cli("infer", photos / "one.png", "--bundle", single.path, "--device", "npu")
    assert done.code == 2
    assert "device 'npu' was asked for; OpenVINO finds" in done.err


def test_inspect(cli: Cli, mini_openvino: Callable[[Precision], Path]) -> None:
    shown = cli("inspect", mini_openvino("bf16"))
    assert shown.code == 0
    assert "openvino, bf16, layout staged, tile batch 5" in shown.out


def test_doctor(cli: Cli) -> None:
    target = {target["name"]: target for target in cli("doctor", "--json").json["targets"]}["openvino"]
    assert target["runs"]
    assert target["exports"]
    assert "cpu" in target["devices"]
    assert target["reason"] == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--int8",), "none was named"),
        (("--opset", "17"), "IR has no ONNX opset to choose"),
        (("--bf16", "--target", "onnx"), "ONNX at bf16 is not built yet"),
    ],
)
def test_an_export_that_cannot_be_met_says_why(cli: Cli, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = cli("export", "--model", "depth-pro-mini", "--target", "openvino", "--out", tmp_path / "out", *words)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()
