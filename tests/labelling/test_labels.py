"""The index, without a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedepth.labelling import labels
from edgedepth.labelling.labels import INDEX, Label, LabelLog, summed_up, write_index


@pytest.mark.parametrize("count", [0, 5])
def test_the_index_is_written_a_row_group_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (the extra label) writes the index")
    monkeypatch.setattr(labels, "_ROW_GROUP", 2)
    header = {"model": "depth-pro-tiny", "focal_px": None}
    log = LabelLog(tmp_path, header)
    names = [f"{number}.png" for number in range(count)]
    for name in names:
        log.add(Label(name=name, path=name, place=-1, member="", version="", status="labelled", sha256=name))
    write_index(tmp_path, log, header, summed_up([], log, already=0, seconds=1, workers=1))
    log.close()
    file = parquet.ParquetFile(tmp_path / INDEX)
    assert file.num_row_groups == -(-count // 2)
    table = file.read()
    assert table.column("name").to_pylist() == names
    assert table.schema.metadata == {b"model": b'"depth-pro-tiny"', b"focal_px": b"null"}


def test_a_depth_without_a_row_is_not_believed(tmp_path: Path) -> None:
    log = LabelLog(tmp_path, {})
    there = Label(
        name="b", path="b", place=-1, member="", version="", status="duplicate", sha256="1", file="depth/1.png"
    )
    assert log.add(there) is None
    known = Label(
        name="a", path="a", place=-1, member="", version="", status="labelled", sha256="1", file="x.tar", focal_px=9.0
    )
    log.add(known)
    told = log.add(there)
    assert told is not None
    assert (told.status, told.file, told.focal_px) == ("duplicate", "x.tar", 9.0)
    log.close()
