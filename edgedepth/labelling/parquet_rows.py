"""Encoded pictures out of a parquet shard, a few rows of it in memory at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from edgedepth.core.errors import PhotoError
from edgedepth.core.optional import require

__all__ = ["ParquetRows"]

_COLUMNS = ("image", "jpg", "png", "bytes")
"""What pictures are looked for in, in this order."""
_AT_ONCE = 16  # rows


class ParquetRows:
    """Reads rows; fastest in ascending order, since a row group is decoded from its beginning.

    Args:
        path: of the shard.

    Raises:
        PhotoError: it is no parquet file.
        MissingExtraError: pyarrow isn't installed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrow = require("pyarrow", extra="label", purpose="for parquet shards")
        parquet = require("pyarrow.parquet", extra="label", purpose="for parquet shards")
        with self._explained("is not a parquet file"):
            self._file = parquet.ParquetFile(path)
        groups = self._file.metadata
        self._starts: list[int] = list(
            accumulate((groups.row_group(n).num_rows for n in range(groups.num_row_groups)), initial=0)
        )
        self._batches: Iterator[Any] = iter(())
        self._batch: list[Any] = []
        self._at, self._end = 0, 0  # the rows of the batch, and where the one after it begins

    def __len__(self) -> int:
        return self._starts[-1]

    def picture(self, number: int) -> bytes:
        """The encoded picture of a row: bytes, or a struct with bytes as Hugging Face's data sets have it.

        Raises:
            PhotoError: there is no such row, no picture in it, or the file is damaged.
        """
        column = next((name for name in _COLUMNS if name in self._file.schema_arrow.names), None)
        if column is None:
            raise PhotoError(
                f"{self._path} has the columns {', '.join(self._file.schema_arrow.names)}, and no picture",
                remedy=f"call the column of encoded pictures {' or '.join(_COLUMNS)}",
            )
        if not 0 <= number < len(self):
            raise PhotoError(f"{self._path} has no row {number}", remedy="run the command again")
        with self._explained(f"can't be read at row {number}"):
            value = self._value(column, number)
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise PhotoError(f"{self._path} has no bytes in row {number}", remedy="store encoded pictures")
        return content

    def _value(self, column: str, number: int) -> Any:
        group = next(n for n, end in enumerate(self._starts[1:]) if number < end)
        if number < self._at or self._end <= self._starts[group]:  # passed; or a row group, or more, lies between
            self._go_to(column, group)
        while number >= self._end:
            self._batch = next(self._batches).column(0).to_pylist()
            self._at, self._end = self._end, self._end + len(self._batch)
        return self._batch[number - self._at]

    def _go_to(self, column: str, group: int) -> None:
        groups = range(group, len(self._starts) - 1)
        self._batches = self._file.iter_batches(_AT_ONCE, row_groups=groups, columns=[column])
        self._batch, self._at, self._end = [], self._starts[group], self._starts[group]

    @contextlib.contextmanager
    def _explained(self, problem: str) -> Iterator[None]:
        try:
            yield
        # of damaged pages pyarrow gives OSErrors too, and an iterator that ends too early
        except (self._arrow.ArrowException, OSError, StopIteration) as error:
            self._end = -1  # the next row begins its row group anew
            reason = str(error).partition("\n")[0] or "it ends early"
            raise PhotoError(f"{self._path} {problem}: {reason}", remedy="check how it was written") from error
