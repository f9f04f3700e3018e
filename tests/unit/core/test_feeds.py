"""Faults at a stage's border that the contract suite doesn't reach through a session."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgedepth.core.errors import StageError
from edgedepth.core.feeds import check_feeds, output_buffers, receive_output
from edgedepth.core.spec import StageSpec, TensorSpec

STAGE = StageSpec(
    name="s",
    inputs=(
        TensorSpec(name="a", dtype="float32", shape=("n", 2)),
        TensorSpec(name="b", dtype="float32", shape=("n", "m")),
    ),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("m", "n", 3)),),
)


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def test_named_dimensions_become_sizes_and_output_shapes() -> None:
    sizes = check_feeds(STAGE, {"a": zeros(4, 2), "b": zeros(4, 5)})
    assert sizes == {"n": 4, "m": 5}
    buffers = output_buffers(STAGE, None, sizes)
    assert {name: (array.shape, array.dtype) for name, array in buffers.items()} == {"y": ((5, 4, 3), np.float32)}


def test_messages_say_what_was_got_and_what_is_allowed() -> None:
    with pytest.raises(StageError) as caught:
        check_feeds(STAGE, {"a": zeros(4, 2), "b": zeros(3, 5)})
    assert caught.value.problem == (
        "stage s: input 'b': got shape (3, 5), expected an array of float32, shape (n, m) where n is 4"
    )


@pytest.mark.parametrize("value", [[[0.0, 0.0]], 1.0, None], ids=["list", "number", "None"])
def test_what_is_no_array(value: object) -> None:
    with pytest.raises(StageError, match=f"got {type(value).__name__}"):
        check_feeds(STAGE, {"a": value, "b": zeros(1, 1)})  # type: ignore[dict-item]
    with pytest.raises(StageError, match=f"got {type(value).__name__}"):
        output_buffers(STAGE, {"y": value}, {"n": 1, "m": 1})  # type: ignore[dict-item]


def test_a_buffer_of_the_size_of_another_batch() -> None:
    with pytest.raises(StageError, match=r"got shape \(5, 3, 3\).*n is 4"):
        output_buffers(STAGE, {"y": zeros(5, 3, 3)}, {"n": 4, "m": 5})


def test_what_a_runtime_gave_is_copied_as_it_is_or_refused() -> None:
    buffer = zeros(2, 3)
    receive_output(STAGE, "y", np.ones((2, 3), np.float32), buffer, remedy="export again")
    assert (buffer == 1).all()
    receive_output(STAGE, "y", buffer, buffer, remedy="export again")
    # All of these would be broadcast or cast by numpy.
    for output, got in (
        (None, "nothing"),
        (zeros(1, 3), r"float32 \(1, 3\)"),
        (np.zeros((2, 3), np.float64), r"float64 \(2, 3\)"),
    ):
        with pytest.raises(StageError, match=rf"output 'y' came as {got}; float32 \(2, 3\) is declared") as caught:
            receive_output(STAGE, "y", output, buffer, remedy="export again")
        assert caught.value.remedy == "export again"
    assert (buffer == 1).all()
