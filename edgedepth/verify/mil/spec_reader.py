"""The bytes of a .mlmodel inside of a package, as a Spec.

Field numbers are those of coremltools' Model.proto, FeatureTypes.proto and MIL.proto (BSD-3-Clause, Apple).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from edgedepth.core.wire import Message, WireError
from edgedepth.verify.mil.dtypes import FEATURE_DTYPES, SPEC_DTYPES, DType, unpack_bits
from edgedepth.verify.mil.graph import (
    Blob,
    Constant,
    Feature,
    Function,
    Named,
    Operation,
    Spec,
    TensorType,
    Variable,
)

__all__ = ["NEWEST_SPEC_VERSION", "NotAProgramError", "TooNewError", "read_spec"]

NEWEST_SPEC_VERSION = 10
"""iOS 26, macOS 26: the newest that these field numbers and ops were read from (coremltools 9.0)."""

_ML_PROGRAM = 502
_KINDS = {200: "pipeline classifier", 201: "pipeline regressor", 202: "pipeline", 403: "neural network classifier"}
_KINDS |= {303: "neural network regressor", 500: "neural network", 3000: "serialized model"}
_COLOR_SPACES = {10: "gray", 20: "rgb", 30: "bgr", 40: "gray_fp16"}
_BYTES_DTYPES = {"fp16", "int4", "int8", "uint1", "uint2", "uint3", "uint4", "uint6", "uint8", "uint32"}


class TooNewError(ValueError):
    """A spec version that nobody has read yet."""


class NotAProgramError(ValueError):
    """A Core ML model of another kind."""


def read_spec(data: bytes) -> Spec:
    """Read a spec.

    Raises:
        WireError: these bytes are not a spec.
        TooNewError: of a later version than NEWEST_SPEC_VERSION.
        NotAProgramError: a neural network, a pipeline, or nothing.
    """
    model = Message(data)
    version = model.integer(1)
    if version > NEWEST_SPEC_VERSION:
        raise TooNewError(f"spec version {version}")
    if _ML_PROGRAM not in model:
        kind = next((name for number, name in _KINDS.items() if number in model), "model without an mlProgram")
        raise NotAProgramError(kind)
    about = model.child(2)
    metadata = about.child(100)
    return Spec(
        version=version,
        functions=_functions(model.child(_ML_PROGRAM), about),
        default_function=about.text(21) or "main",
        metadata={entry.text(1): entry.text(2) for entry in metadata.children(100)},
        description=metadata.text(1),
        model_version=metadata.text(2),
        author=metadata.text(3),
        license=metadata.text(4),
    )


def _functions(program: Message, about: Message) -> dict[str, Function]:
    """A package of several functions describes each; one of a single function describes it at the top."""
    described = {item.text(1): (item.children(2), item.children(3)) for item in about.children(20)}
    top = (about.children(1), about.children(10))
    return {name: _function(name, message, *described.get(name, top)) for name, message in program.entries(2).items()}


def _function(name: str, message: Message, inputs: list[Message], outputs: list[Message]) -> Function:
    opset = message.text(2)
    blocks = message.entries(3)
    if opset not in blocks:
        raise WireError(f"function {name!r} has no block for its opset {opset!r}")
    block = blocks[opset]
    parameters = tuple(_named(item) for item in message.children(1))
    operations = tuple(_operation(item) for item in block.children(3))
    results = tuple(block.texts(2))
    types = {item.name: item.type for item in parameters}
    types |= {item.name: item.type for operation in operations for item in operation.outputs}
    return Function(
        name=name,
        opset=opset,
        inputs=_features(inputs, types),
        outputs=_features(outputs, types),
        parameters=parameters,
        operations=operations,
        results=results,
    )


def _features(messages: list[Message], types: Mapping[str, TensorType | None]) -> dict[str, Feature]:
    features = (_feature(message, types) for message in messages)
    return {feature.name: feature for feature in features}


def _feature(message: Message, types: Mapping[str, TensorType | None]) -> Feature:
    """One declared input or output; what the declaration leaves open is taken from the program."""
    name, kind = message.text(1), message.child(3)
    behind = types.get(name)
    if 4 in kind:
        image = kind.child(4)
        space = _COLOR_SPACES.get(image.integer(3))
        if space is None:
            raise WireError(f"feature {name!r} is an image without a colour space")
        channels = 1 if space.startswith("gray") else 3
        shape = (1, channels, image.integer(2), image.integer(1))
        dtype = behind.dtype.storage if behind else np.dtype(np.float32)
        return Feature(name, dtype, shape, space, message.text(2))
    if 5 not in kind:
        raise WireError(f"feature {name!r} is neither an array nor an image")
    array = kind.child(5)
    declared = FEATURE_DTYPES.get(array.integer(2))
    if declared is None:
        raise WireError(f"feature {name!r} has the unknown dtype {array.integer(2)}")
    sizes = tuple(int(size) for size in array.integers(1))
    flexible = 21 in array or 31 in array
    if behind is not None and (flexible or not sizes):
        return Feature(name, declared.storage, behind.shape, None, message.text(2))
    return Feature(name, declared.storage, sizes, None, message.text(2))


def _operation(message: Message) -> Operation:
    return Operation(
        type=message.text(1),
        inputs={
            parameter: tuple(_binding(item) for item in argument.children(1))
            for parameter, argument in message.entries(2).items()
        },
        outputs=tuple(_named(item) for item in message.children(3)),
        attributes={name: _constant(value) for name, value in message.entries(5).items()},
        blocks=len(message.children(4)),
    )


def _binding(message: Message) -> Variable | Constant:
    return _constant(message.child(2)) if 2 in message else Variable(message.text(1))


def _named(message: Message) -> Named:
    return Named(message.text(1), _type(message.child(2)))


def _type(message: Message) -> TensorType | None:
    if 1 not in message:
        return None
    tensor = message.child(1)
    dtype = SPEC_DTYPES.get(tensor.integer(1))
    if dtype is None:
        raise WireError(f"the element type {tensor.integer(1)} is not known")
    shape = tuple(item.child(1).integer(1) if 1 in item else None for item in tensor.children(3))
    if tensor.integer(2) != len(shape):
        raise WireError(f"a tensor of rank {tensor.integer(2)} has {len(shape)} sizes")
    return TensorType(dtype, shape)


def _constant(message: Message) -> Constant:
    declared = _type(message.child(2))
    if 5 in message:
        blob = message.child(5)
        return Constant(declared, Blob(blob.text(1), blob.integer(2)))
    tensor = message.child(3).child(1)
    if declared is None or 1 not in message.child(3):
        return Constant(None, None)
    if declared.dtype.name == "string":
        texts = tensor.child(4).texts(1)
        return Constant(declared, texts[0] if texts else "")
    return Constant(declared, _array(tensor, declared))


def _array(tensor: Message, declared: TensorType) -> npt.NDArray[np.generic]:
    values = _flat(tensor, declared.dtype, declared.size)
    if values.size != declared.size:
        raise WireError(f"a constant of {declared} holds {values.size} values")
    return values.reshape([size or 0 for size in declared.shape]).astype(declared.dtype.storage, copy=False)


def _flat(tensor: Message, dtype: DType, count: int) -> npt.NDArray[np.generic]:
    """The values, from the field that MIL writes an element type into."""
    if dtype.name in _BYTES_DTYPES:
        data = tensor.child(7).data(1)
        if 8 * len(data) < count * dtype.bits:
            raise WireError(f"{count} values of {dtype.name} in {len(data)} bytes")
        if dtype.bits < 8:
            return unpack_bits(data, count, dtype)
        return np.frombuffer(data, dtype.storage.newbyteorder("<"))
    if dtype.name in ("fp32", "fp64"):
        number, size = (1, "<f4") if dtype.name == "fp32" else (6, "<f8")
        return np.frombuffer(tensor.child(number).data(1), size)
    if dtype.name == "bool":
        return tensor.child(3).integers(1).astype(np.bool_)
    return tensor.child(5 if dtype.bits == 64 else 2).integers(1)
