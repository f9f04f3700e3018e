"""Packages that coremltools makes: read, run, and compared with the torch module they came from."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgedepth.core.errors import OptionError, StageError
from edgedepth.verify.mil import MilProgram, changed_constants, load_package

# coremltools leaves its temporary folders to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")

Convert = Callable[..., Path]
Floats = np.ndarray[Any, Any]

# fp32: sums in another order. fp16: 11 bits, and a few roundings one after the other.
FP32, FP16 = 1e-5, 5e-3


class Block(nn.Module):
    """Every convention that a depth network relies on: convolutions both ways, resizing, attention, norms, GELU."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Conv2d(3, 16, 4, 4)
        self.norm = nn.LayerNorm(16, eps=1e-6)
        self.qkv = nn.Linear(16, 48)
        self.mlp = nn.Linear(16, 16)
        self.up = nn.ConvTranspose2d(16, 8, 2, 2)
        self.smooth = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        features = self.embed(image)
        tokens = features.flatten(2).transpose(1, 2)
        query, key, value = self.qkv(self.norm(tokens)).chunk(3, -1)
        tokens = tokens + torch.softmax(query @ key.transpose(-2, -1) * 0.25, -1) @ value
        tokens = tokens + F.gelu(self.mlp(tokens))
        features = self.up(tokens.transpose(1, 2).reshape(1, 16, 8, 8))
        features = features + F.relu(self.smooth(features))
        features = F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.head(features)


@pytest.fixture(scope="module")
def block() -> Block:
    return Block().eval()


@pytest.fixture(scope="module")
def image() -> Floats:
    return np.random.default_rng(1).uniform(-1, 1, (1, 3, 32, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(block: Block, image: Floats) -> Floats:
    with torch.no_grad():
        return block(torch.from_numpy(image)).numpy()


@pytest.fixture(scope="module")
def fp32(convert: Convert, block: Block, image: Floats) -> MilProgram:
    return load_package(convert(block, {"image": image}, ["depth"]))


def error(got: Floats, expected: Floats) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def test_borders(fp32: MilProgram) -> None:
    assert {name: (item.shape, item.dtype) for name, item in fp32.inputs.items()} == {
        "image": ((1, 3, 32, 32), np.dtype("float32"))
    }
    assert {name: (item.shape, item.dtype) for name, item in fp32.outputs.items()} == {
        "depth": ((1, 1, 32, 32), np.dtype("float32"))
    }
    assert list(fp32.functions) == ["main"]
    assert fp32.unsupported_ops() == []
    assert "com.github.apple.coremltools.version" in fp32.metadata


def test_parity_fp32(fp32: MilProgram, image: Floats, expected: Floats) -> None:
    got = fp32.run({"image": image})
    assert list(got) == ["depth"]
    assert got["depth"].dtype == np.float32
    assert got["depth"].flags.writeable
    assert error(got["depth"], expected) <= FP32


@pytest.mark.parametrize("opset", ["iOS15", "iOS16", "iOS17", "iOS18"])
def test_parity_fp16(convert: Convert, block: Block, image: Floats, expected: Floats, opset: str) -> None:
    program = load_package(convert(block, {"image": image}, ["depth"], half=True, opset=opset))
    got = error(program.run({"image": image})["depth"], expected)
    assert 1e-6 < got <= FP16  # and it does round: an evaluator that stayed in float32 would be below


def test_the_result_does_not_depend_on_what_ran_before(fp32: MilProgram, image: Floats) -> None:
    first = fp32.run({"image": image})["depth"]
    fp32.run({"image": -image})
    assert np.array_equal(fp32.run({"image": image})["depth"], first)


class Attention(nn.Module):
    def forward(self, query: Tensor, mask: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(query, query, query, attn_mask=mask)


def test_fused_attention(convert: Convert) -> None:
    rng = np.random.default_rng(0)
    query, mask = rng.standard_normal((2, 3, 5, 4)).astype(np.float32), rng.standard_normal((5, 5)).astype(np.float32)
    program = load_package(convert(Attention(), {"query": query, "mask": mask}, ["mixed"], opset="iOS18"))
    kinds = {item.type for item in program.functions["main"].operations}
    assert "scaled_dot_product_attention" in kinds
    theirs = Attention()(torch.from_numpy(query), torch.from_numpy(mask)).numpy()
    assert error(program.run({"query": query, "mask": mask})["mixed"], theirs) <= FP32


def test_pictures(coremltools: Any, convert: Convert, block: Block, image: Floats) -> None:
    """Core ML scales a picture to -1..1 in the program: bytes go in, RGB or BGR."""
    ct = coremltools
    picture = np.random.default_rng(2).integers(0, 256, (32, 32, 3), np.uint8)
    for layout, name, planes in (
        (ct.colorlayout.RGB, "rgb", picture),
        (ct.colorlayout.BGR, "bgr", picture[..., ::-1]),  # the package asks for blue first, the caller hands in RGB
    ):
        declared = ct.ImageType(name="image", shape=image.shape, scale=2 / 255, bias=[-1, -1, -1], color_layout=layout)
        program = load_package(convert(block, {"image": image}, ["depth"], declared_inputs=[declared]))
        assert program.inputs["image"].image == name
        assert program.inputs["image"].shape == (1, 3, 32, 32)
        tensor = np.moveaxis(planes, -1, 0)[None].astype(np.float32)
        with torch.no_grad():
            theirs = block(torch.from_numpy(tensor) / 127.5 - 1).numpy()
        got = program.run({"image": picture})["depth"]
        assert error(got, theirs) <= FP32
        assert np.array_equal(program.run({"image": tensor})["depth"], got)


def test_several_functions(coremltools: Any, convert: Convert, block: Block, image: Floats, tmp_path: Path) -> None:
    ct = coremltools
    one = convert(block, {"image": image}, ["depth"], opset="iOS18")
    bigger = np.concatenate([image, -image])

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = block

        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([self.block(images[:1]), self.block(images[1:])])

    two = convert(Twice(), {"images": bigger}, ["depths"], opset="iOS18")
    both = ct.utils.MultiFunctionDescriptor()
    both.add_function(str(one), "main", "single")
    both.add_function(str(two), "main", "pair")
    both.default_function_name = "pair"
    ct.utils.save_multifunction(both, str(tmp_path / "both.mlpackage"))
    program = load_package(tmp_path / "both.mlpackage")
    assert sorted(program.functions) == ["pair", "single"]
    assert list(program.inputs) == ["images"]
    assert program.functions["single"].inputs["image"].shape == (1, 3, 32, 32)
    depth = program.run({"image": image}, "single")["depth"]
    depths = program.run({"images": bigger}, function="pair")["depths"]
    assert np.array_equal(depths[:1], depth)
    with pytest.raises(OptionError, match="no function 'main'"):
        program.run({"image": image})


def test_flexible_shapes(coremltools: Any, block: Block, tmp_path: Path) -> None:
    """A size that is left open takes any, and what follows from it is computed."""
    ct = coremltools
    module = nn.Sequential(block.embed, nn.ReLU(), nn.Upsample(scale_factor=2, mode="nearest")).eval()
    example = torch.zeros(1, 3, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ct.convert(
            torch.jit.trace(module, example),
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS17,
            compute_precision=ct.precision.FLOAT32,
            inputs=[ct.TensorType(name="x", shape=(ct.RangeDim(1, 4), 3, 16, ct.RangeDim(16, 64)), dtype=np.float32)],
            outputs=[ct.TensorType(name="y", dtype=np.float32)],
            skip_model_load=True,
        )
        model.save(str(tmp_path / "flexible.mlpackage"))
    program = load_package(tmp_path / "flexible.mlpackage")
    assert program.inputs["x"].shape == (None, 3, 16, None)
    x = np.random.default_rng(0).standard_normal((3, 3, 16, 32)).astype(np.float32)
    with torch.no_grad():
        assert error(program.run({"x": x})["y"], module(torch.from_numpy(x)).numpy()) <= FP32
    with pytest.raises(StageError, match="got float32"):
        program.run({"x": x[:, :2]})


def test_wrong_inputs_are_refused(fp32: MilProgram, image: Floats) -> None:
    for wrong, words in (
        ({}, "'image' is missing"),
        ({"image": image, "other": image}, "no input 'other'"),
        ({"image": image[..., :31]}, r"float32 \(1, 3, 32, 31\)"),
        ({"image": image.astype(np.float64)}, "float64"),
    ):
        with pytest.raises(StageError, match=words):
            fp32.run(wrong)


# --- compression ----------------------------------------------------------------------------------------------------


def compressors(ct: Any) -> dict[str, tuple[str, Callable[[Any], Any]]]:
    """By name: the opset, and what makes a compressed model."""
    cto = ct.optimize.coreml

    def linear(**options: Any) -> Callable[[Any], Any]:
        config = cto.OptimizationConfig(global_config=cto.OpLinearQuantizerConfig(weight_threshold=1, **options))
        return lambda model: cto.linear_quantize_weights(model, config)

    def palette(**options: Any) -> Callable[[Any], Any]:
        config = cto.OptimizationConfig(global_config=cto.OpPalettizerConfig(weight_threshold=1, **options))
        return lambda model: cto.palettize_weights(model, config)

    def sparse(model: Any) -> Any:
        pruner = cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=1)
        return cto.prune_weights(model, cto.OptimizationConfig(global_config=pruner))

    def joint(second: Any) -> Callable[[Any], Any]:
        config = cto.OptimizationConfig(global_config=second)
        compress = cto.palettize_weights if isinstance(second, cto.OpPalettizerConfig) else cto.linear_quantize_weights
        return lambda model: compress(sparse(model), config, joint_compression=True)

    return {
        "int8 per channel": ("iOS17", linear(mode="linear_symmetric")),
        "uint8 per channel, a zero point": ("iOS17", linear(mode="linear", dtype=np.uint8)),
        "int8 per channel, iOS 18": ("iOS18", linear(mode="linear_symmetric")),
        "int4 per block": ("iOS18", linear(mode="linear", dtype="int4", granularity="per_block", block_size=4)),
        "6-bit palette": ("iOS17", palette(mode="uniform", nbits=6)),
        "4-bit palettes of groups": (
            "iOS18",
            palette(mode="uniform", nbits=4, granularity="per_grouped_channel", group_size=4),
        ),
        "3-bit palette": ("iOS18", palette(mode="uniform", nbits=3)),
        "sparse": ("iOS17", sparse),
        "sparse, iOS 18": ("iOS18", sparse),
        "sparse and int8": ("iOS18", joint(cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=1))),
        "sparse and a palette": ("iOS18", joint(cto.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=1))),
    }


NAMES = (
    "int8 per channel",
    "uint8 per channel, a zero point",
    "int8 per channel, iOS 18",
    "int4 per block",
    "6-bit palette",
    "4-bit palettes of groups",
    "3-bit palette",
    "sparse",
    "sparse, iOS 18",
    "sparse and int8",
    "sparse and a palette",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.filterwarnings("ignore::RuntimeWarning:coremltools")
def test_compressed_weights(
    coremltools: Any, convert: Convert, block: Block, image: Floats, tmp_path: Path, name: str, half: bool
) -> None:
    """Evaluated as compressed, and as coremltools decompresses it: the same."""
    opset, compress = compressors(coremltools)[name]
    path = convert(block, {"image": image}, ["depth"], half=half, opset=opset, compress=compress)
    program = load_package(path)
    kinds = {item.type for item in program.functions["main"].operations}
    assert any(kind.startswith("constexpr_") for kind in kinds)
    model = coremltools.models.MLModel(str(path), skip_model_load=True)
    coremltools.optimize.coreml.decompress_weights(model).save(str(tmp_path / "dense.mlpackage"))
    dense = load_package(tmp_path / "dense.mlpackage")
    assert not any(item.type.startswith("constexpr_") for item in dense.functions["main"].operations)
    got, theirs = (item.run({"image": image})["depth"] for item in (program, dense))
    # At fp16, coremltools multiplies in fp16 and the evaluator in fp32, rounded once.
    assert error(got, theirs) <= (FP16 if half else 1e-6)


def test_half_precision_weights_of_an_fp32_program(coremltools: Any, tmp_path: Path) -> None:
    """constexpr_cast: half the file, all of the arithmetic."""
    from coremltools.converters.mil.mil import Builder, types

    ct = coremltools
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float16)

    def linear(x: Any) -> Any:
        return Builder.linear(x=x, weight=Builder.constexpr_cast(source_val=weight, output_dtype="fp32"), name="y")

    specs = [Builder.TensorSpec(shape=(2, 3), dtype=types.fp32)]
    program = Builder.program(input_specs=specs, opset_version=ct.target.iOS17)(linear)
    model = ct.convert(
        program,
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
    )
    model.save(str(tmp_path / "cast.mlpackage"))
    loaded = load_package(tmp_path / "cast.mlpackage")
    assert "constexpr_cast" in {item.type for item in loaded.functions["main"].operations}
    x = np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)
    np.testing.assert_allclose(loaded.run({"x": x})["y"], x @ weight.astype(np.float32).T, rtol=1e-6)


def test_a_known_bug_of_coremltools_is_seen(
    coremltools: Any, convert: Convert, block: Block, image: Floats, expected: Floats
) -> None:
    """Palettes with enable_per_channel_scale overwrite the weights that they leave uncompressed (coremltools#2777)."""
    cto = coremltools.optimize.coreml

    def palettes(*, scaled: bool) -> Callable[[Any], Any]:
        # Groups of five channels: no layer of the block can be cut into them, so none is compressed.
        config = cto.OpPalettizerConfig(
            mode="uniform",
            nbits=4,
            granularity="per_grouped_channel",
            group_size=5,
            weight_threshold=1,
            enable_per_channel_scale=scaled,
        )
        return lambda model: cto.palettize_weights(model, cto.OptimizationConfig(global_config=config))

    before, left_alone, overwritten = (
        load_package(convert(block, {"image": image}, ["depth"], opset="iOS18", compress=compress))
        for compress in (None, palettes(scaled=False), palettes(scaled=True))
    )
    assert changed_constants(before, left_alone) == []
    assert error(left_alone.run({"image": image})["depth"], expected) <= FP32
    assert error(overwritten.run({"image": image})["depth"], expected) > 0.1
    changed = changed_constants(before, overwritten)
    assert {"p_embed_weight", "p_up_weight"} <= set(changed)
