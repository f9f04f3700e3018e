"""Which rows a matrix has. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from edgedepth.core.errors import OptionError
from edgedepth.core.spec import Precision
from edgedepth.core.targets import ALIASES, PRECISIONS
from edgedepth.quantizing.options import TARGETS as INT8_TARGETS

__all__ = ["Row", "plan_rows"]

_ORDER: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One export: "openvino", "bf16"."""

    target: str
    precision: Precision

    @property
    def name(self) -> str:
        """As runs and tables call it."""
        return f"{self.target} {self.precision}"

    @property
    def calibrated(self) -> bool:
        """Whether it is made on a calibration set."""
        return self.precision == "int8" and self.target in INT8_TARGETS


def plan_rows(targets: Sequence[str] = (), precisions: Sequence[str] = ()) -> list[Row]:
    """Every target at every precision that it can be exported at; of some targets or precisions only, if asked.

    Raises:
        OptionError: an unknown target or precision, or none that both lists have.
    """
    wanted = [ALIASES.get(target, target) for target in targets] or list(PRECISIONS)
    for target in wanted:
        if target not in PRECISIONS:
            raise OptionError(
                f"there is no target {target!r}; allowed are {', '.join(PRECISIONS)}", remedy="or leave --targets out"
            )
    for precision in precisions:
        if precision not in _ORDER:
            raise OptionError(
                f"there is no precision {precision!r}; allowed are {', '.join(_ORDER)}",
                remedy="or leave --precisions out",
            )
    rows = [
        Row(target=target, precision=precision)
        for target in dict.fromkeys(wanted)
        for precision in _ORDER
        if precision in _able(target) and (not precisions or precision in precisions)
    ]
    if not rows:
        raise OptionError(
            f"none of {', '.join(wanted)} is exported at {' or '.join(precisions)}",
            remedy="leave --precisions or --targets out",
        )
    return rows


def _able(target: str) -> set[Precision]:
    return {*PRECISIONS[target], *(("int8",) if target in INT8_TARGETS else ())}
