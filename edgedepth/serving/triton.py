"""config.pbtxt of NVIDIA Triton, built as a message of its published schema (tritonclient's model_config.proto)."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from edgedepth.core.manifest import Artefact
from edgedepth.core.optional import require
from edgedepth.core.spec import TensorSpec

__all__ = ["triton_config"]

_BACKENDS = {"onnx": "onnxruntime", "openvino": "openvino"}
_DTYPES = {"float32": "TYPE_FP32", "int32": "TYPE_INT32", "float16": "TYPE_FP16"}


def triton_config(
    name: str, artefact: Artefact, target: str, *, instances: int, max_tiles: int, queue_delay_us: int
) -> str:
    """The text of a stage's config.pbtxt.

    A stage whose tensors all begin with a size of any number (tiles) is batched by the server, across its clients; the
    others have the sizes that they were exported with.

    Args:
        name: of the model.
        artefact: the stage's.
        target: of the bundle.
        instances: that the server runs at once.
        max_tiles: the most tiles in a batch.
        queue_delay_us: how long the server waits for a batch to fill, in microseconds.

    Raises:
        MissingExtraError: tritonclient isn't installed.
    """
    schema = require("tritonclient.grpc.model_config_pb2", extra="serve", purpose="for Triton's configuration")
    text_format = require("google.protobuf.text_format", extra="serve", purpose="for Triton's configuration")
    stage = artefact.stage
    batched = all(tensor.shape and isinstance(tensor.shape[0], str) for tensor in (*stage.inputs, *stage.outputs))
    config: Any = schema.ModelConfig(
        name=name,
        backend=_BACKENDS[target],
        default_model_filename=PurePosixPath(artefact.path).name,
        max_batch_size=max_tiles if batched else 0,
        input=[schema.ModelInput(**_tensor(schema, tensor, batched)) for tensor in stage.inputs],
        output=[schema.ModelOutput(**_tensor(schema, tensor, batched)) for tensor in stage.outputs],
        instance_group=[schema.ModelInstanceGroup(count=instances, kind="KIND_AUTO")],
    )
    if batched:
        config.dynamic_batching.max_queue_delay_microseconds = queue_delay_us
        config.dynamic_batching.preferred_batch_size.append(max_tiles)
    return str(text_format.MessageToString(config))


def _tensor(schema: Any, tensor: TensorSpec, batched: bool) -> dict[str, Any]:
    sizes = tensor.shape[1:] if batched else tensor.shape
    dims = [-1 if isinstance(size, str) else size for size in sizes]
    return {"name": tensor.name, "data_type": schema.DataType.Value(_DTYPES[tensor.dtype]), "dims": dims}
