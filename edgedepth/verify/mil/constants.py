"""Which constants two packages of one model do not share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from edgedepth.verify.mil.program import MilProgram

__all__ = ["changed_constants"]


def changed_constants(before: MilProgram, after: MilProgram, function: str = "main") -> list[str]:
    """Constants that both packages hold uncompressed under one name, and that differ.

    Compressing a package may leave a weight as it was or replace it by a constexpr_ op. A weight that is still there
    and has other values was overwritten by mistake (apple/coremltools#2777).

    Args:
        before: the package as it was converted.
        after: the same, compressed.
        function: of both.

    Returns:
        Their names, in alphabetical order.
    """
    first, second = before.constants(function), after.constants(function)
    return sorted(name for name in first.keys() & second.keys() if not _same(first[name], second[name]))


def _same(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    return first.dtype == second.dtype and np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
