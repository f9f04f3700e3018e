"""Core ML packages (.mlpackage) inside of bundles: where they lie, and what they declare. No toolchain in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgedepth.core.spec import StageSpec, TensorSpec

__all__ = ["PACKAGE_FILE", "declared_stage", "function_description", "image_inputs", "named_sizes", "package_of"]

PACKAGE_FILE = ".mlpackage/Manifest.json"
"""The end of an artefact's path. A package is a folder; a bundle names the file in it that says what it holds."""

# ArrayFeatureType.ArrayDataType of Core ML's FeatureTypes.proto.
_DTYPES = {65552: "float16", 65568: "float32", 65600: "float64", 131104: "int32"}


def package_of(artefact: Path) -> Path:
    """The package's folder, from the file that the bundle names."""
    return artefact.parent


def function_description(spec: Any, function: str | None) -> Any:
    """What a package says of a function's inputs and outputs; a package of one function says it of itself.

    Args:
        spec: a Model of Core ML's specification.
        function: its name; None or an unknown one for a package of one.
    """
    return next((one for one in spec.description.functions if one.name == function), spec.description)


def declared_stage(stage: StageSpec, description: Any) -> StageSpec:
    """A stage as a package declares it.

    Args:
        stage: what it should be: Core ML knows no units, and pictures have no dtype, so these are taken from here.
        description: a ModelDescription or FunctionDescription of Core ML's specification.
    """
    return replace(
        stage,
        inputs=tuple(_tensor(feature, stage.inputs) for feature in description.input),
        outputs=tuple(_tensor(feature, stage.outputs) for feature in description.output),
    )


def image_inputs(description: Any) -> frozenset[str]:
    """The inputs that take pictures (RGB, 8 bits) instead of tensors."""
    return frozenset(feature.name for feature in description.input if feature.type.WhichOneof("Type") == "imageType")


def named_sizes(sizes: Sequence[int | None], spec: TensorSpec | None) -> tuple[int | str, ...]:
    """A shape in which sizes that may vary (None) carry the names that a declaration gives them, "?" without one."""
    names = spec.shape if spec is not None and len(spec.shape) == len(sizes) else ("?",) * len(sizes)
    return tuple(str(name) if size is None else size for size, name in zip(sizes, names, strict=True))


def _tensor(feature: Any, specs: tuple[TensorSpec, ...]) -> TensorSpec:
    spec = next((spec for spec in specs if spec.name == feature.name), None)
    unit = spec.unit if spec else "?"
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        return TensorSpec(name=feature.name, dtype="float32", shape=(1, 3, image.height, image.width), unit=unit)
    if kind != "multiArrayType":
        return TensorSpec(name=feature.name, dtype=str(kind), shape=(), unit=unit)
    array = feature.type.multiArrayType
    dtype = _DTYPES.get(array.dataType, f"data type {array.dataType}")
    ranges = array.shapeRange.sizeRanges
    sizes = [
        int(size) if not ranges or ranges[axis].lowerBound == ranges[axis].upperBound else None
        for axis, size in enumerate(array.shape)
    ]
    return TensorSpec(name=feature.name, dtype=dtype, shape=named_sizes(sizes, spec), unit=unit)
