"""Faults planted in packages: what is damaged is refused when it is opened, what computes something else is told apart.

These decide what a result of the evaluator is worth.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgedepth.core.errors import PackageError, StageError, UnsupportedOpError
from edgedepth.verify.mil import load_package
from edgedepth.verify.mil.spec_reader import NEWEST_SPEC_VERSION

# coremltools leaves its temporary folders to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")

Convert = Callable[..., Path]
Floats = np.ndarray[Any, Any]
Edit = Callable[[Callable[[Any], None]], Path]

FP32_GATE, FP16_GATE = 1e-5, 5e-3


class Small(nn.Module):
    """A linear layer, the exact GELU, a transposition, another linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(32, 64)
        self.second = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = nn.functional.gelu(self.first(x))
        return self.second(hidden.reshape(1, 16, 16, 4).permute(0, 2, 3, 1))


@pytest.fixture(scope="module")
def x() -> Floats:
    return np.random.default_rng(0).standard_normal((1, 16, 32)).astype(np.float32)


@pytest.fixture(scope="module")
def small() -> Small:
    return Small().eval()


@pytest.fixture(scope="module")
def expected(small: Small, x: Floats) -> Floats:
    with torch.no_grad():
        return small(torch.from_numpy(x)).numpy()


@pytest.fixture(scope="module")
def packages(convert: Convert, small: Small, x: Floats) -> dict[str, Path]:
    return {name: convert(small, {"x": x}, ["y"], half=name == "fp16") for name in ("fp32", "fp16")}


@pytest.fixture
def package(packages: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the fp32 package, to be damaged."""
    return Path(shutil.copytree(packages["fp32"], tmp_path / "damaged.mlpackage"))


def model_of(package: Path) -> Path:
    return next(package.rglob("*.mlmodel"))


def weights_of(package: Path) -> Path:
    return next(package.rglob("weight.bin"))


def edit(package: Path, coremltools: Any, change: Callable[[Any], None]) -> Path:
    """Change the spec with coremltools' own protobuf classes."""
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model()
    spec.ParseFromString(model_of(package).read_bytes())
    change(spec)
    model_of(package).write_bytes(spec.SerializeToString())
    return package


def operations(spec: Any) -> Any:
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def named(spec: Any, kind: str) -> Any:
    return next(item for item in operations(spec) if item.type == kind)


def giving(spec: Any, name: str) -> Any:
    return next(item for item in operations(spec) if item.outputs and item.outputs[0].name == name)


def error(package: Path, x: Floats, expected: Floats) -> float:
    got = load_package(package).run({"x": x})["y"]
    return float(np.abs(got - expected).max() / np.abs(expected).max())


# --- faults that change what is computed ----------------------------------------------------------------------------


def test_without_a_fault_both_gates_are_passed(packages: dict[str, Path], x: Floats, expected: Floats) -> None:
    assert error(packages["fp32"], x, expected) <= FP32_GATE
    assert error(packages["fp16"], x, expected) <= FP16_GATE


def test_overwritten_weights_are_caught(package: Path, x: Floats, expected: Floats) -> None:
    weights = weights_of(package)
    data = bytearray(weights.read_bytes())
    data[128:192] = bytes(64)  # the first sixteen floats of the first record
    weights.write_bytes(data)
    assert error(package, x, expected) > 10 * FP16_GATE


def test_one_weight_is_enough_at_fp32(package: Path, x: Floats, expected: Floats) -> None:
    weights = weights_of(package)
    data = bytearray(weights.read_bytes())
    stored = np.frombuffer(data, np.float32, 1, 128)
    data[128:132] = (stored * np.float32(1.5)).tobytes()
    weights.write_bytes(data)
    assert error(package, x, expected) > FP32_GATE


def test_a_swapped_permutation_is_caught(package: Path, coremltools: Any, x: Floats, expected: Floats) -> None:
    """Two axes of 16 change places, so that every declared shape still holds: only the values tell."""

    def swap(spec: Any) -> None:
        parameter = named(spec, "transpose").inputs["perm"].arguments[0].name
        values = giving(spec, parameter).attributes["val"].immediateValue.tensor.ints.values
        assert sorted(int(value) % 4 for value in values) == [0, 1, 2, 3]
        values[:] = [0, 1, 3, 2]

    assert error(edit(package, coremltools, swap), x, expected) > 0.1


def test_a_permutation_to_another_shape_is_caught_by_itself(package: Path, coremltools: Any, x: Floats) -> None:
    def swap(spec: Any) -> None:
        parameter = named(spec, "transpose").inputs["perm"].arguments[0].name
        giving(spec, parameter).attributes["val"].immediateValue.tensor.ints.values[:] = [0, 3, 2, 1]

    with pytest.raises(StageError, match=r"op transpose .* gives the shape \(1, 4, 16, 16\)"):
        load_package(edit(package, coremltools, swap)).run({"x": x})


def test_another_gelu_is_caught_at_fp32_and_not_at_fp16(
    packages: dict[str, Path], coremltools: Any, tmp_path: Path, x: Floats, expected: Floats
) -> None:
    """Why an fp32 twin is proven beside every fp16 package: the tanh approximation hides in half precision."""

    def approximate(spec: Any) -> None:
        parameter = named(spec, "gelu").inputs["mode"].arguments[0].name
        values = giving(spec, parameter).attributes["val"].immediateValue.tensor.strings.values
        assert list(values) == ["EXACT"]
        values[:] = ["TANH_APPROXIMATION"]

    errors = {}
    for name, path in packages.items():
        copy = Path(shutil.copytree(path, tmp_path / f"{name}.mlpackage"))
        errors[name] = error(edit(copy, coremltools, approximate), x, expected)
    assert errors["fp32"] > FP32_GATE
    assert errors["fp16"] <= FP16_GATE


def test_a_declared_shape_that_is_not_the_computed_one(package: Path, coremltools: Any, x: Floats) -> None:
    def grow(spec: Any) -> None:
        named(spec, "gelu").outputs[0].type.tensorType.dimensions[2].constant.size = 65

    with pytest.raises(StageError, match=r"op gelu .* declared fp32 \(1, 16, 65\)"):
        load_package(edit(package, coremltools, grow)).run({"x": x})


def test_a_declared_dtype_that_is_not_the_computed_one(package: Path, coremltools: Any, x: Floats) -> None:
    from coremltools.proto import MIL_pb2

    def halve(spec: Any) -> None:
        named(spec, "gelu").outputs[0].type.tensorType.dataType = MIL_pb2.FLOAT16

    with pytest.raises(StageError, match=r"op gelu .* gives fp32; .* declared fp16"):
        load_package(edit(package, coremltools, halve)).run({"x": x})


def test_sizes_that_do_not_go_together(package: Path, coremltools: Any, x: Floats) -> None:
    def shrink(spec: Any) -> None:
        parameter = named(spec, "reshape").inputs["shape"].arguments[0].name
        giving(spec, parameter).attributes["val"].immediateValue.tensor.ints.values[1] = 17

    with pytest.raises(StageError, match=r"op reshape .* can't be computed"):
        load_package(edit(package, coremltools, shrink)).run({"x": x})


def test_an_unknown_op_is_named_with_its_output(package: Path, coremltools: Any, x: Floats) -> None:
    def rename(spec: Any) -> None:
        item = named(spec, "gelu")
        old = item.outputs[0].name
        item.type = "crystal_ball"
        for other in operations(spec):
            for argument in other.inputs.values():
                for binding in argument.arguments:
                    if binding.name == old:
                        binding.name = "future"
        item.outputs[0].name = "future"

    program = load_package(edit(package, coremltools, rename))
    assert program.unsupported_ops() == ["crystal_ball"]
    with pytest.raises(UnsupportedOpError, match=r"op crystal_ball \(future\)"):
        program.run({"x": x})


def test_an_unknown_parameter_is_named(package: Path, coremltools: Any, x: Floats) -> None:
    def add(spec: Any) -> None:
        item = named(spec, "gelu")
        item.inputs["temperature"].CopyFrom(item.inputs["mode"])

    with pytest.raises(UnsupportedOpError, match=r"op gelu .* parameter 'temperature'"):
        load_package(edit(package, coremltools, add)).run({"x": x})


# --- packages that can't be opened ----------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 63, 64, 200, -1])
def test_truncated_weights(package: Path, keep: int) -> None:
    weights = weights_of(package)
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(PackageError, match=r"weight\.bin .*(truncated|header)"):
        load_package(package)


def test_missing_weights(package: Path) -> None:
    weights_of(package).unlink()
    with pytest.raises(PackageError, match="has no weights"):
        load_package(package)


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (4, b"\1\0\0\0", "storage version 1"),
        (64, b"\0\0\0\0", "no record at 64"),
        (68, b"\1\0\0\0", "holds fp16"),
        (68, b"\x63\0\0\0", "unknown type 99"),
        (72, b"\1\0\0\0\0\0\0\0", "holds 1 bytes"),
        (80, b"\xff" * 8, "truncated"),
    ],
)
def test_damaged_weights(package: Path, at: int, value: bytes, words: str) -> None:
    weights = weights_of(package)
    data = bytearray(weights.read_bytes())
    data[at : at + len(value)] = value
    weights.write_bytes(data)
    with pytest.raises(PackageError, match=words):
        load_package(package)


def test_weights_outside_of_the_package(package: Path, coremltools: Any) -> None:
    def lead_out(spec: Any) -> None:
        for item in operations(spec):
            value = item.attributes.get("val")
            if value is not None and value.WhichOneof("value") == "blobFileValue":
                value.blobFileValue.fileName = "@model_path/../../../../secrets.bin"

    with pytest.raises(PackageError, match="leads out of the package"):
        load_package(edit(package, coremltools, lead_out))


def test_a_later_spec(package: Path, coremltools: Any) -> None:
    def age(spec: Any) -> None:
        spec.specificationVersion = NEWEST_SPEC_VERSION + 1

    with pytest.raises(PackageError, match="spec version 11; versions to 10"):
        load_package(edit(package, coremltools, age))


def test_the_newest_spec_is_what_coremltools_writes(coremltools: Any) -> None:
    assert max(target.value for target in coremltools.target) == NEWEST_SPEC_VERSION


def test_models_of_other_kinds(package: Path, coremltools: Any) -> None:
    def network(spec: Any) -> None:
        spec.neuralNetwork.SetInParent()

    with pytest.raises(PackageError, match="is a neural network"):
        load_package(edit(package, coremltools, network))
    model_of(package).write_bytes(b"\x08\x08")
    with pytest.raises(PackageError, match="a model without an mlProgram"):
        load_package(package)


def test_bytes_that_are_no_spec(package: Path) -> None:
    whole = model_of(package).read_bytes()
    for data in (b"", b"not a model", whole[:-1], whole[: len(whole) // 2], b"\xff" * 100):
        model_of(package).write_bytes(data)
        with pytest.raises(PackageError):
            load_package(package)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rootModelIdentifier": "a", "itemInfoEntries": {}}', "\xff"])
def test_manifests_that_name_no_model(package: Path, text: str) -> None:
    (package / "Manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(PackageError, match="Manifest"):
        load_package(package)


def test_a_manifest_that_leads_out(package: Path) -> None:
    manifest = json.loads((package / "Manifest.json").read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = "../../model.mlmodel"
    (package / "Manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match="leads out"):
        load_package(package)


def test_no_package_at_all(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.mlpackage"):
        with pytest.raises(PackageError, match=r"no Manifest\.json"):
            load_package(path)


def test_borders_that_contradict_the_program(package: Path, coremltools: Any) -> None:
    def declare(spec: Any) -> None:
        spec.description.output[0].type.multiArrayType.shape[3] = 9

    with pytest.raises(PackageError, match=r"output 'y' is declared float32 \(1, 16, 4, 9\)"):
        load_package(edit(package, coremltools, declare))


def test_an_output_dtype_that_contradicts_the_program(package: Path, coremltools: Any) -> None:
    from coremltools.proto import FeatureTypes_pb2

    def declare(spec: Any) -> None:
        spec.description.output[0].type.multiArrayType.dataType = FeatureTypes_pb2.ArrayFeatureType.FLOAT16

    with pytest.raises(PackageError, match="'y' is declared float16"):
        load_package(edit(package, coremltools, declare))


def test_a_declared_output_that_nothing_gives(package: Path, coremltools: Any) -> None:
    def rename(spec: Any) -> None:
        spec.description.output[0].name = "z"

    with pytest.raises(PackageError, match=r"declares the outputs \['z'\]"):
        load_package(edit(package, coremltools, rename))


def test_names_that_are_not_defined(package: Path, coremltools: Any) -> None:
    def forget(spec: Any) -> None:
        operations(spec).remove(named(spec, "gelu"))

    with pytest.raises(PackageError, match="not defined before it"):
        load_package(edit(package, coremltools, forget))

    def twice(spec: Any) -> None:
        operations(spec).insert(0, operations(spec)[0])

    with pytest.raises(PackageError):
        load_package(edit(package, coremltools, twice))
