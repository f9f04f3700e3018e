"""CUDA through cuda-python (cuda.bindings): memory, one stream, graphs. Neither torch nor pycuda."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.errors import DeviceError, DeviceMemoryError, StageError
from edgedepth.core.optional import require
from edgedepth.trt.adapter import GpuFacts

__all__ = ["CudaGpu", "driver_words", "find_gpus"]

_OUT_OF_MEMORY = "cudaErrorMemoryAllocation"
_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_DRIVER = "install or update NVIDIA's driver; 'nvidia-smi' tells whether it sees the GPU"


@functools.cache
def _runtime() -> Any:
    """cuda.bindings.runtime: since CUDA 12.x under this name, before that cuda.cudart."""
    return require("cuda.bindings.runtime", extra="tensorrt", purpose="to run on an NVIDIA GPU")


def find_gpus() -> tuple[GpuFacts, ...]:
    """The GPUs that CUDA sees, by index.

    Raises:
        MissingExtraError: cuda-python isn't installed.
        DeviceError: no driver, or one that is too old.
    """
    cuda = _runtime()
    driver = _driver()
    found = []
    for index in range(_checked(cuda.cudaGetDeviceCount())):
        properties = _checked(cuda.cudaGetDeviceProperties(index))
        found.append(
            GpuFacts(
                name=bytes(properties.name).split(b"\0")[0].decode(errors="replace"),
                sm=10 * properties.major + properties.minor,
                memory_mb=properties.totalGlobalMem >> 20,
                driver=driver,
            )
        )
    return tuple(found)


def _driver() -> str:
    number = int(_checked(_runtime().cudaDriverGetVersion()))
    with contextlib.suppress(OSError):
        return driver_words(_DRIVER_FILE.read_text(encoding="utf-8", errors="replace"), number)
    return driver_words("", number)


def driver_words(told: str, number: int) -> str:
    """A driver in words: "driver 540.4.0, CUDA 12.6".

    Args:
        told: what Linux, a Jetson's too, tells of the driver; empty on other systems.
        number: of the CUDA that the driver is for, as CUDA counts, 12060.
    """
    cuda = f"CUDA {number // 1000}.{number % 1000 // 10}"
    found = re.search(r"NVRM version:.*?(\d+\.\d[\d.]*)", told)
    return f"driver {found[1]}, {cuda}" if found else f"driver of {cuda}"


class CudaGpu:
    """A GPU and a stream of its own; see adapter.Gpu."""

    def __init__(self, index: int, facts: GpuFacts) -> None:
        self.facts = facts
        self._cuda = _runtime()
        self.index = index
        self.use()
        self._stream: Any = _checked(self._cuda.cudaStreamCreateWithFlags(self._cuda.cudaStreamNonBlocking))

    @property
    def stream(self) -> int:
        """The stream's handle."""
        return int(self._stream)

    def use(self) -> None:
        """See adapter.Gpu. The current device is a thread's: another library may have set another."""
        _checked(self._cuda.cudaSetDevice(self.index))

    def allocate(self, size: int) -> int:
        """See adapter.Gpu."""
        self.use()
        return int(_checked(self._cuda.cudaMalloc(size)))

    def free(self, address: int) -> None:
        """See adapter.Gpu."""
        self._cuda.cudaFree(address)

    def pinned(self, size: int) -> npt.NDArray[Any]:
        """See adapter.Gpu."""
        self.use()
        address = int(_checked(self._cuda.cudaMallocHost(size)))
        buffer = (ctypes.c_uint8 * size).from_address(address)
        weakref.finalize(buffer, self._cuda.cudaFreeHost, address)
        array: npt.NDArray[Any] = np.ctypeslib.as_array(buffer)
        return array

    def upload(self, address: int, source: npt.NDArray[Any]) -> None:
        """See adapter.Gpu."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        _checked(self._cuda.cudaMemcpyAsync(address, source.ctypes.data, source.nbytes, kind, self._stream))

    def download(self, target: npt.NDArray[Any], address: int) -> None:
        """See adapter.Gpu."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _checked(self._cuda.cudaMemcpyAsync(target.ctypes.data, address, target.nbytes, kind, self._stream))

    def copy_rows(
        self, target: int, target_pitch: int, source: int, source_pitch: int, *, width: int, rows: int
    ) -> None:
        """See adapter.Gpu."""
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToDevice
        _checked(
            self._cuda.cudaMemcpy2DAsync(target, target_pitch, source, source_pitch, width, rows, kind, self._stream)
        )

    def wait_for(self, stream: int) -> None:
        """See adapter.Gpu. CUDA's own numbers 1 and 2, the default streams, are handles too."""
        cuda = self._cuda
        event = _checked(cuda.cudaEventCreateWithFlags(cuda.cudaEventDisableTiming))
        try:
            _checked(cuda.cudaEventRecord(event, stream))
            _checked(cuda.cudaStreamWaitEvent(self._stream, event, 0))
        finally:
            cuda.cudaEventDestroy(event)

    def used_mb(self) -> float:
        """See adapter.Gpu."""
        self.use()
        free, total = _checked(self._cuda.cudaMemGetInfo())
        return (int(total) - int(free)) / 1e6

    def capture(self, work: Callable[[], None]) -> Callable[[], None] | None:
        """See adapter.Gpu."""
        cuda = self._cuda
        _checked(cuda.cudaStreamBeginCapture(self._stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        failed = False
        try:
            work()
        except StageError:
            failed = True
        # Ended whatever happened: a stream that is left capturing runs nothing any more.
        error, graph = cuda.cudaStreamEndCapture(self._stream)
        if failed or error != cuda.cudaError_t.cudaSuccess:
            cuda.cudaGetLastError()  # a failed capture would show as the next call's error
            return None
        executable = _checked(cuda.cudaGraphInstantiate(graph, 0))
        cuda.cudaGraphDestroy(graph)

        def replay() -> None:
            _checked(cuda.cudaGraphLaunch(executable, self._stream))

        weakref.finalize(replay, cuda.cudaGraphExecDestroy, executable)
        return replay

    def mark(self) -> Callable[[], None]:
        """See adapter.Gpu."""
        cuda = self._cuda
        event = _checked(cuda.cudaEventCreateWithFlags(cuda.cudaEventDisableTiming))
        _checked(cuda.cudaEventRecord(event, self._stream))

        def wait() -> None:
            try:
                _checked(cuda.cudaEventSynchronize(event))
            finally:
                cuda.cudaEventDestroy(event)

        return wait

    def timer(self) -> Callable[[], float]:
        """See adapter.Gpu."""
        cuda = self._cuda
        start, end = _checked(cuda.cudaEventCreate()), _checked(cuda.cudaEventCreate())
        _checked(cuda.cudaEventRecord(start, self._stream))

        def stop() -> float:
            _checked(cuda.cudaEventRecord(end, self._stream))
            _checked(cuda.cudaEventSynchronize(end))
            elapsed = float(_checked(cuda.cudaEventElapsedTime(start, end)))
            for event in (start, end):
                cuda.cudaEventDestroy(event)
            return elapsed

        return stop

    def synchronise(self, *, everything: bool = False) -> None:
        """See adapter.Gpu."""
        if everything:
            self.use()
            _checked(self._cuda.cudaDeviceSynchronize())
        _checked(self._cuda.cudaStreamSynchronize(self._stream))

    def close(self) -> None:
        """See adapter.Gpu."""
        if self._stream is not None:
            self._cuda.cudaStreamDestroy(self._stream)
            self._stream = None


def _checked(returned: tuple[Any, ...]) -> Any:
    """What a call returned beside its error code; the code as one of our errors."""
    error, *values = returned
    if int(error) != 0:
        name = str(getattr(error, "name", error))
        if name == _OUT_OF_MEMORY:
            raise DeviceMemoryError(
                "the GPU's memory is full",
                remedy="close other programs; load the stages in turn, EdgeDepth(..., resident='one') or "
                "'edgedepth infer --resident one'; or export less: "
                "edgedepth export --target tensorrt --fp16 --tile-batch 1",
            )
        if name in ("cudaErrorNoDevice", "cudaErrorInsufficientDriver", "cudaErrorInitializationError"):
            raise DeviceError(f"CUDA finds no GPU here ({name})", remedy=_DRIVER)
        raise StageError(
            f"CUDA reports {name}", remedy="open the model again; if it stays, restart the device: edgedepth doctor"
        )
    return values[0] if len(values) == 1 else tuple(values) if values else None
