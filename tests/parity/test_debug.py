"""Faults planted into a real bundle: verify sees each, and debug names the stage, the block and the cause."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgedepth.calibration.blocks import find_layers
from edgedepth.calibration.int8 import quantize_stage
from edgedepth.calibration.onnx_files import save_model
from edgedepth.core.bundle import Bundle, open_bundle, write_bundle
from edgedepth.core.session import Array
from edgedepth.core.spec import Precision
from edgedepth.core.tolerances import TOLERANCES
from edgedepth.debugging import debug_bundle
from edgedepth.exporters.to_onnx_stage import export_stage
from edgedepth.models.loading import LoadedModel, load_model
from edgedepth.models.stages import stage_modules
from edgedepth.programs import canonical
from edgedepth.runtimes.ort_taps import OnnxTaps
from edgedepth.verify.debug_report import DebugReport
from edgedepth.verifying import verify_bundle


def picture(seed: int) -> Array:
    """Shapes and colours that no two channels share, (64, 96, 3) in 0..1."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:64, 0:96] / 64
    rgb = np.stack((0.5 + 0.4 * np.sin(6 * x + seed), 0.3 + 0.5 * y, 0.6 * (x * y) % 1), axis=-1)
    rgb[16:40, 20:50] = generator.random(3)
    rgb[30:60, 60:80] = generator.random(3)
    return np.clip(rgb + 0.02 * generator.standard_normal(rgb.shape), 0, 1).astype(np.float32)


PICTURES = [picture(1), picture(2)]


pytestmark = pytest.mark.usefixtures("known_tiny")


def planted(
    bundle: Path, out: Path, stage: str, change: Callable[[Path], None], precision: Precision | None = None
) -> Path:
    """The bundle with one stage's .onnx changed, and a manifest that is right about its files."""
    source = open_bundle(bundle)
    with write_bundle(out) as writer:
        shutil.copytree(bundle, writer.folder, dirs_exist_ok=True)
        change(writer.folder / source.manifest.artefacts[stage].path)
        precision = precision or source.manifest.precision
        writer.finish(replace(source.manifest, files=writer.file_entries(), precision=precision))
    return out


def in_graph(edit: Callable[[Any], None]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        model = onnx.load(str(path))
        edit(model.graph)
        save_model(model, path)

    return change


def with_weight(name: str, edit: Callable[[Any], Any]) -> Callable[[Path], None]:
    def change(graph: Any) -> None:
        tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(edit(numpy_helper.to_array(tensor).copy()), name))

    return in_graph(change)


def debugged(bundle: Path, against: Path) -> DebugReport:
    return debug_bundle(bundle, PICTURES, color="rgb", against=against, device="cpu")


def image_feeds(bundle: Path) -> dict[str, Array]:
    """What the image encoder might see: any picture of its size."""
    spec = open_bundle(bundle).manifest.artefacts["image_encoder"].stage.inputs[0]
    return {spec.name: np.random.default_rng(0).uniform(-1, 1, tuple(map(int, spec.shape))).astype(np.float32)}


def test_a_right_bundle_is_right_all_along_the_chain(tiny_bundle: Path) -> None:
    report = debug_bundle(tiny_bundle, PICTURES, color="rgb", device="cpu")  # against the eager reference
    assert report.passed, report.failures
    stages = ["patch_encoder", "image_encoder", "decoder", "fov"]
    assert [link.what for link in report.chain] == [
        "the model's input",
        *stages,
        "the host's way to metres",
        "end to end",
    ]
    assert report.cause is None
    assert report.first_block is None


def test_a_constant_that_was_frozen_when_it_was_traced(tiny_bundle: Path, tmp_path: Path) -> None:
    """A tensor in the last block holds the value of another picture, for every picture."""
    path = open_bundle(tiny_bundle).file("image_encoder/image_encoder.onnx")
    taps = OnnxTaps(path)
    node = next(n for n in taps.nodes if n.block == "vit.blocks.1" and n.op == "Add" and not n.layer)
    ((_, value),) = taps.values(image_feeds(tiny_bundle), [node.outputs[0]])

    def freeze(graph: Any) -> None:
        graph.node.remove(next(n for n in graph.node if n.name == node.name))
        graph.initializer.append(numpy_helper.from_array(value, node.outputs[0]))

    frozen = planted(tiny_bundle, tmp_path / "frozen", "image_encoder", in_graph(freeze))
    verified = verify_bundle(frozen, PICTURES, color="rgb", against=tiny_bundle)
    assert any("stage image_encoder max_rel" in failure for failure in verified.failures)
    report = debugged(frozen, tiny_bundle)
    assert report.first is not None
    assert report.first.what == "image_encoder"
    assert report.first_block == "image_encoder/vit.blocks.1"
    assert report.cause is not None
    assert report.cause.kind == "frozen constant"
    assert node.outputs[0] in report.cause.says


def test_a_stage_that_gives_the_same_for_every_picture(tiny_bundle: Path, tmp_path: Path) -> None:
    def blind(graph: Any) -> None:
        # The first convolution's weights are zero: nothing of the picture gets in.
        weight = next(t for t in graph.initializer if t.name == "vit.patch_embed.proj.weight")
        weight.CopyFrom(numpy_helper.from_array(np.zeros(tuple(weight.dims), np.float32), weight.name))

    bundle = planted(tiny_bundle, tmp_path / "blind", "image_encoder", in_graph(blind))
    report = verify_bundle(bundle, PICTURES, color="rgb", against=tiny_bundle)
    assert report.stages["image_encoder"].frozen == ("image_features",)
    assert any("gives the same image_features for every input" in failure for failure in report.failures)


def test_red_and_blue_exchanged_in_a_graph(tiny_bundle: Path, tmp_path: Path) -> None:
    bgr = with_weight("vit.patch_embed.proj.weight", lambda weight: np.ascontiguousarray(weight[:, ::-1]))
    bundle = planted(tiny_bundle, tmp_path / "bgr", "patch_encoder", bgr)
    report = debugged(bundle, tiny_bundle)
    assert report.first_block == "patch_encoder/vit.patch_embed"
    assert report.cause is not None
    assert report.cause.kind == "swapped RGB"


def test_red_and_blue_exchanged_on_the_host(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = canonical.prepare
    monkeypatch.setattr("edgedepth.programs.depth_pro.prepare", lambda rgb, spec: real(rgb[..., ::-1], spec))
    report = debug_bundle(tiny_bundle, PICTURES, color="rgb", device="cpu")
    assert report.first is not None
    assert report.first.what == "the model's input"
    assert all(link.good for link in report.chain if link.what in ("patch_encoder", "decoder"))
    assert report.cause is not None
    assert report.cause.kind == "swapped RGB"


def test_a_resize_that_is_off_by_half_a_pixel(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The convention of ONNX's asymmetric: source = target / scale, without the half pixels."""

    def asymmetric(image: Array, size: tuple[int, int], **_: bool) -> Array:
        for axis, target in enumerate(size):
            source = np.arange(target) * image.shape[axis] / target
            low = np.clip(np.floor(source).astype(int), 0, image.shape[axis] - 1)
            high = np.minimum(low + 1, image.shape[axis] - 1)
            part = (source - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(image.ndim)])
            image = image.take(low, axis) * (1 - part) + image.take(high, axis) * part
        return image

    monkeypatch.setattr(canonical, "resize_bilinear", asymmetric)
    verified = verify_bundle(tiny_bundle, PICTURES, color="rgb", device="cpu")
    assert not verified.passed
    assert not any(failure.startswith("stage") for failure in verified.failures)  # every stage is right
    report = debug_bundle(tiny_bundle, PICTURES, color="rgb", device="cpu")
    assert report.first is not None
    assert report.first.what == "the model's input"
    assert report.cause is not None
    assert report.cause.kind == "resize convention"


def test_two_percent_in_the_focal_path(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = canonical.focal_px_from_fov
    monkeypatch.setattr(canonical, "focal_px_from_fov", lambda fov_deg, width: 1.02 * real(fov_deg, width))
    verified = verify_bundle(tiny_bundle, PICTURES, color="rgb", device="cpu")
    assert verified.end_to_end is not None
    # Canonical inverse depth is divided by the focal length, so depths are 2 % too far; rounding is 1e-6.
    assert verified.end_to_end.depth_scale == pytest.approx(1.02, abs=1e-4)
    assert verified.end_to_end.correlation > 0.9999
    assert any("depth_scale is 1.0200" in failure for failure in verified.failures)
    # At every precision that isn't quantised; those cost as much themselves.
    assert all(TOLERANCES[precision].depth_scale < 0.02 for precision in ("fp32", "fp16", "bf16"))
    report = debug_bundle(tiny_bundle, PICTURES, color="rgb", device="cpu")
    assert report.first is not None
    assert report.first.what == "the host's way to metres"
    assert report.cause is not None
    assert report.cause.kind == "focal path"
    assert "1.0200" in report.cause.says


def test_nan_in_one_stage(tiny_bundle: Path, tmp_path: Path) -> None:
    def spoil(weight: Any) -> Any:
        weight.flat[0] = np.nan
        return weight

    bundle = planted(tiny_bundle, tmp_path / "nan", "decoder", with_weight("refine.2.resnet1.residual.3.weight", spoil))
    verified = verify_bundle(bundle, PICTURES, color="rgb", against=tiny_bundle)
    assert not verified.passed
    told = verified.to_dict()
    assert told["stages"]["decoder"]["nan"] > 0
    assert told["stages"]["decoder"]["max_rel"] is None
    assert told["stages"]["patch_encoder"]["nan"] == 0
    assert any(failure.startswith("picture 1: ") for failure in verified.failures)
    report = debugged(bundle, tiny_bundle)
    assert report.first_block == "decoder/refine.2"
    assert report.first_tensor is not None
    assert report.first_tensor.node.layer == "refine.2.resnet1.residual.3"
    assert report.cause is not None
    assert report.cause.kind == "not finite"


def test_an_overflow_of_fp16(tiny: LoadedModel, tiny_bundle: Path, tmp_path: Path) -> None:
    """Queries 2^14 times as large and keys as much smaller: the same attention, with values that fp16 doesn't have."""
    model = load_model(tiny.entry.name, "random:0")  # one's own: its weights are changed
    attention: Any = model.module.encoder.patch_encoder.blocks[1].attn  # type: ignore[union-attr]
    width, factor = attention.qkv.weight.shape[1], 2.0**14
    with torch.no_grad():
        for tensor in (attention.qkv.weight, attention.qkv.bias):
            tensor[:width] *= 4 * factor
            tensor[width : 2 * width] /= 4 * factor

    def exported(precision: Precision) -> Path:
        def change(path: Path) -> None:
            stage = open_bundle(tiny_bundle).manifest.artefacts["patch_encoder"].stage
            path.with_name(path.name + ".data").unlink()
            export_stage(stage_modules(model)["patch_encoder"], stage, path, precision=precision, opset=20)

        return planted(tiny_bundle, tmp_path / precision, "patch_encoder", change, precision)

    report = debugged(exported("fp16"), exported("fp32"))
    assert report.first_block == "patch_encoder/vit.blocks.1"
    assert report.first_tensor is not None
    assert report.first_tensor.node.layer == "vit.blocks.1.attn.qkv"
    assert report.cause is not None
    assert report.cause.kind == "fp16 overflow"
    assert "fp16 ends at 65504" in report.cause.says
    assert "--fp32" in report.cause.cure


@pytest.mark.parametrize(("factor", "said"), [(1024.0, "steps"), (1 / 16, "are cut off")])
def test_one_wrong_scale_of_a_qdq_pair(tiny_bundle: Path, tmp_path: Path, factor: float, said: str) -> None:
    def quantise(path: Path, wrong: bool) -> None:
        source = open_bundle(tiny_bundle).file("image_encoder/image_encoder.onnx")
        layers = find_layers(source, "image_encoder")
        names = list(dict.fromkeys(name for layer in layers for name in layer.inputs))
        ranges = {}
        for name, values in OnnxTaps(source).values(image_feeds(tiny_bundle), names):
            ranges[name] = (float(values.min()), float(values.max()))
        path.with_name(path.name + ".data").unlink()
        quantize_stage(source, path, layers, ranges)
        if wrong:
            scale = next(n for n in OnnxTaps(path).nodes if n.op == "QuantizeLinear" and n.block == "vit.blocks.1")
            with_weight(scale.inputs[1], lambda value: (value * np.float32(factor)).astype(np.float32))(path)

    right = planted(tiny_bundle, tmp_path / "right", "image_encoder", lambda path: quantise(path, False), "int8")
    assert debugged(right, tiny_bundle).first_block is None
    wrong = planted(tiny_bundle, tmp_path / "wrong", "image_encoder", lambda path: quantise(path, True), "int8")
    report = debugged(wrong, tiny_bundle)
    assert report.first_block == "image_encoder/vit.blocks.1"
    assert report.cause is not None
    assert report.cause.kind == "Q/DQ scale"
    assert said in report.cause.says


def test_a_weight_of_another_checkpoint_against_the_reference_itself(tiny_bundle: Path, tmp_path: Path) -> None:
    """The whole way: the eager reference, and its stage exported in fp32 to look into the bundle's."""
    other = with_weight("fov.encoder.0.blocks.1.ls2.gamma", lambda weight: 3 * weight)
    bundle = planted(tiny_bundle, tmp_path / "other", "fov", other)
    report = debug_bundle(bundle, PICTURES, color="rgb", device="cpu")
    assert report.first_block == "fov/fov.encoder.0.blocks.1"
    assert report.cause is not None
    assert report.cause.kind == "changed weight"
    assert "fov.encoder.0.blocks.1.ls2.gamma" in report.cause.says


def test_a_stage_of_another_target_is_named_and_no_more(
    mini_openvino: Callable[[Precision], Path], tmp_path: Path
) -> None:
    def spoil(bundle: Bundle, folder: Path) -> None:
        data = bundle.file("fov/fov.bin").read_bytes()
        middle = len(data) // 2 // 4 * 4
        values = np.frombuffer(data[middle : middle + 40_000], np.float32) * np.float32(3)
        (folder / "fov" / "fov.bin").write_bytes(data[:middle] + values.tobytes() + data[middle + 40_000 :])

    source = open_bundle(mini_openvino("fp32"))
    with write_bundle(tmp_path / "broken") as writer:
        shutil.copytree(source.path, writer.folder, dirs_exist_ok=True)
        spoil(source, writer.folder)
        writer.finish(replace(source.manifest, files=writer.file_entries()))
    report = debug_bundle(tmp_path / "broken", PICTURES, color="rgb", device="cpu")
    assert report.first is not None
    assert report.first.what == "fov"
    assert report.first_block is None
    assert any("can't be looked into" in note for note in report.notes)
