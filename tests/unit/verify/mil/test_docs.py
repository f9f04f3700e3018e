"""The product page's table of ops is the registry."""

from __future__ import annotations

import re
from pathlib import Path

from edgedepth.verify.mil.ops import OPS

PAGE = Path(__file__).resolve().parents[4] / "docs" / "mil-evaluator.md"


def test_the_table_of_ops_is_the_registry() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("<!-- ops:")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\w+) \| (`.*`) \|$", table, re.MULTILINE)
    listed = {name: family for family, names in rows for name in re.findall(r"`(\w+)`", names)}
    assert listed == {name: item.compute.__module__.rpartition(".")[2] for name, item in OPS.items()}
