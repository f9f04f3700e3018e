"""The registry of operations, and that each has a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedepth.verify.mil.ops import OPS
from edgedepth.verify.mil.ops.registry import register


def test_parameters_that_are_not_known_are_told() -> None:
    relu = OPS["relu"]
    assert relu.problem_with({"x": 0}) is None
    assert "'slope'" in str(relu.problem_with({"x": 0, "slope": 1}))
    assert "'x'" in str(relu.problem_with({}))


def test_every_op_has_a_test() -> None:
    here = Path(__file__)
    others = [path for path in here.parent.glob("test_ops_*.py") if path != here]
    tests = "".join(path.read_text(encoding="utf-8") for path in others)
    in_packages = {"constexpr_blockwise_shift_scale", "constexpr_cast"}  # test_packages.py
    assert {name for name in OPS if f'"{name}"' not in tests} == in_packages


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="relu is registered twice"):
        register("relu", OPS["relu"].compute)
