"""Arrays of other libraries: read after whoever writes them, where they lie, or refused in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edgedepth.core.arrays import HOST
from edgedepth.core.errors import FrameError, StageError
from edgedepth.trt.dlpack import borrow_capsule
from edgedepth.trt.fake_api import FakeGpu
from edgedepth.trt.fake_frames import DlpackArray, InterfaceArray
from edgedepth.trt.foreign import fetch_frame, is_device_array
from edgedepth.trt.memory import as_device_array

PICTURE = np.random.default_rng(0).integers(0, 255, (6, 5, 3), np.uint8)


def versions_2(gpu: FakeGpu, values: Any, **options: Any) -> InterfaceArray:
    array = InterfaceArray(gpu, values, **options)
    array.says_stream = False
    return array


@pytest.mark.parametrize("make", [InterfaceArray, versions_2, DlpackArray])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_a_frame_is_read_after_its_own_stream_wrote_it(make: Any, dtype: type) -> None:
    gpu = FakeGpu()
    frame = make(gpu, PICTURE.astype(dtype))
    held = gpu.allocated
    fetched = fetch_frame(frame, gpu)
    assert isinstance(fetched, np.ndarray)
    assert fetched.dtype == dtype
    np.testing.assert_array_equal(fetched, PICTURE.astype(dtype))
    assert gpu.allocated == held


@pytest.mark.parametrize("make", [InterfaceArray, versions_2])
def test_rows_may_have_a_pitch(make: Any) -> None:
    """As a camera's and OpenCV's buffers do."""
    gpu = FakeGpu()
    frame = make(gpu, PICTURE, pitch=64)
    held = gpu.allocated
    np.testing.assert_array_equal(fetch_frame(frame, gpu), PICTURE)
    assert gpu.allocated == held


def test_a_stream_of_none_is_not_waited_for() -> None:
    """Version 3 of the interface: whoever made it says that nothing is pending."""
    gpu = FakeGpu()
    frame = InterfaceArray(gpu, PICTURE)
    frame.stream = None  # type: ignore[assignment]
    assert not np.array_equal(fetch_frame(frame, gpu), PICTURE)  # type: ignore[arg-type]  # it lied, and that shows


def test_scattered_pixels_are_refused() -> None:
    gpu = FakeGpu()

    class Scattered(InterfaceArray):
        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            return super().__cuda_array_interface__ | {"strides": (30, 6, 2)}

    with pytest.raises(FrameError, match="rows aren't in one piece") as caught:
        fetch_frame(Scattered(gpu, PICTURE), gpu)
    assert "contiguous()" in caught.value.remedy


def test_feeds_are_float32_arrays_of_this_gpu() -> None:
    gpu = FakeGpu()
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    for make in (InterfaceArray, DlpackArray):
        foreign = make(gpu, values)
        array = as_device_array(foreign, gpu)
        assert (array.address, array.shape, array.strides) == (foreign.address, (2, 3), (12, 4))
        assert as_device_array(array, gpu) is array
        with pytest.raises(StageError, match="float16; float32 is expected"):
            as_device_array(make(gpu, values.astype(np.float16)), gpu)
    foreign.device_index = 1
    with pytest.raises(StageError, match="lies on cuda:1, and this model runs on cuda:0") as caught:
        as_device_array(foreign, gpu)
    assert "device='cuda:1'" in caught.value.remedy


def test_what_lies_on_the_gpu() -> None:
    gpu = FakeGpu()
    assert is_device_array(InterfaceArray(gpu, PICTURE))
    assert is_device_array(DlpackArray(gpu, PICTURE))
    assert not is_device_array(torch.zeros(2))
    assert not is_device_array(PICTURE)
    assert not is_device_array("photo.jpg")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(24, dtype=np.uint8).reshape(4, 6)[1:3, ::2],
        torch.arange(24, dtype=torch.float64).reshape(2, 3, 4).permute(2, 0, 1),
        torch.arange(6, dtype=torch.int16)[2:],
    ],
    ids=["numpy", "numpy, a view", "torch, permuted", "torch, an offset"],
)
def test_capsules_are_read_as_numpy_reads_them(array: Any) -> None:
    """The same reader that takes a GPU's arrays, on the capsules that numpy and torch make of the host's."""
    borrowed = borrow_capsule(array, stream=None)
    expected = np.from_dlpack(array)
    assert (borrowed.address, borrowed.shape, borrowed.dtype) == (expected.ctypes.data, expected.shape, expected.dtype)
    assert borrowed.strides == expected.strides


def test_older_capsules_are_read_too() -> None:
    class Old:
        """A library that knows no versions."""

        array = torch.arange(6, dtype=torch.float32)

        def __dlpack__(self, *, stream: int | None = None) -> object:
            return self.array.__dlpack__(stream=stream)

    borrowed = borrow_capsule(Old(), stream=None)
    assert (borrowed.address, borrowed.shape, borrowed.strides) == (Old.array.data_ptr(), (6,), (4,))


@pytest.mark.parametrize("fetch", [HOST.fetch, lambda frame: fetch_frame(frame, FakeGpu())], ids=["host", "GPU"])
class TestHostFrames:
    def test_torchs_are_taken_where_they_lie(self, fetch: Any) -> None:
        tensor = torch.from_numpy(PICTURE)
        fetched = fetch(tensor)
        np.testing.assert_array_equal(fetched, PICTURE)
        assert fetched.ctypes.data == tensor.data_ptr()

    def test_what_isnt_handed_over_is_refused_in_words(self, fetch: Any) -> None:
        for tensor in (torch.zeros(4, 4, requires_grad=True), torch.zeros(4, 4, dtype=torch.bfloat16)):
            with pytest.raises(FrameError, match="isn't handed over through DLPack") as caught:
                fetch(tensor)
            assert "numpy()" in caught.value.remedy

    def test_anything_else_is_left_to_the_frames_own_check(self, fetch: Any) -> None:
        for frame in (None, "photo.jpg", PICTURE, [[1, 2]]):
            assert fetch(frame) is frame


def test_a_frame_on_a_gpu_is_not_for_the_host() -> None:
    for make in (InterfaceArray, DlpackArray):
        with pytest.raises(FrameError, match="in a GPU's memory, and this backend reads the host's"):
            HOST.fetch(make(FakeGpu(), PICTURE))


def test_a_gpu_frame_of_a_dtype_that_numpy_lacks() -> None:
    class Halves(DlpackArray):
        def __dlpack__(self, *, stream: int | None = None) -> object:
            raise BufferError("bfloat16 is not for export")

    with pytest.raises(FrameError, match="bfloat16"):
        fetch_frame(Halves(FakeGpu(), PICTURE), FakeGpu())
