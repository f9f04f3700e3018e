"""Weights of 8 bits for Core ML, layer by layer: what was asked for is rounded, and as by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgedepth.core.errors import ExportFailedError
from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.exporters.coreml_metadata import PackageMetadata
from edgedepth.exporters.coreml_options import CoreMlOptions
from edgedepth.exporters.to_coreml_int8 import export_with_operations, round_weights, with_int8_inputs
from edgedepth.models.depth_pro_stages import stage_modules
from edgedepth.models.loading import LoadedModel
from edgedepth.verify.mil import load_package

WIDTH = 64  # weights of fewer than 2048 numbers are left alone by coremltools
STAGE = StageSpec(
    name="two",
    inputs=(TensorSpec(name="x", dtype="float32", shape=(1, 5, WIDTH)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 5, WIDTH)),),
)
ABOUT = PackageMetadata(author="somebody", licence="a licence", version="12ab", model="toy", user_defined={})


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)])

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.blocks[1](torch.relu(self.blocks[0](x))),)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[str]]]:
    path = tmp_path_factory.mktemp("coreml") / "two.mlpackage"
    layers = ["blocks.0", "blocks.1"]
    operations = export_with_operations(Two(), STAGE, path, layers=layers, options=CoreMlOptions(), metadata=ABOUT)
    return path, operations


def evaluate(package: Path, x: Any) -> Any:
    return load_package(package).run({"x": x})["y"]


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """Symmetric int8 with a scale an output channel, by hand."""
    scale = weight.abs().amax(dim=1, keepdim=True) / 127
    return torch.round(weight / scale) * scale


def by_hand(x: torch.Tensor, chosen: tuple[str, ...]) -> Any:
    module = Two()
    with torch.no_grad():
        for layer in chosen:
            weight = module.get_submodule(layer).weight
            assert isinstance(weight, nn.Parameter)
            weight.copy_(rounded(weight))
        return module(x)[0].numpy()


SUBSETS: list[tuple[str, ...]] = [(), ("blocks.0",), ("blocks.1",), ("blocks.0", "blocks.1")]


@pytest.mark.parametrize("chosen", SUBSETS[1:])
def test_the_chosen_layers_are_rounded_and_no_other(
    converted: tuple[Path, dict[str, list[str]]], chosen: tuple[str, ...], tmp_path: Path
) -> None:
    source, operations = converted
    names = [name for layer in chosen for name in operations[layer]]
    package = tmp_path / "int8.mlpackage"
    round_weights(source, package, STAGE, operations=names, options=CoreMlOptions(), metadata=ABOUT)
    x = torch.randn(1, 5, WIDTH, generator=torch.Generator().manual_seed(1))
    found = evaluate(package, x.numpy())
    # fp16 moves it too, arithmetic and stored scales, but by less than rounding another layer does.
    errors = {layers: np.abs(found - by_hand(x, layers)).mean() for layers in SUBSETS}
    assert min(SUBSETS, key=lambda layers: errors[layers]) == chosen
    assert errors[chosen] < 0.7 * errors[()]


def test_without_layers_it_is_a_copy(converted: tuple[Path, dict[str, list[str]]], tmp_path: Path) -> None:
    source, _ = converted
    round_weights(source, tmp_path / "a.mlpackage", STAGE, operations=[], options=CoreMlOptions(), metadata=ABOUT)
    files = [path.relative_to(source) for path in source.rglob("*") if path.is_file()]
    assert all((source / name).read_bytes() == (tmp_path / "a.mlpackage" / name).read_bytes() for name in files)


def test_inputs_of_eight_bits(tmp_path: Path) -> None:
    package, module, scale = tmp_path / "int8.mlpackage", Two(), 2.5 / 127  # some of the input lies beyond
    operations = export_with_operations(
        with_int8_inputs(module, {"blocks.0": scale}),
        STAGE,
        package,
        layers=["blocks.0"],
        options=CoreMlOptions(),
        metadata=ABOUT,
    )
    assert len(operations["blocks.0"]) == 1
    x = torch.randn(1, 5, WIDTH, generator=torch.Generator().manual_seed(1))
    found = evaluate(package, x.numpy())
    with torch.no_grad():
        expected = module(torch.clip(torch.round(x / scale), -128, 127) * scale)[0].numpy()
        plain = module(x)[0].numpy()
    assert np.abs(found - expected).mean() < 0.2 * np.abs(expected - plain).mean()


def test_a_layer_that_is_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError, match="no operation with the weights of nowhere"):
        export_with_operations(
            Two(), STAGE, tmp_path / "a.mlpackage", layers=["nowhere"], options=CoreMlOptions(), metadata=ABOUT
        )


def test_an_operation_that_is_nowhere(converted: tuple[Path, dict[str, list[str]]], tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError, match="int8 was asked for in"):
        round_weights(
            converted[0],
            tmp_path / "a.mlpackage",
            STAGE,
            operations=["nowhere"],
            options=CoreMlOptions(),
            metadata=ABOUT,
        )


def test_in_the_neural_engines_form_a_block_is_found_whole(tiny: LoadedModel, tmp_path: Path) -> None:
    each = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    operations = export_with_operations(
        stage_modules(tiny.module)["image_encoder"],
        tiny.spec.stage("image_encoder"),
        tmp_path / "a.mlpackage",
        layers=[f"vit.blocks.1.{layer}" for layer in each],
        options=CoreMlOptions(compute_layout="ane"),
        metadata=ABOUT,
    )
    # Query, key, value, fc1 and fc2 aren't torch's own; proj is by its name, if not by its weights.
    assert [len(operations[f"vit.blocks.1.{layer}"]) for layer in each] == [5, 1, 0, 0]
