"""All that edgedepth asks of TensorRT and CUDA. The real ones are tensorrt_api and cuda_api; fake_api is a stand-in.

Everything is named by what it is for, so that neither versions nor the two products show outside of the adapters.
Devices' addresses are plain integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from edgedepth.core.engine import BuildOptions
from edgedepth.core.progress import Progress

__all__ = ["BuildRequest", "BuiltPlan", "Engine", "EngineTensor", "Gpu", "GpuFacts", "TensorRt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuFacts:
    """A GPU.

    Args:
        name: as its driver tells it.
        sm: its compute capability, 87 for 8.7.
        memory_mb: of the whole device.
        driver: its version, in words; what was proven with one driver isn't with another.
    """

    name: str
    sm: int
    memory_mb: int
    driver: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """One engine to build.

    Args:
        onnx: the typed graph; its weights lie beside it.
        sms: compute capabilities to build for; empty: the GPU that is here.
        options: workspace, level, DLA.
        batch: smallest, usual and largest size of dimensions that may vary; None: there are none.
        timing_cache: a file that keeps what was measured of kernels; read and written if the provider can. None: none.
    """

    onnx: Path
    sms: tuple[int, ...]
    options: BuildOptions
    batch: tuple[int, int, int] | None = None
    timing_cache: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltPlan:
    """A serialised engine, and the layers that a DLA left to the GPU."""

    data: bytes | memoryview
    on_gpu: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineTensor:
    """An input or output as the engine declares it; -1 is a size that may vary."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    is_input: bool


class Engine(Protocol):
    """A plan that was loaded onto a GPU, ready to run.

    Attributes:
        tensors: its inputs and outputs.
        capturable: whether CUDA can record a run as a graph.
    """

    tensors: tuple[EngineTensor, ...]
    capturable: bool

    def bind(self, name: str, address: int) -> None:
        """Read or write a tensor at this address from the next run on."""
        ...

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """The shape of an input that may vary."""
        ...

    def enqueue(self) -> None:
        """Run once, after what its GPU's stream already holds.

        Raises:
            StageError: TensorRT refused.
        """
        ...

    def close(self) -> None:
        """Free it."""
        ...


class Gpu(Protocol):
    """One GPU and one stream on it, in which everything happens in turn.

    Attributes:
        facts: what it is.
        index: CUDA's number of it.
        stream: CUDA's handle of the stream.
    """

    facts: GpuFacts
    index: int

    @property
    def stream(self) -> int:
        """See the class."""
        ...

    def use(self) -> None:
        """Make it the current GPU of this thread: engines are loaded and run on that one."""
        ...

    def allocate(self, size: int) -> int:
        """Bytes of device memory. DeviceMemoryError: there aren't as many."""
        ...

    def free(self, address: int) -> None:
        """Give device memory back."""
        ...

    def pinned(self, size: int) -> npt.NDArray[Any]:
        """Bytes of host memory, uint8, that copies need no detour for; freed along with the array."""
        ...

    def upload(self, address: int, source: npt.NDArray[Any]) -> None:
        """Copy a C-contiguous host array to the device. It may be changed again once a mark() behind it is reached."""
        ...

    def download(self, target: npt.NDArray[Any], address: int) -> None:
        """Copy from the device to a C-contiguous host array. It is there after a synchronise()."""
        ...

    def copy_rows(
        self, target: int, target_pitch: int, source: int, source_pitch: int, *, width: int, rows: int
    ) -> None:
        """Copy `rows` rows of `width` bytes within the device; pitches are bytes from one row to the next."""
        ...

    def wait_for(self, stream: int) -> None:
        """Let the stream wait for what another one holds now."""
        ...

    def used_mb(self) -> float:
        """Device memory in use, by everybody."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None] | None:
        """Record what `work` puts into the stream, without running it, as one thing to replay; None if CUDA can't."""
        ...

    def mark(self) -> Callable[[], None]:
        """A place in the stream; the call it returns waits until it is reached. StageError: something failed."""
        ...

    def timer(self) -> Callable[[], float]:
        """Start measuring in the stream; the call it returns ends it and gives milliseconds."""
        ...

    def synchronise(self, *, everything: bool = False) -> None:
        """Wait for the stream, or for all work of this process on the GPU. StageError: something in it failed."""
        ...

    def close(self) -> None:
        """Free the stream."""
        ...


class TensorRt(Protocol):
    """A provider: one of the two products, in one version.

    Attributes:
        provider: "tensorrt" or "tensorrt-rtx".
        version: "10.16.2".
        ahead_of_time: compute capabilities that it builds for without a GPU; empty: it needs the GPU itself.
    """

    provider: str
    version: str
    ahead_of_time: tuple[int, ...]

    def build(self, request: BuildRequest, progress: Progress) -> BuiltPlan:
        """Build an engine.

        Raises:
            ExportFailedError: the graph doesn't parse or doesn't build; the first error, with its node.
            DeviceMemoryError: memory ran out.
            UnsupportedError: the provider lacks an option.
        """
        ...

    def refusal(self, plan: bytes | memoryview) -> str:
        """Why a plan can't be one of this provider's; empty when it looks like one. No GPU is touched."""
        ...

    def load(self, plan: bytes | memoryview, gpu: Gpu, *, dla_core: int | None) -> Engine:
        """Load a plan whose hash was checked: it is code.

        Raises:
            EngineError: it is refused; with what TensorRT says.
            DeviceMemoryError: memory ran out.
        """
        ...
