"""Converting one stage to a Core ML package, and options that are refused. Whole exports: tests/cli/test_coreml.py."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgedepth.core.errors import ExportFailedError, MissingExtraError, OptionError, UnsupportedError
from edgedepth.core.spec import Precision, StageSpec, TensorSpec
from edgedepth.exporters import to_coreml_stage
from edgedepth.exporters.base import ExportOptions, exporter_for
from edgedepth.exporters.coreml_metadata import PackageMetadata, package_metadata
from edgedepth.exporters.coreml_options import CoreMlOptions, deployment_target_named
from edgedepth.exporters.to_coreml import CoreMlExporter
from edgedepth.exporters.to_coreml_package import check_package
from edgedepth.exporters.to_coreml_stage import export_stage
from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.loading import LoadedModel
from edgedepth.models.precision import Fp32Conv2d
from edgedepth.models.vit_ane import ane_copy
from edgedepth.verify.mil import load_package

SCALE = StageSpec(
    name="scale",
    inputs=(TensorSpec(name="image", dtype="float32", shape=(1, 3, 8, 8)),),
    outputs=(TensorSpec(name="scaled", dtype="float32", shape=(1, 3, 8, 8), unit="m"),),
)
ABOUT = PackageMetadata(
    author="somebody", licence="a licence", version="12ab", model="toy", user_defined={"edgedepth.tile_batch": "5"}
)


class Scale(nn.Module):
    def __init__(self, largest: float = 1.0) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.linspace(-1, largest, 8))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (x * self.gamma,)


class Exponential(nn.Module):
    """A logarithm of an exponential behind a convolution that stays float32."""

    def __init__(self) -> None:
        super().__init__()
        self.last = Fp32Conv2d(3, 3, 1)
        with torch.no_grad():
            self.last.weight.copy_(15 * torch.eye(3)[:, :, None, None])
            self.last.bias.zero_()  # type: ignore[union-attr]
        self.requires_grad_(requires_grad=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        both = torch.cat((x, torch.exp(self.last(x * x))), dim=1)
        return (torch.log(both[:, 3:] + both[:, :3]),)


def convert(folder: Path, precision: Precision = "fp32", largest: float = 1.0, **asked: Any) -> Path:
    folder.mkdir(exist_ok=True)
    package = folder / "scale.mlpackage"
    export_stage(Scale(largest), SCALE, package, precision=precision, options=CoreMlOptions(**asked), metadata=ABOUT)
    return package


class TestStage:
    def test_twice_gives_the_same_bytes(self, tmp_path: Path) -> None:
        first, second = (convert(tmp_path / name, "fp16") for name in ("first", "second"))
        files = [path.relative_to(first) for path in first.rglob("*") if path.is_file()]
        assert len(files) == 3
        assert all((first / file).read_bytes() == (second / file).read_bytes() for file in files)
        assert list((tmp_path / "first").iterdir()) == [first]  # coremltools' temporary files are gone

    def test_borders_stay_float32_when_the_arithmetic_is_fp16(self, tmp_path: Path) -> None:
        program = load_package(convert(tmp_path, "fp16"))
        assert [str(feature.dtype) for feature in (program.inputs["image"], program.outputs["scaled"])] == [
            "float32",
            "float32",
        ]

    def test_what_follows_a_last_convolution_stays_float32(self, tmp_path: Path) -> None:
        """exp(15) is beyond fp16, through a concatenation too."""
        package = tmp_path / "scale.mlpackage"
        module = Exponential()
        export_stage(module, SCALE, package, precision="fp16", options=CoreMlOptions(), metadata=ABOUT)
        image = np.linspace(0.9, 1.0, 192, dtype=np.float32).reshape(1, 3, 8, 8)
        (expected,) = module(torch.from_numpy(image))
        np.testing.assert_allclose(
            load_package(package).run({"image": image})["scaled"], expected.numpy(), rtol=2e-3
        )  # what fp16 keeps

    @pytest.mark.parametrize(("system", "version"), [("iOS16", 7), ("macOS14", 8), ("iOS18", 9)])
    def test_the_deployment_target_is_the_packages(self, system: str, version: int, tmp_path: Path) -> None:
        program = load_package(convert(tmp_path, deployment_target=system))
        assert program.spec.version == version

    def test_what_xcode_shows(self, tmp_path: Path) -> None:
        from coremltools.proto import Model_pb2

        spec = Model_pb2.Model()
        spec.ParseFromString((convert(tmp_path) / "Data/com.apple.CoreML/model.mlmodel").read_bytes())
        about = spec.description.metadata
        assert (about.author, about.license, about.versionString) == ("somebody", "a licence", "12ab")
        assert about.shortDescription.startswith("toy, stage scale")
        assert spec.description.output[0].shortDescription == "scaled, in m; 1 x 3 x 8 x 8 float32"
        assert about.userDefined["edgedepth.tile_batch"] == "5"

    def test_a_picture_input_gives_what_its_tensor_gives(self, tmp_path: Path) -> None:
        picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
        tensor = np.moveaxis(picture, -1, 0)[None].astype(np.float32) * np.float32(2 / 255) - 1
        by_tensor = load_package(convert(tmp_path / "tensor")).run({"image": tensor})
        with_picture = load_package(convert(tmp_path / "picture", image_input=True))
        assert with_picture.inputs["image"].image == "rgb"
        # 2 / 255 is rounded to float32 in one place here and in another there
        np.testing.assert_allclose(with_picture.run({"image": picture})["scaled"], by_tensor["scaled"], atol=1e-6)

    @pytest.mark.parametrize("precision", ["fp16", "int8"])
    def test_weights_beyond_fp16_are_refused(self, precision: Precision, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedError, match=r"weight gamma reaches 1e\+06"):
            convert(tmp_path, precision, largest=1e6)

    @pytest.mark.parametrize(
        ("declared", "problem"),
        [
            (replace(SCALE, inputs=(replace(SCALE.inputs[0], name="z"),)), "inputs"),
            (replace(SCALE, outputs=(replace(SCALE.outputs[0], shape=(1, 3, 8, 9)),)), "outputs"),
            (replace(SCALE, outputs=(replace(SCALE.outputs[0], dtype="float16"),)), "outputs"),
        ],
        ids=["input name", "output shape", "output dtype"],
    )
    def test_another_declaration_is_caught(self, declared: StageSpec, problem: str, tmp_path: Path) -> None:
        with pytest.raises(ExportFailedError, match=problem):
            check_package(convert(tmp_path), [declared], CoreMlOptions())

    def test_a_newer_specification_than_asked_for_is_caught(self, tmp_path: Path) -> None:
        with pytest.raises(ExportFailedError, match="specification version 9; iOS17 reads 8"):
            check_package(convert(tmp_path, deployment_target="iOS18"), [SCALE], CoreMlOptions())

    def test_what_coremltools_cannot_convert_is_told_by_stage(self, tmp_path: Path) -> None:
        class Foreign(nn.Module):
            def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
                return (torch.special.bessel_j0(x),)

        with pytest.raises(ExportFailedError, match="stage scale: "):
            export_stage(
                Foreign(), SCALE, tmp_path / "a.mlpackage", precision="fp32", options=CoreMlOptions(), metadata=ABOUT
            )


class TestComputeLayout:
    @pytest.mark.parametrize("stage", ["patch_encoder", "image_encoder", "fov"])
    def test_the_neural_engines_form_computes_the_same(self, stage: str, mini: LoadedModel) -> None:
        module = stage_modules(mini.module)[stage]
        shapes = {"patch_encoder": [(2, 3, 128, 128)], "image_encoder": [(1, 3, 128, 128)]}
        fed = [torch.randn(*shape) for shape in shapes.get(stage, [(1, 3, 128, 128), (1, 32, 16, 16)])]
        with torch.no_grad():
            expected, actual = module(*fed), ane_copy(module)(*fed)
        for one, other in zip(expected, actual, strict=True):
            # float32 sums in another order, through six blocks
            assert float((one - other).abs().max() / one.abs().max()) < 2e-6

    def test_the_reference_keeps_its_layers(self, mini: LoadedModel) -> None:
        module = stage_modules(mini.module)["patch_encoder"]
        before = {name: id(parameter) for name, parameter in module.named_parameters()}
        ane_copy(module)
        assert {name: id(parameter) for name, parameter in module.named_parameters()} == before

    def test_large_activations_do_not_overflow_fp16(self) -> None:
        from edgedepth.models.vit_ane import ChannelNorm

        norm = nn.LayerNorm(64, eps=1e-6)
        tokens = torch.randn(1, 64, 1, 5) * 200  # squares reach 6e5: fp16 ends at 65504
        with torch.no_grad():
            expected = norm(tokens[:, :, 0].transpose(1, 2)).transpose(1, 2)[:, :, None]
            actual = ChannelNorm(norm.eps).half()(tokens.half()).float()
        assert float((actual - expected).abs().max()) < 2e-2  # 11 bits of values up to 3


class TestOptions:
    @pytest.mark.parametrize("options", [{}, {"precision": "fp16"}, {"precision": "int8"}, {"tile_batch": 7}])
    def test_what_can_be_met(self, options: dict[str, Any]) -> None:
        assert CoreMlExporter().check(ExportOptions(**options)).ok

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            ({"precision": "bf16"}, "Core ML at bf16 is not built yet"),
            ({"opset": 17}, "no ONNX opset to choose"),
            ({"layout": "single"}, "stage by stage"),
            ({"dynamic_batch": True}, "fixed tile batch"),
            ({"tile_batch": 10}, "wrong beyond 9"),
            ({"tile_batch": 0}, "tile batch 0"),
            ({"coreml": CoreMlOptions(multifunction=True)}, "came with iOS18; the deployment target is iOS17"),
            (
                {"coreml": CoreMlOptions(multifunction=True, deployment_target="iOS18", image_input=True)},
                "takes tensors",
            ),
        ],
    )
    def test_what_is_refused(self, options: dict[str, Any], reason: str, tiny: LoadedModel, tmp_path: Path) -> None:
        with pytest.raises(UnsupportedError, match=reason):
            CoreMlExporter().export(tiny, ExportOptions(**options), tmp_path / "bundle")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("target", ["onnx", "openvino"])
    def test_other_targets_refuse_what_is_core_mls(self, target: str) -> None:
        support = exporter_for(target).check(ExportOptions(coreml=CoreMlOptions(compute_layout="ane")))
        assert "--target coreml" in support.remedy

    @pytest.mark.parametrize(("name", "system"), [("macOS14", "iOS17"), ("ios18", "iOS18"), ("MACOS26", "iOS26")])
    def test_systems_of_one_year_are_one(self, name: str, system: str) -> None:
        assert deployment_target_named(name) == system

    @pytest.mark.parametrize("asked", [{"deployment_target": "iOS11"}, {"compute_layout": "tpu"}])
    def test_unknown_words(self, asked: dict[str, Any]) -> None:
        with pytest.raises(OptionError, match="there is no"):
            CoreMlOptions(**asked)

    def test_the_metadata_hold_the_tile_grid(self, mini: LoadedModel) -> None:
        told = package_metadata(mini.spec, ExportOptions(tile_batch=7)).user_defined
        assert json.loads(told["edgedepth.tiling"])["levels"][0] == {
            "scale": 1,
            "steps": 5,
            "stride": 96,
            "padding": 1,
        }
        assert told["edgedepth.tile_batch"] == "7"
        assert told["edgedepth.trained"] == "false"


class TestToolchain:
    def test_a_missing_one_is_told_in_one_line(
        self, tiny: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "coremltools", None)
        with pytest.raises(MissingExtraError, match=r"edgedepth\[export,coreml\]"):
            CoreMlExporter().export(tiny, ExportOptions(), tmp_path / "bundle")

    def test_an_old_one_is_told_what_is_needed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(to_coreml_stage, "installed_version", lambda _: "8.3")
        with pytest.raises(UnsupportedError, match=r"coremltools 8.3 is installed; 9.0 or newer"):
            to_coreml_stage.check_toolchain()


def test_int8_leaves_what_sees_the_picture_at_fp16(tiny: LoadedModel, tmp_path: Path) -> None:
    stage = tiny.spec.stage("image_encoder")
    package = tmp_path / "a.mlpackage"
    export_stage(
        stage_modules(tiny.module)["image_encoder"],
        stage,
        package,
        precision="int8",
        options=CoreMlOptions(),
        metadata=ABOUT,
    )
    floats = {name for name, array in load_package(package).constants().items() if array.dtype == np.float16}
    weights = {name.removeprefix("p_vit_").removesuffix("_weight_to_fp16") for name in floats if "weight" in name}
    assert "patch_embed_proj" in weights
    assert not weights & {"blocks_1_mlp_fc1", "blocks_1_mlp_fc2"}
