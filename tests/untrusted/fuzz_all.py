"""Fuzz every parser with both engines, in turn, and keep the figures.

    python -m tests.untrusted.fuzz_all --seconds 600 --out docs/measurements/fuzz.json

Each parser and engine gets a slice of the processor's time, then the next one, until all had --seconds. Figures are
written after each slice, and what was interrupted goes on from there; a parser that broke gets no more slices. The
engine atheris needs `pip install atheris`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgedepth.core.environment import describe_machine, versions_of

from .damage import TARGETS

__all__ = ["main"]

Row = dict[str, Any]

WHAT = "Damaged files given to each parser; an error that is not edgedepth's own counts as uncaught"
COMMAND = "python -m tests.untrusted.fuzz_all --seconds 600 --out docs/measurements/fuzz.json"
SUMS = ("cpu_s", "wall_s", "inputs", "refused", "slices")


def main() -> int:
    """Run slices until all had their time; 1 where a parser broke."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="of the processor's time, a parser and engine")
    parser.add_argument("--slice", type=int, default=60, help="seconds, before it is the next one's turn")
    parser.add_argument("--engines", nargs="+", choices=("random", "atheris"), default=["random", "atheris"])
    parser.add_argument("--corpora", type=Path, help="a folder that keeps what atheris found from slice to slice")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    rows = _rows(args.out)
    for name in TARGETS:
        for engine in args.engines:
            rows.setdefault((name, engine), {"parser": name, "engine": engine, "uncaught": ""} | dict.fromkeys(SUMS, 0))
    while waiting := [row for row in rows.values() if row["cpu_s"] < args.seconds and not row["uncaught"]]:
        row = min(waiting, key=lambda row: row["cpu_s"])
        seconds = min(args.slice, args.seconds - row["cpu_s"])
        _add(row, _slice(row, max(1, round(seconds)), args.corpora))
        print(json.dumps(row), flush=True)
        _write(args.out, rows)
    return int(any(row["uncaught"] for row in rows.values()))


def _rows(out: Path) -> dict[tuple[str, str], Row]:
    if not out.exists():
        return {}
    rows: list[Row] = json.loads(out.read_text(encoding="utf-8"))["rows"]
    return {(row["parser"], row["engine"]): row for row in rows}


def _slice(row: Row, seconds: int, corpora: Path | None) -> Row:
    words = ["-m", "tests.untrusted.fuzz", row["parser"], "--engine", row["engine"]]
    words += ["--seconds", str(seconds), "--seed", str(row["slices"])]
    words += ["--corpus", str(corpora / row["parser"])] if corpora else []
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    try:
        told: Row = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):  # libFuzzer ended the process
        lines = done.stderr.strip().splitlines() or ["nothing was said"]
        told = {"uncaught": "\n".join(lines[-20:])}
    return told | {"slices": 1}


def _add(row: Row, told: Row) -> None:
    for name in SUMS:
        row[name] = round(row[name] + told.get(name, 0), 1)
    row["ways"] = max(row.get("ways", 0), told.get("ways", 0))
    row["uncaught"] = told["uncaught"]


def _write(out: Path, rows: dict[tuple[str, str], Row]) -> None:
    document = {
        "what": WHAT,
        "command": COMMAND,
        "machine": describe_machine(),
        "versions": versions_of(["numpy", "torch", "safetensors", "pillow", "atheris"]),
        "rows": [row for row in rows.values() if row["slices"]],
    }
    out.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
