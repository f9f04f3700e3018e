"""A TensorRT and a GPU that aren't there: the narrow adapter over numpy, as strict as the real ones.

Device memory is host memory at addresses that only this GPU understands; work is put into a stream and done at
synchronise(), so a buffer that is read too early or overwritten too soon shows. Faults are planted by arguments.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import DeviceMemoryError, EngineError, ExportFailedError, StageError
from edgedepth.core.optional import require
from edgedepth.core.plain import to_plain
from edgedepth.core.progress import Progress
from edgedepth.core.session import Array
from edgedepth.core.spec import StageSpec, TensorSpec
from edgedepth.trt.adapter import BuildRequest, BuiltPlan, EngineTensor, Gpu, GpuFacts

__all__ = ["FakeGpu", "FakeTensorRt", "ReadGraph", "read_with_onnxruntime"]

_Compute = Callable[[Mapping[str, Array]], Mapping[str, Array]]

ReadGraph = Callable[[Path], tuple[StageSpec, _Compute]]
"""What an ONNX file declares, and a function that computes it."""

_MAGIC = b"FAKEPLAN"
_DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32"}


def read_with_onnxruntime(path: Path) -> tuple[StageSpec, _Compute]:
    """A ReadGraph that computes with ONNX Runtime on the CPU: the graph that a real engine is built from."""
    onnxruntime = require("onnxruntime", extra="onnx", purpose="to compute what a fake engine gives")
    # Without the pass that loses FP8's type (quantizing/fp8.py).
    session = onnxruntime.InferenceSession(
        str(path), providers=["CPUExecutionProvider"], disabled_optimizers=["QDQPropagationTransformer"]
    )

    def specs(tensors: Any) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(name=one.name, dtype=_DTYPES[one.type], shape=tuple(one.shape)) for one in tensors)

    stage = StageSpec(name=path.stem, inputs=specs(session.get_inputs()), outputs=specs(session.get_outputs()))
    names = [tensor.name for tensor in stage.outputs]
    return stage, lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


class FakeGpu:
    """A GPU; see adapter.Gpu.

    Args:
        facts: what it says of itself.
        memory: bytes that it has; allocations beyond them fail.
        index: CUDA's number of it.

    `uploaded` and `downloaded` count bytes over the bus, `uploads` the transfers, `replays` runs of graphs, `copies`
    those within the device, `allocated` the bytes held.
    """

    stream = 7

    def __init__(self, facts: GpuFacts | None = None, *, memory: int = 1 << 34, index: int = 0) -> None:
        self.facts = facts or GpuFacts(name="Fake GPU", sm=87, memory_mb=memory >> 20)
        self.index = index
        self.allocated = self.uploaded = self.uploads = self.downloaded = self.replays = self.copies = 0
        self._elsewhere: dict[int, deque[Callable[[], None]]] = {}  # other libraries' streams
        self._memory = memory
        self._blocks: dict[int, npt.NDArray[Any]] = {}
        self._next = 1 << 20
        self._queue: deque[Callable[[], None]] = deque()
        self._finished = 0  # steps since it was made
        self._captured: list[Callable[[], None]] | None = None

    def allocate(self, size: int) -> int:
        """See adapter.Gpu."""
        if self.allocated + size > self._memory:
            raise DeviceMemoryError("the GPU's memory is full", remedy="use a smaller model")
        address = self._next
        self._next += size + 4096  # a gap, so that reading beyond the end shows
        self._blocks[address] = np.full(size, 0xCD, np.uint8)
        self.allocated += size
        return address

    def free(self, address: int) -> None:
        """See adapter.Gpu. It waits, as cudaFree does."""
        self.synchronise()
        self.allocated -= self._blocks.pop(address).size

    def pinned(self, size: int) -> npt.NDArray[Any]:
        """See adapter.Gpu."""
        return np.full(size, 0xCD, np.uint8)

    def upload(self, address: int, source: npt.NDArray[Any]) -> None:
        """See adapter.Gpu. It happens later, with what is in the source then."""
        if not source.flags.c_contiguous:
            raise StageError("a fake upload takes contiguous arrays", remedy="copy it first")
        self.uploaded += source.nbytes
        self.uploads += 1
        self._put(lambda: self._write(address, source.reshape(-1).view(np.uint8)))

    def download(self, target: npt.NDArray[Any], address: int) -> None:
        """See adapter.Gpu."""
        self.downloaded += target.nbytes
        self._put(lambda: np.copyto(target.reshape(-1).view(np.uint8), self.bytes_at(address, target.nbytes)))

    def copy_rows(
        self, target: int, target_pitch: int, source: int, source_pitch: int, *, width: int, rows: int
    ) -> None:
        """See adapter.Gpu."""

        def copy() -> None:
            for row in range(rows):
                self._write(target + row * target_pitch, self.bytes_at(source + row * source_pitch, width))

        self.copies += 1
        self._put(copy)

    def use(self) -> None:
        """See adapter.Gpu."""

    def used_mb(self) -> float:
        """See adapter.Gpu."""
        return self.allocated / 1e6

    def wait_for(self, stream: int) -> None:
        """See adapter.Gpu."""
        self._put(lambda: self._finish(stream))

    def capture(self, work: Callable[[], None]) -> Callable[[], None] | None:
        """See adapter.Gpu."""
        self._captured = []
        try:
            work()
        finally:
            recorded, self._captured = self._captured, None

        def replay() -> None:
            self.replays += 1
            for step in recorded:
                self._put(step)

        return replay

    def mark(self) -> Callable[[], None]:
        """See adapter.Gpu."""
        place = self._finished + len(self._queue)
        return lambda: self._work_until(place)

    def timer(self) -> Callable[[], float]:
        """See adapter.Gpu; fake time stands still."""
        return lambda: 0.0

    def synchronise(self, *, everything: bool = False) -> None:
        """See adapter.Gpu."""
        for stream in list(self._elsewhere) if everything else ():
            self._finish(stream)
        self._work_until(self._finished + len(self._queue))

    def close(self) -> None:
        """See adapter.Gpu."""
        self._queue.clear()

    def run_later(self, step: Callable[[], None]) -> None:
        """Put something into the stream, or into the graph that is being captured."""
        self._put(step)

    def run_elsewhere(self, stream: int, step: Callable[[], None]) -> None:
        """Put something into another library's stream; it is done when that stream is waited for."""
        self._elsewhere.setdefault(stream, deque()).append(step)

    def bytes_at(self, address: int, size: int) -> npt.NDArray[Any]:
        """A view of device memory."""
        for start, block in self._blocks.items():
            if start <= address and address + size <= start + block.size:
                return block[address - start : address - start + size]
        raise StageError(f"{size} bytes at {address:#x} are nobody's", remedy="fix the address")

    def _work_until(self, place: int) -> None:
        while self._finished < place and self._queue:
            self._finished += 1
            self._queue.popleft()()

    def _finish(self, stream: int) -> None:
        queue = self._elsewhere.get(stream, deque())
        while queue:
            queue.popleft()()

    def _write(self, address: int, data: npt.NDArray[Any]) -> None:
        np.copyto(self.bytes_at(address, data.size), data)

    def _put(self, step: Callable[[], None]) -> None:
        if self._captured is None:
            self._queue.append(step)
        else:
            self._captured.append(step)


class FakeTensorRt:
    """A provider; see adapter.TensorRt.

    Args:
        read_graph: what an ONNX file declares and computes.
        provider: its name.
        version: its version: plans of another one are refused.
        ahead_of_time: what it builds for without a GPU.
        wrong: stages whose engines compute something else, as TensorRT 10.3 did: by name, a factor on every output.
        says_no: what load() does instead: "deserialise" or "context" for the two that may return None, "memory".

    `wrong` may be changed later, `built` lists the requests that were built, `dla_core` is what load() was last asked
    for.
    """

    def __init__(
        self,
        read_graph: ReadGraph,
        *,
        provider: str = "tensorrt",
        version: str = "10.16.2",
        ahead_of_time: tuple[int, ...] = (),
        wrong: Mapping[str, float] | None = None,
        says_no: str = "",
    ) -> None:
        self.provider = provider
        self.version = version
        self.ahead_of_time = ahead_of_time
        self.built: list[BuildRequest] = []
        self.dla_core: int | None = None
        self._read_graph = read_graph
        self.wrong = dict(wrong or {})
        self._says_no = says_no
        self._graphs: list[tuple[StageSpec, _Compute]] = []

    def build(self, request: BuildRequest, progress: Progress) -> BuiltPlan:
        """See adapter.TensorRt: the plan names a graph that this fake remembers."""
        progress("Building engine", 0, 1)
        try:
            graph = self._read_graph(request.onnx)
        except Exception as error:
            raise ExportFailedError(f"{request.onnx} doesn't parse: {error}", remedy="export it again") from error
        self.built.append(request)
        stage, _ = graph
        header = {"version": self.version, "graph": len(self._graphs), "stage": to_plain(stage)}
        self._graphs.append(graph)
        layers = ("node_softmax (SOFTMAX)",) if request.options.dla_core is not None else ()
        return BuiltPlan(data=_MAGIC + json.dumps(header).encode(), on_gpu=layers)

    def refusal(self, plan: bytes | memoryview) -> str:
        """See adapter.TensorRt."""
        return "" if bytes(plan[:8]) == _MAGIC else "its header is malformed"

    def load(self, plan: bytes | memoryview, gpu: Gpu, *, dla_core: int | None) -> _FakeEngine:
        """See adapter.TensorRt."""
        self.dla_core = dla_core
        rebuild = "build it again on this device: edgedepth build BUNDLE"
        reason = {
            "deserialise": "does not load in TensorRT: it gives no reason",
            "context": "loads, and gives no context to run in: it gives no reason",
        }.get(self._says_no, "")
        if self._says_no == "memory":
            raise DeviceMemoryError("the engine does not load: out of memory", remedy=rebuild)
        header = json.loads(bytes(plan[8:])) if not reason else {}
        if not reason and header["version"] != self.version:
            reason = f"was serialised by {header['version']}"
        if reason:
            raise EngineError(f"the engine {reason}", remedy=rebuild)
        assert isinstance(gpu, FakeGpu)
        stage, compute = self._graphs[header["graph"]]
        return _FakeEngine(stage, compute, gpu, self.wrong.get(stage.name, 1.0))


class _FakeEngine:
    """See adapter.Engine."""

    capturable = True

    def __init__(
        self,
        stage: StageSpec,
        compute: _Compute,
        gpu: FakeGpu,
        factor: float,
    ) -> None:
        self._stage, self._compute, self._gpu, self._factor = stage, compute, gpu, np.float32(factor)
        self._addresses: dict[str, int] = {}
        self._shapes = {
            tensor.name: tensor.shape for tensor in stage.inputs if all(isinstance(size, int) for size in tensor.shape)
        }
        self.tensors = tuple(
            EngineTensor(
                name=tensor.name,
                dtype=tensor.dtype,
                shape=tuple(-1 if isinstance(size, str) else size for size in tensor.shape),
                is_input=tensor in stage.inputs,
            )
            for tensor in itertools.chain(stage.inputs, stage.outputs)
        )

    def bind(self, name: str, address: int) -> None:
        """See adapter.Engine."""
        self._addresses[name] = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """See adapter.Engine."""
        self._shapes[name] = shape

    def enqueue(self) -> None:
        """See adapter.Engine."""
        addresses, shapes = dict(self._addresses), dict(self._shapes)
        if missing := {tensor.name for tensor in self.tensors} - set(addresses):
            raise StageError(f"{sorted(missing)} have no address", remedy="bind them")

        def work() -> None:
            feeds: dict[str, Any] = {}
            for tensor in self._stage.inputs:
                shape = tuple(map(int, shapes[tensor.name]))
                data = self._gpu.bytes_at(addresses[tensor.name], 4 * int(np.prod(shape)))
                feeds[tensor.name] = data.copy().view(tensor.dtype).reshape(shape)
            for name, result in self._compute(feeds).items():
                array = np.ascontiguousarray(result * self._factor, np.float32)
                data = self._gpu.bytes_at(addresses[name], array.nbytes)
                np.copyto(data, array.reshape(-1).view(np.uint8))

        self._gpu.run_later(work)

    def close(self) -> None:
        """See adapter.Engine."""
        self._addresses.clear()
