"""Arrays of another library in a fake GPU's memory, written in a stream of its own, as torch's and Numba's are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.trt.dlpack import CUDA, export_capsule
from edgedepth.trt.fake_api import FakeGpu

__all__ = ["DlpackArray", "InterfaceArray"]


class _Written:
    """Memory that gets its values when somebody waits for the stream that writes them.

    Args:
        gpu: on which it lies.
        values: that it will hold.
        stream: the library's own.
        pitch: bytes from one row to the next; None: rows follow each other.
    """

    def __init__(self, gpu: FakeGpu, values: npt.NDArray[Any], *, stream: int = 99, pitch: int | None = None) -> None:
        rows = np.ascontiguousarray(values)
        self.shape, self.dtype, self.stream = rows.shape, rows.dtype, stream
        self._gpu = gpu
        self._row = rows.nbytes // len(rows)
        self.pitch = pitch or self._row
        self.address = gpu.allocate(len(rows) * self.pitch)

        def write() -> None:
            for number, row in enumerate(rows.reshape(len(rows), -1).view(np.uint8)):
                gpu.bytes_at(self.address + number * self.pitch, row.size)[:] = row

        gpu.run_elsewhere(stream, write)

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes, as numpy's."""
        return (self.pitch, *np.empty(self.shape, self.dtype).strides[1:])


class InterfaceArray(_Written):
    """One with `__cuda_array_interface__`, as Numba has it; `says_stream=False` is version 2, as torch has it."""

    says_stream = True

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        facts = {"shape": self.shape, "typestr": self.dtype.str, "data": (self.address, True), "version": 2}
        if self.pitch != self._row:
            facts["strides"] = self.strides
        return facts | {"version": 3, "stream": self.stream} if self.says_stream else facts


class DlpackArray(_Written):
    """One with DLPack, as torch and CuPy have it: the stream that it is asked for waits for its own."""

    device_index = 0

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self.device_index

    def __dlpack__(self, *, stream: int | None = None) -> object:
        assert stream == self._gpu.stream
        self._gpu.wait_for(self.stream)
        capsule, self._alive = export_capsule(self.address, self.shape, self.dtype, kind=CUDA, index=self.device_index)
        return capsule
