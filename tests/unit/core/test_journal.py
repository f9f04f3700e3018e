"""A journal loses at most the line that was being written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedepth.core.errors import OutputError
from edgedepth.core.journal import Journal

HEADER = {"what": "work", "sizes": (1, 2)}
ENTRIES = [{"look": [1, "a\nb", None]}, {"look": [2, "ä", "x"]}, {"stored": {"deep": [1.5]}}]


def written(path: Path) -> bytes:
    journal = Journal(path, HEADER)
    for entry in ENTRIES:
        journal.add(entry)
    journal.close()
    return path.read_bytes()


def reopened(path: Path, header: dict[str, object] = HEADER) -> list[dict[str, object]]:
    journal = Journal(path, header)
    journal.close()
    return journal.entries


def test_it_gives_back_what_was_added(tmp_path: Path) -> None:
    written(tmp_path / "j")
    assert reopened(tmp_path / "j") == ENTRIES


def test_other_work_begins_anew(tmp_path: Path) -> None:
    written(tmp_path / "j")
    assert reopened(tmp_path / "j", {"what": "other"}) == []
    assert reopened(tmp_path / "j") == []


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_cut_anywhere_it_goes_on_with_the_whole_lines(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "j"
    content = written(path)
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    assert reopened(path) == ENTRIES[: max(whole - 1, 0)]
    journal = Journal(path, HEADER)
    journal.add({"after": True})
    journal.close()
    assert reopened(path) == [*ENTRIES[: max(whole - 1, 0)], {"after": True}]


def test_a_damaged_line_and_what_follows_it_is_work_to_do_again(tmp_path: Path) -> None:
    lines = written(tmp_path / "j").splitlines(keepends=True)
    (tmp_path / "j").write_bytes(lines[0] + lines[1] + b"\0\0\0\n" + lines[3])
    assert reopened(tmp_path / "j") == ENTRIES[:1]


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="can't be written: No such file"):
        Journal(tmp_path / "no" / "j", HEADER)


def test_a_full_disk_is_told_and_what_was_kept_stays(tmp_path: Path, file_size_limit: Callable[[int], None]) -> None:
    whole = written(tmp_path / "j")
    journal = Journal(tmp_path / "j", HEADER)
    file_size_limit(len(whole) + 10)
    with pytest.raises(OutputError, match="disk is full"):
        journal.add({"more": "than ten bytes"})  # ten bytes of it are taken
    with pytest.raises(OutputError, match="File too large"):
        journal.add({"more": "than ten bytes"})
    journal.close()
    file_size_limit(1 << 30)
    assert reopened(tmp_path / "j") == ENTRIES
