"""Arrays of other libraries in a GPU's memory (torch, CuPy, JAX, Numba), taken where they lie.

Whoever made such an array may still be writing it, in a stream of its own. Both protocols say which: DLPack is told our
stream and makes it wait; of `__cuda_array_interface__` we are told the stream and wait for it. Where that isn't said,
everything on the GPU is waited for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.core.arrays import HOST, dlpack_device
from edgedepth.core.errors import EdgeDepthError, FrameError
from edgedepth.trt.adapter import Gpu
from edgedepth.trt.dlpack import CUDA, CUDA_MANAGED, Borrowed, borrow_capsule

__all__ = ["borrow", "fetch_frame", "is_device_array"]


def is_device_array(array: object) -> bool:
    """Whether an array lies in a GPU's memory."""
    device = dlpack_device(array)
    if device is not None:
        return device[0] in (CUDA, CUDA_MANAGED)
    return hasattr(array, "__cuda_array_interface__")


def borrow(array: Any, gpu: Gpu, refused: type[EdgeDepthError]) -> Borrowed:
    """An array in a GPU's memory; what is put into the GPU's stream from now on sees it whole.

    Args:
        array: of another library.
        gpu: that reads it.
        refused: what is raised: a StageError for a feed, a FrameError for a frame.

    Raises:
        refused: it lies on another GPU, or its library doesn't hand it over.
    """
    device = dlpack_device(array)
    name = type(array).__name__
    if device is None:
        return _through_interface(array, gpu)
    if device[1] != gpu.index:
        raise refused(
            f"the {name} lies on cuda:{device[1]}, and this model runs on cuda:{gpu.index}",
            remedy=f"open it there, EdgeDepth(..., device='cuda:{device[1]}'), or copy the array over",
        )
    try:
        return borrow_capsule(array, stream=gpu.stream)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise refused(
            f"the {name} isn't handed over through DLPack: {error}",
            remedy="pass a plain array of a dtype that numpy has (torch: frame.detach())",
        ) from error


def _through_interface(array: Any, gpu: Gpu) -> Borrowed:
    interface: dict[str, Any] = array.__cuda_array_interface__
    if interface.get("version", 0) < 3 or "stream" not in interface:
        gpu.synchronise(everything=True)  # before version 3 it isn't said whose stream writes the array
    elif interface["stream"] is not None:
        gpu.wait_for(int(interface["stream"]))
    shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
    strides = interface.get("strides") or _contiguous(shape, dtype)
    return Borrowed(int(interface["data"][0]), shape, tuple(strides), dtype, array)


def fetch_frame(frame: object, gpu: Gpu) -> object:
    """A frame as a numpy array: one in the GPU's memory is copied down, rows with a pitch too.

    Raises:
        FrameError: as Arrays.fetch.
    """
    if not is_device_array(frame):
        return HOST.fetch(frame)
    there = borrow(frame, gpu, FrameError)
    host: npt.NDArray[Any] = np.empty(there.shape, there.dtype)
    if 0 in there.shape:
        return host
    if there.strides == host.strides:
        gpu.download(host, there.address)
        gpu.synchronise()
        return host
    if there.strides[1:] != host.strides[1:]:
        raise FrameError(
            f"the frame is a {type(frame).__name__} in a GPU's memory whose rows aren't in one piece: shape "
            f"{there.shape}, strides {there.strides} bytes",
            remedy="make it contiguous first (torch: frame.contiguous())",
        )
    rows = gpu.allocate(host.nbytes)
    try:
        width = host.strides[0]
        gpu.copy_rows(rows, width, there.address, there.strides[0], width=width, rows=len(host))
        gpu.download(host, rows)
        gpu.synchronise()
    finally:
        gpu.free(rows)
    return host


def _contiguous(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    return tuple(dtype.itemsize * int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))
