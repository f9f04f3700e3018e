"""docs/reliability.md says what the measurements say."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_what_its_command_writes() -> None:
    page = runpy.run_path(str(ROOT / "benchmarks" / "reliability.py"))["page"]
    assert (ROOT / "docs" / "reliability.md").read_text("utf-8") == page(), "run: python benchmarks/reliability.py"
