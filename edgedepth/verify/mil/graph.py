"""A program as plain data: its functions, their operations, the types of everything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.verify.mil.dtypes import DType

__all__ = ["Blob", "Constant", "Feature", "Function", "Named", "Operation", "Shape", "Spec", "TensorType", "Variable"]

Shape = tuple["int | None", ...]
"""Sizes; None for one that is only known when the program runs."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """The declared type of a tensor; of a scalar, with an empty shape."""

    dtype: DType
    shape: Shape

    @property
    def size(self) -> int:
        """Elements. Only of a type whose sizes are all known."""
        return math.prod(size or 0 for size in self.shape)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape may be declared so."""
        return len(shape) == len(self.shape) and all(
            declared in (None, size) for declared, size in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.dtype.name} ({sizes})"


@dataclass(frozen=True, slots=True)
class Named:
    """A name and its type: what an operation gives, or a function takes. The type is None if it is not a tensor's."""

    name: str
    type: TensorType | None


@dataclass(frozen=True, slots=True)
class Blob:
    """Where a constant lies: a file of the package, and the offset of the record there."""

    file: str
    offset: int


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is written in the program, or beside it.

    Args:
        type: None if it is not a tensor (a list, a dictionary): nothing that is computed with.
        data: an array of the type's storage and shape, a string, or where the array lies.
    """

    type: TensorType | None
    data: npt.NDArray[Any] | str | Blob | None


@dataclass(frozen=True, slots=True)
class Variable:
    """A reference to what an earlier operation gave."""

    name: str


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    Args:
        type: "conv".
        inputs: what each parameter is bound to, by the parameter's name; several for those that take a tuple.
        outputs: what it gives, in order.
        attributes: constants that are not parameters, and the parameters of constexpr_ ops before iOS 18.
        blocks: how many nested blocks it has (conditions, loops).
    """

    type: str
    inputs: Mapping[str, tuple[Variable | Constant, ...]]
    outputs: tuple[Named, ...]
    attributes: Mapping[str, Constant]
    blocks: int = 0


@dataclass(frozen=True, slots=True)
class Feature:
    """What Core ML declares at a function's border.

    Args:
        name: its name there.
        dtype: the array's, in numpy's words ("float32", "float16", "int32"); of an image, of the tensor behind it.
        shape: of the tensor; an image's is (1, 3, H, W), or (1, 1, H, W) if it is grey.
        image: "rgb", "bgr", "gray", "gray_fp16", or None for an array.
        description: what Xcode shows.
    """

    name: str
    dtype: np.dtype[np.generic]
    shape: Shape
    image: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Function:
    """One function of a program.

    Args:
        name: "main" unless the package has several.
        opset: "CoreML7" and the like.
        inputs: what Core ML takes, by name.
        outputs: what Core ML gives, by name.
        parameters: the inputs as the program declares them.
        operations: in an order that can be run.
        results: names of the values that are given back.
    """

    name: str
    opset: str
    inputs: Mapping[str, Feature]
    outputs: Mapping[str, Feature]
    parameters: tuple[Named, ...]
    operations: tuple[Operation, ...]
    results: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Spec:
    """What a spec file says.

    Args:
        version: 6 for iOS 15 … 10 for iOS 26.
        functions: by name.
        default_function: the one that Core ML runs if none is named.
        metadata: user-defined.
        author, license, description, model_version: what Xcode shows.
    """

    version: int
    functions: Mapping[str, Function]
    default_function: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    author: str = ""
    license: str = ""
    description: str = ""
    model_version: str = ""
