"""Write docs/reliability.md from what was measured: docs/measurements/{kills,fuzz,flips}.json and soak.md.

    python benchmarks/reliability.py
    make reliability                      measures everything first, for hours

Each of these is written by a command of its own, which it names; this one measures nothing. A JSON holds what was done
("what"), the command, machine, versions and rows; a part that isn't there is told to be missing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE = DOCS / "reliability.md"
MEASUREMENTS = DOCS / "measurements"
TITLES = {"kills": "Killed at any moment", "flips": "Flipped bytes", "fuzz": "Damaged files"}
HEAD = """# Reliability

`make reliability` measures all of this, for hours, and writes this page of it; stopped, it goes on. The page alone:
`python benchmarks/reliability.py`, from [measurements](measurements/README.md).
"""
SOAK = MEASUREMENTS / "soak.md"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


def page() -> str:
    """docs/reliability.md."""
    parts = [section(title, MEASUREMENTS / f"{name}.json") for name, title in TITLES.items()]
    return "\n".join([HEAD, *parts, soak()])


def section(title: str, path: Path) -> str:
    """A measurement as a table."""
    if not path.exists():
        return f"## {title}\n\nNot measured yet: measurements/{path.name} isn't there.\n"
    found = json.loads(path.read_text(encoding="utf-8"))
    machine, versions = found.get("machine", {}), found.get("versions", {})
    about = [str(at) if name == "cpu" else f"{name} {at}" for name, at in (machine | versions).items()]
    told = f"{found['what']}. `{found['command']}`, [raw](measurements/{path.name}): {', '.join(about)}."
    return f"## {title}\n\n{told}\n\n{table(found['rows'])}\n"


def table(rows: list[dict[str, Any]]) -> str:
    """Rows that need not have the same columns."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    lines = [columns, ["---"] * len(columns), *([cell(row.get(name, "")) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: Any) -> str:
    """A value in a table."""
    if isinstance(value, dict):
        return "<br>".join(f"{name}: {cell(count)}" for name, count in value.items())
    if isinstance(value, list):
        return "; ".join(map(cell, value)) or "none"
    return str(value).replace("|", "\\|").replace("\n", " ")


def soak() -> str:
    """The part that benchmarks/soak.py writes, its headings one level lower."""
    if not SOAK.exists():
        return "## Does it keep running?\n\nNot measured yet: measurements/soak.md isn't there.\n"
    lines = SOAK.read_text("utf-8").splitlines()
    return "\n".join(f"#{line}" if line.startswith("#") else line for line in lines) + "\n"


if __name__ == "__main__":
    main()
