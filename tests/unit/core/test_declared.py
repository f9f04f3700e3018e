"""An artefact beside its manifest: what agrees, and what is told where it doesn't."""

from __future__ import annotations

import pytest

from edgedepth.core.declared import DeclaredSession, FoundTensor, undeclared
from edgedepth.core.spec import StageSpec, TensorSpec

STAGE = StageSpec(
    name="s",
    inputs=(
        TensorSpec(name="a", dtype="float32", shape=("tiles", 2)),
        TensorSpec(name="b", dtype="int32", shape=(1, 77)),
    ),
    outputs=(TensorSpec(name="y", dtype="float32", shape=("tiles", 3)),),
)
INPUTS: list[FoundTensor] = [("a", "float32", ("tiles", 2)), ("b", "int32", (1, 77))]
OUTPUTS: list[FoundTensor] = [("y", "float32", ["tiles", 3])]


def test_a_session_tells_the_declaration() -> None:
    session = DeclaredSession(STAGE)
    assert (session.inputs, session.outputs) == (STAGE.inputs, STAGE.outputs)


def test_order_and_kind_of_sequence_do_not_matter() -> None:
    assert undeclared(STAGE, INPUTS, OUTPUTS) == ""
    assert undeclared(STAGE, INPUTS[::-1], [("y", "float32", ("tiles", 3))]) == ""


def test_runtimes_without_names_tell_minus_one() -> None:
    nameless: list[FoundTensor] = [("a", "float32", [-1, 2]), INPUTS[1]]
    assert undeclared(STAGE, nameless, [("y", "float32", (-1, 3))], named=False) == ""
    assert "the inputs" in undeclared(STAGE, nameless, OUTPUTS)  # where names are told, -1 is none


@pytest.mark.parametrize(
    "wrong",
    [
        ("z", "float32", ("tiles", 3)),
        ("y", "float16", ("tiles", 3)),
        ("y", "float32", ("frames", 3)),
        ("y", "float32", ("tiles", 4)),
        ("y", "float32", (5, 3)),
        ("y", "float32", ("tiles", 3, 1)),
    ],
)
def test_every_difference_shows(wrong: FoundTensor) -> None:
    told = undeclared(STAGE, INPUTS, [wrong])
    assert told.startswith("the outputs [")
    assert "the manifest declares [('y', 'float32', ['tiles', 3])]" in told


def test_more_and_fewer_tensors_show() -> None:
    assert undeclared(STAGE, INPUTS[:1], OUTPUTS).startswith("the inputs")
    assert undeclared(STAGE, INPUTS, [*OUTPUTS, *OUTPUTS]).startswith("the outputs")
