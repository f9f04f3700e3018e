"""A double of a KServe v2 server, as Triton and OpenVINO Model Server speak it over gRPC, for where neither runs.

Transport and messages are grpcio's and those that NVIDIA publishes with its client, generated from the protocol's own
definition; ours is what reads a repository's folder as OpenVINO Model Server does, and onnxruntime behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
from tritonclient.grpc import service_pb2, service_pb2_grpc

DTYPES = {"tensor(float)": "FP32", "tensor(float16)": "FP16", "tensor(int32)": "INT32"}
NUMPY = {"FP32": np.float32, "FP16": np.float16, "INT32": np.int32}


class Double(service_pb2_grpc.GRPCInferenceServiceServicer):
    """Serves the models of an OVMS repository: those that its config.json names, in their highest version."""

    def __init__(self, repository: Path) -> None:
        config = json.loads((repository / "config.json").read_text())
        self.models: dict[str, onnxruntime.InferenceSession] = {}
        self.calls: list[str] = []
        for entry in config["model_config_list"]:
            folder = repository / Path(entry["config"]["base_path"]).name
            newest = max(folder.iterdir(), key=lambda path: int(path.name))
            (graph,) = newest.glob("*.onnx")
            name = entry["config"]["name"]
            self.models[name] = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])

    def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="double", version="1")

    def ModelReady(self, request: Any, context: Any) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=request.name in self.models)

    def ModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        session = self.models[request.name]
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        inputs, outputs = (
            [tensor(name=one.name, datatype=DTYPES[one.type]) for one in kind]
            for kind in (session.get_inputs(), session.get_outputs())
        )
        return service_pb2.ModelMetadataResponse(name=request.name, inputs=inputs, outputs=outputs)

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls.append(request.model_name)
        feeds = {
            one.name: np.frombuffer(raw, NUMPY[one.datatype]).reshape(list(one.shape))
            for one, raw in zip(request.inputs, request.raw_input_contents, strict=True)
        }
        names = [one.name for one in request.outputs]
        try:
            results = self.models[request.model_name].run(names, feeds)
        except Exception as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
        for name, array in zip(names, results, strict=True):
            response.outputs.add(name=name, datatype="FP32", shape=list(array.shape))
            response.raw_output_contents.append(np.ascontiguousarray(array, np.float32).tobytes())
        return response


@contextmanager
def serving(repository: Path) -> Iterator[tuple[str, Double]]:
    """The address of a double on that repository, and the double."""
    double = Double(repository)
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(max_workers=2), options=limits)
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(double, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", double
    finally:
        server.stop(grace=None).wait()
