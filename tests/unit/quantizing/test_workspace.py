"""The folder of one INT8 export: named by what it is for, and held by one process at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedepth.core.errors import BundleBusyError
from edgedepth.quantizing.workspace import Workspace


def test_two_equal_exports_at_once() -> None:
    first, second = Workspace({"budget": 1}), Workspace({"budget": 1})
    with first.held() as resumed:
        assert not resumed
        with pytest.raises(BundleBusyError, match="another process") as caught, second.held():
            pass
        assert "the same INT8 export is under way" in caught.value.remedy
        with Workspace({"budget": 2}).held():
            pass  # another export's
    with second.held() as resumed:
        assert resumed
        second.remove()
    with first.held() as resumed:
        assert not resumed


def test_what_is_kept_is_named_by_what_it_is_for(tmp_path: Path) -> None:
    folders = {Workspace(key).folder for key in ({"a": 1}, {"a": 2}, {"a": 1, "b": None})}
    assert len(folders) == 3
    assert Workspace({"b": None, "a": 1}).folder in folders
