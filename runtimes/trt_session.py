"""One TensorRT engine as a Session: named tensors, pinned staging, one stream, CUDA graphs where they are allowed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.declared import DeclaredSession, undeclared
from edgedepth.core.errors import EngineError, StageError
from edgedepth.core.feeds import check_feeds, closed_stage, output_buffers
from edgedepth.core.session import Array
from edgedepth.core.spec import StageSpec
from edgedepth.trt.adapter import Engine
from edgedepth.trt.foreign import is_device_array
from edgedepth.trt.memory import DeviceArray, DeviceArrays, as_device_array

__all__ = ["TrtSession"]

_MOST_GRAPHS = 8  # a program runs a stage on one or two sets of buffers; more means that they change each time

log = logging.getLogger("edgedepth")


class TrtSession(DeclaredSession):
    """An engine and its buffers, allocated at the first run and kept.

    Feeds are numpy arrays or device arrays (DLPack, `__cuda_array_interface__`; float32, C-contiguous); `out` takes the
    program's resident arrays too. A run whose outputs all stay on the device returns when its feeds from the host or
    from other libraries were read, and the GPU works on.

    Not thread-safe: it has one set of buffers. Open one for each thread.

    Args:
        stage: what the manifest declares; the engine has to agree.
        engine: loaded.
        arrays: of the GPU that it was loaded on.
        device: in words, for `device`.

    Raises:
        EngineError: the engine isn't what the manifest declares.
    """

    def __init__(self, stage: StageSpec, engine: Engine, arrays: DeviceArrays, device: str) -> None:
        inputs, outputs = (
            [(tensor.name, tensor.dtype, tensor.shape) for tensor in engine.tensors if tensor.is_input == is_input]
            for is_input in (True, False)
        )
        if found := undeclared(stage, inputs, outputs, named=False):
            raise EngineError(
                f"the engine of stage {stage.name} has {found}",
                remedy="build it again: edgedepth build BUNDLE",  # the backend puts the path in
            )
        self.arrays = arrays
        super().__init__(stage)
        self._engine: Engine | None = engine
        self._device = device
        self._staging: dict[str, Array] = {}
        self._buffers: dict[str, DeviceArray] = {}
        self._graphs: dict[tuple[object, ...], Callable[[], None] | None] = {}

    @property
    def device(self) -> str:
        """The GPU, with the provider and its version."""
        return self._device

    def run(self, feeds: Mapping[str, npt.NDArray[Any]], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run the stage once, as Session.run() says; device arrays are read and written where they lie."""
        if self._engine is None:
            raise closed_stage(self._stage)
        gpu = self.arrays.gpu
        gpu.use()
        given: dict[str, Any] = {name: self._viewed(array) for name, array in feeds.items()}
        # Another library may write its array again as soon as run() returns; the program's own are in our stream.
        foreign = any(given[name] is not array for name, array in feeds.items())
        kinds = self.arrays.kinds
        sizes = check_feeds(self._stage, given, kinds)
        results: dict[str, Any] = output_buffers(self._stage, out, sizes, kinds)
        inputs = {name: self._on_device(name, array) for name, array in given.items()}
        outputs = {
            name: array if isinstance(array, DeviceArray) else self._buffer(name, array.shape)
            for name, array in results.items()
        }
        try:
            # Without foreign arrays the mark lies before the run: the host prepares the next one meanwhile.
            feeds_were_read = None if foreign else gpu.mark()
            self._enqueue(self._engine, inputs, outputs)
            feeds_were_read = feeds_were_read or gpu.mark()
            self._download(results, outputs)
            feeds_were_read()
        except StageError as error:
            raise StageError(f"stage {self._stage.name} failed: {error.problem}", remedy=error.remedy) from error
        return results

    def close(self) -> None:
        """Free the engine and the buffers."""
        if self._engine is not None:
            self.arrays.gpu.use()
            # Nothing may still be running in memory that is about to be freed.
            self.arrays.gpu.synchronise()
            self._graphs.clear()
            self._engine.close()
        self._engine = None
        self._staging.clear()
        self._buffers.clear()

    def _viewed(self, array: object) -> object:
        """Another library's device array as one of ours."""
        if isinstance(array, np.ndarray) or not is_device_array(array):
            return array
        return as_device_array(array, self.arrays.gpu)

    def _on_device(self, name: str, array: Any) -> DeviceArray:
        """The feed's own memory, or an upload of it."""
        if isinstance(array, DeviceArray):
            if not array.flags.c_contiguous:
                raise StageError(
                    f"stage {self._stage.name}: input {name!r} is a device array that isn't C-contiguous",
                    remedy="make it contiguous first",
                )
            return array
        staged = self._staged(name, array.shape)
        np.copyto(staged.view(array.dtype), array)  # a caption's ids are int32, of the same four bytes
        buffer = self._buffer(name, array.shape)
        self.arrays.gpu.upload(buffer.address, staged)
        return buffer

    def _enqueue(self, engine: Engine, inputs: Mapping[str, DeviceArray], outputs: Mapping[str, DeviceArray]) -> None:
        """Run once on these buffers: recorded the second time that they come, replayed from then on."""

        def bind_and_enqueue() -> None:
            for name, array in inputs.items():
                engine.set_input_shape(name, array.shape)
                engine.bind(name, array.address)
            for name, array in outputs.items():
                engine.bind(name, array.address)
            engine.enqueue()

        key = tuple((name, array.address, array.shape) for name, array in (*inputs.items(), *outputs.items()))
        if not engine.capturable or (key not in self._graphs and len(self._graphs) >= _MOST_GRAPHS):
            bind_and_enqueue()
        elif key not in self._graphs:
            # The first run outside of a graph: engines allocate and choose kernels then, which can't be recorded.
            self._graphs[key] = None
            bind_and_enqueue()
        else:
            graph = self._graphs[key] or self.arrays.gpu.capture(bind_and_enqueue)
            self._graphs[key] = graph
            if graph is None:
                log.debug("stage %s can't be recorded as a CUDA graph", self._stage.name)
                self._graphs.pop(key)
                engine.capturable = False
                bind_and_enqueue()
            else:
                graph()

    def _download(self, results: Mapping[str, Any], outputs: Mapping[str, DeviceArray]) -> None:
        """Bring down what the host asked for, and wait for it; for nothing, if it asked for nothing."""
        gpu = self.arrays.gpu
        host = {name: array for name, array in results.items() if isinstance(array, np.ndarray)}
        if not host:
            return
        staged = {name: self._staged(name, array.shape) for name, array in host.items()}
        for name, array in staged.items():
            gpu.download(array, outputs[name].address)
        gpu.synchronise()
        for name, array in host.items():
            np.copyto(array, staged[name])

    def _staged(self, name: str, shape: tuple[int, ...]) -> Array:
        """A pinned array for a tensor: the same one as long as its shape is."""
        if name not in self._staging or self._staging[name].shape != shape:
            self._staging[name] = self.arrays.staging(shape)
        return self._staging[name]

    def _buffer(self, name: str, shape: tuple[int, ...]) -> DeviceArray:
        """Device memory for a tensor that the caller holds on the host."""
        if name not in self._buffers or self._buffers[name].shape != shape:
            self._graphs.clear()  # they hold the old address
            self._buffers[name] = self.arrays.resident(shape)
        return self._buffers[name]
