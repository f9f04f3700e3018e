"""What a caller hands in, as the tensors that a program takes; pictures as Core ML would pass them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import StageError
from edgedepth.verify.mil.graph import Feature, Function

__all__ = ["parameters_of"]


def parameters_of(
    function: Function, inputs: Mapping[str, npt.NDArray[Any]], label: str
) -> dict[str, npt.NDArray[Any]]:
    """Check the inputs and turn pictures into tensors.

    Args:
        function: the program's.
        inputs: by name, in the declared dtype and shape. An image also as (H, W, 3) or (H, W) uint8, RGB or grey.
        label: of the package, for messages.

    Raises:
        StageError: a missing or unknown name, a wrong dtype or shape.
    """
    remedy = f"the inputs are {', '.join(_describe(feature) for feature in function.inputs.values())}"
    if unknown := sorted(set(inputs) - set(function.inputs)):
        raise StageError(f"{label}: there is no input {unknown[0]!r}", remedy=remedy)
    tensors = {}
    for name, feature in function.inputs.items():
        if name not in inputs:
            raise StageError(f"{label}: input {name!r} is missing", remedy=remedy)
        array = np.asarray(inputs[name])
        if feature.image and array.dtype == np.uint8 and array.ndim in (2, 3):
            array = _tensor_of(array, feature)
        sizes_fit = len(array.shape) == len(feature.shape) and all(
            declared in (None, size) for declared, size in zip(feature.shape, array.shape, strict=True)
        )
        if array.dtype != feature.dtype or not sizes_fit:
            got = f"got {array.dtype} {array.shape}"
            raise StageError(f"{label}: input {name!r}: {got}, expected {_describe(feature)}", remedy=remedy)
        tensors[name] = array
    return tensors


def _tensor_of(picture: npt.NDArray[np.uint8], feature: Feature) -> npt.NDArray[Any]:
    """A picture as Core ML hands it to a program: 0..255, channels first; scale and bias are ops of the program."""
    planes = picture[None] if picture.ndim == 2 else np.moveaxis(picture, -1, 0)
    if feature.image == "bgr":
        planes = planes[::-1]
    return np.ascontiguousarray(planes[None], feature.dtype)


def _describe(feature: Feature) -> str:
    tensor = f"{feature.name}: {feature.dtype} {feature.shape}"
    return f"{tensor} or a uint8 picture" if feature.image else tensor
