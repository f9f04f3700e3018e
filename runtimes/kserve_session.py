"""Stages on a server that speaks KServe's v2 protocol over gRPC: Triton, OpenVINO Model Server.

Tiles and features cross the network; tiling, fusion and metres are this machine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.bundle import Bundle
from edgedepth.core.declared import DeclaredSession
from edgedepth.core.errors import DeviceError, MissingExtraError, OptionError, StageError
from edgedepth.core.feeds import check_feeds, closed_stage, output_buffers, receive_output
from edgedepth.core.optional import require
from edgedepth.core.session import Array
from edgedepth.core.spec import StageSpec
from edgedepth.runtimes.base import Availability, SessionOptions, artefact_of, refuse_options

__all__ = ["KServeBackend", "KServeSession"]

_DTYPES = {"float32": "FP32", "int32": "INT32", "float16": "FP16"}


class KServeBackend:
    """Opens the stages of any bundle on a server that holds them.

    Args:
        url: of the server's gRPC port, "host:8001".
    """

    name = "triton"
    remote = True

    def __init__(self, url: str) -> None:
        self._url = url

    def availability(self) -> Availability:
        """Whether the client is installed, and a server answers."""
        try:
            client = _client(self._url)
            version = str(client.get_server_metadata().version)
        except (MissingExtraError, DeviceError) as error:
            return Availability(version=None, devices=(), reason=str(error))
        except Exception as error:  # the client's and gRPC's have no common base class
            return Availability(version=None, devices=(), reason=f"no server answers at {self._url}: {error}")
        return Availability(version=version, devices=(self._url,))

    def open(self, bundle: Bundle, stage: str, options: SessionOptions) -> KServeSession:
        """Open one stage of a bundle; errors as Backend.open() says."""
        refuse_options(options, self.name, "dla_core", "build_if_missing")
        artefact = artefact_of(bundle, stage)
        return KServeSession(self._url, bundle.served_name(stage), artefact.stage)


class KServeSession(DeclaredSession):
    """One of a server's models; a Session.

    Args:
        url: of the server's gRPC port.
        model: what the server calls it.
        stage: what the bundle declares; the server's model has to agree.

    Raises:
        MissingExtraError: tritonclient isn't installed.
        DeviceError: no server answers, or it doesn't have the model.
        OptionError: its model has other tensors.
    """

    def __init__(self, url: str, model: str, stage: StageSpec) -> None:
        super().__init__(stage)
        self._model, self.device = model, f"{url} ({model})"
        self._grpc = _client_module()
        self._client: Any = _client(url)
        try:
            if not self._client.is_model_ready(model):
                raise DeviceError(
                    f"the server at {url} has no model {model} that is ready",
                    remedy="edgedepth repository BUNDLE --server triton --out REPO writes them; see the server's log",
                )
            self._check_model(self._client.get_model_metadata(model))
        except self._grpc.InferenceServerException as error:
            raise _no_server(url, error) from error

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the stage once, over the network; as Session.run says."""
        if self._client is None:
            raise closed_stage(self._stage)
        buffers = output_buffers(self._stage, out, check_feeds(self._stage, feeds))
        inputs = []
        for spec in self._stage.inputs:
            array = np.ascontiguousarray(feeds[spec.name])
            tensor = self._grpc.InferInput(spec.name, list(array.shape), _DTYPES[spec.dtype])
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        wanted = [self._grpc.InferRequestedOutput(spec.name) for spec in self._stage.outputs]
        try:
            result = self._client.infer(self._model, inputs, outputs=wanted)
        except self._grpc.InferenceServerException as error:
            raise StageError(
                f"stage {self._stage.name}: the server failed: {error}", remedy="see the server's log"
            ) from error
        for name, buffer in buffers.items():
            remedy = "the server holds another bundle: write its repository from this one"
            receive_output(self._stage, name, result.as_numpy(name), buffer, remedy=remedy)
        return buffers

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _check_model(self, metadata: Any) -> None:
        for kind, declared, served in (
            ("input", self._stage.inputs, metadata.inputs),
            ("output", self._stage.outputs, metadata.outputs),
        ):
            ours = {spec.name: _DTYPES[spec.dtype] for spec in declared}
            theirs = {tensor.name: tensor.datatype for tensor in served}
            if ours != theirs:
                raise OptionError(
                    f"the server's {self._model} has the {kind}s {theirs}; the bundle declares {ours}",
                    remedy="write the server's repository from this bundle: edgedepth repository",
                )


def _client_module() -> Any:
    return require("tritonclient.grpc", extra="serve", purpose="to run on a server")


def _client(url: str) -> Any:
    grpc = _client_module()
    try:
        return grpc.InferenceServerClient(url)
    except grpc.InferenceServerException as error:
        raise _no_server(url, error) from error


def _no_server(url: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"no server answers at {url}: {error}", remedy="start it, and name its gRPC port: url='host:8001'"
    )
