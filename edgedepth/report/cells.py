"""Tables as a page shows them: text for people, a value to sort by, and units in the heads. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["NOT_MEASURED", "Cell", "Column", "Table", "error_text", "number_at", "plain", "table_of"]

NOT_MEASURED = "not measured"

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell.

    Args:
        text: what stands there.
        sort: what the column is sorted by; None goes last whichever way.
        numeric: right-aligned, digits below digits.
        missing: it wasn't measured, and says so.
        part: of the column's largest value, for a bar behind the number.
    """

    text: str
    sort: float | str | None = None
    numeric: bool = False
    missing: bool = False
    part: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """How one figure becomes a column.

    Args:
        label: its head.
        unit: stands below the label; empty where there is none.
        help: what it means.
        values: one a row; None where nothing was measured.
        errors: sizes over many decades: as powers of ten.
        bar: draw each beside the largest.
        digits: behind the point; None: as the smallest value needs them.
    """

    label: str
    values: Sequence[float | None]
    unit: str = ""
    help: str = ""
    errors: bool = False
    bar: bool = False
    digits: int | None = None

    def cells(self) -> list[Cell]:
        """One a row."""
        known = [value for value in self.values if value is not None and math.isfinite(value)]
        largest = max(known, default=0.0)
        digits = self.digits if self.digits is not None else _digits(known)
        write: Callable[[float], str] = error_text if self.errors else lambda value: f"{value:,.{digits}f}"
        return [self._cell(value, write, largest) for value in self.values]

    def _cell(self, value: float | None, write: Callable[[float], str], largest: float) -> Cell:
        if value is None or not math.isfinite(value):
            return Cell(text=NOT_MEASURED if value is None else "not finite", missing=True)
        part = value / largest if self.bar and largest > 0 else None
        return Cell(text=write(value), sort=value, numeric=True, part=part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Args:
        columns: what is shown.
        rows: numbers of the report's rows that stand in it, and their cells, in the columns' order.
        unmeasured: columns that nothing has a value of, by label: they are named and not shown.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[int, tuple[Cell, ...]], ...]
    unmeasured: tuple[str, ...] = ()


def table_of(columns: Sequence[Column], numbers: Sequence[int]) -> Table:
    """Columns side by side; those that are empty are only named.

    Args:
        columns: of one length.
        numbers: of the report's rows, of the same length.
    """
    empty = [all(value is None for value in column.values) for column in columns]
    shown = [column for column, gone in zip(columns, empty, strict=True) if not gone]
    unmeasured = tuple(column.label for column, gone in zip(columns, empty, strict=True) if gone)
    sides = [column.cells() for column in shown]
    rows = tuple((number, tuple(side[place] for side in sides)) for place, number in enumerate(numbers))
    return Table(columns=tuple(shown), rows=rows, unmeasured=unmeasured)


def error_text(value: float) -> str:
    """2.3e-4 as 2.3×10⁻⁴."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "not finite"
    mantissa, _, power = f"{value:.1e}".partition("e")
    return f"{mantissa}×10{str(int(power)).translate(_SUPERSCRIPTS)}"


def number_at(data: Mapping[str, object] | None, *path: str) -> float | None:
    """A number somewhere in somebody's JSON; None where there is none."""
    value: object = data
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def plain(value: float, digits: int = 3) -> str:
    """A number in a sentence, with so many significant digits, and never as a power of ten."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    behind = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(behind, 6)}f}"


def _digits(values: Sequence[float]) -> int:
    smallest = min((abs(value) for value in values if value), default=1.0)
    return 0 if smallest >= 100 else 1 if smallest >= 10 else 2 if smallest >= 0.1 else 4
