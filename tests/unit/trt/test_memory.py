"""Device arrays against numpy: the same slices show the same bytes, and copies land where numpy's land."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedepth.core.errors import DeviceMemoryError
from edgedepth.core.session import Array
from edgedepth.trt.fake_api import FakeGpu
from edgedepth.trt.memory import DeviceArray, DeviceArrays

SHAPE = (3, 4, 5)
Keys = tuple[int | slice, ...]


def filled(gpu: FakeGpu, values: Array) -> DeviceArray:
    array = DeviceArrays(gpu).resident(values.shape)
    gpu.upload(array.address, values)
    gpu.synchronise()
    return array


def read(gpu: FakeGpu, array: DeviceArray) -> Array:
    """What a device array holds, read one value at a time through its strides."""
    gpu.synchronise()
    values = np.empty(array.shape, np.float32)
    for index in np.ndindex(*array.shape):
        offset = sum(i * stride for i, stride in zip(index, array.strides, strict=True))
        values[index] = gpu.bytes_at(array.address + offset, 4).view(np.float32)[0]
    return values


def key(size: int) -> st.SearchStrategy[int | slice]:
    ends = st.integers(-size - 1, size + 1) | st.none()
    return st.integers(-size, size - 1) | st.builds(slice, ends, ends)


keys = st.tuples(*map(key, SHAPE)) | st.tuples(key(SHAPE[0])) | st.tuples(key(SHAPE[0]), key(SHAPE[1]))
numbers = np.arange(60, dtype=np.float32).reshape(SHAPE)


@settings(max_examples=40, deadline=None)
@given(keys, keys)
def test_views_show_what_numpy_shows(first: Keys, second: Keys) -> None:
    gpu = FakeGpu()
    array, expected = filled(gpu, numbers)[first], numbers[first]
    assert array.shape == expected.shape
    if expected.size:
        assert array.flags.c_contiguous == (array.strides == expected.copy().strides)
    np.testing.assert_array_equal(read(gpu, array), expected)
    if expected.ndim == len(second) and all(expected.shape):
        inside = tuple(slice(None) if isinstance(part, int) else part for part in second)
        np.testing.assert_array_equal(read(gpu, array[inside]), expected[inside])


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_copies_land_where_numpys_land(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*(st.integers(1, size) for size in SHAPE)))
    corners = [data.draw(st.tuples(*(st.integers(0, a - b) for a, b in zip(SHAPE, shape, strict=True)))) for _ in "ab"]
    source, target = (
        tuple(slice(corner, corner + size) for corner, size in zip(place, shape, strict=True)) for place in corners
    )
    gpu, expected = FakeGpu(), -numbers
    to = filled(gpu, expected)
    DeviceArrays(gpu).copy(to[target], filled(gpu, numbers)[source])
    expected[target] = numbers[source]
    np.testing.assert_array_equal(read(gpu, to), expected)


def test_a_fused_region_is_one_copy() -> None:
    """What fusing tiles asks for: rows of whole features, cut out of a map."""
    gpu = FakeGpu()
    arrays = DeviceArrays(gpu)
    fused, tile = arrays.resident((8, 8, 4)), arrays.resident((4, 4, 4))
    calls = []
    gpu.copy_rows = lambda *a, **k: calls.append(k)  # type: ignore[method-assign]
    arrays.copy(fused[1:4, 2:5], tile[:3, 1:])
    assert calls == [{"width": 3 * 4 * 4, "rows": 3}]


@pytest.mark.parametrize("bad", [np.s_[::2], np.s_[5], np.s_[0, 0, 0, 0]], ids=str)
def test_other_indices_are_refused(bad: Keys) -> None:
    with pytest.raises(IndexError):
        DeviceArrays(FakeGpu()).resident(SHAPE)[bad]


def test_shapes_have_to_agree() -> None:
    arrays = DeviceArrays(FakeGpu())
    with pytest.raises(ValueError, match="can't copy"):
        arrays.copy(arrays.resident((2, 2)), arrays.resident((2, 3)))


def test_memory_is_freed_with_the_last_view() -> None:
    gpu = FakeGpu()
    view = DeviceArrays(gpu).resident((10, 10))[2:]
    assert gpu.allocated == 400
    del view
    assert gpu.allocated == 0


def test_too_much_is_a_typed_error() -> None:
    with pytest.raises(DeviceMemoryError):
        DeviceArrays(FakeGpu(memory=1000)).resident((1000,))


def test_a_parcel_is_one_upload() -> None:
    gpu = FakeGpu()
    parcel = DeviceArrays(gpu).parcel([(2, 3), (4,), (1, 1, 5)])
    for round_ in range(2):
        values = [np.full(array.shape, 10 * round_ + number, np.float32) for number, array in enumerate(parcel.fill())]
        for array, value in zip(parcel.fill(), values, strict=True):
            np.copyto(array, value)
        there = parcel.send()
        assert gpu.uploads == round_ + 1
        for array, value in zip(there, values, strict=True):
            np.testing.assert_array_equal(read(gpu, array), value)


def test_a_parcel_is_not_written_to_while_it_travels() -> None:
    gpu = FakeGpu()
    parcel = DeviceArrays(gpu).parcel([(3,)])
    parcel.fill()[0][:] = 1
    (there,) = parcel.send()
    copy = DeviceArrays(gpu).resident((3,))
    DeviceArrays(gpu).copy(copy, there)
    parcel.fill()[0][:] = 2
    np.testing.assert_array_equal(read(gpu, copy), 1)


def test_our_arrays_tell_their_stream() -> None:
    gpu = FakeGpu()
    interface = DeviceArrays(gpu).resident((4, 4))[1:3].__cuda_array_interface__
    assert (interface["version"], interface["stream"], interface["shape"]) == (3, gpu.stream, (2, 4))
