"""export and label, killed at any moment: nothing that opens is wrong.

EDGEDEPTH_KILLS_OF_EXPORT and EDGEDEPTH_KILLS_OF_LABEL say how often, instead of 10 times each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXPORTS, LABELS = (os.environ.get(f"EDGEDEPTH_KILLS_OF_{what}", "10") for what in ("EXPORT", "LABEL"))


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.skipif(not hasattr(signal, "SIGKILL") or not hasattr(os, "fork"), reason="Windows has neither")
def test_nothing_that_opens_is_wrong(tmp_path: Path) -> None:
    out = tmp_path / "kills.json"
    words = ["--exports", EXPORTS, "--traced", "1", "--labels", LABELS, "--out", str(out)]
    # In a process of its own: forks of this one would have its threads' locks without its threads.
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "kills.py"), *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    exported, labelled = json.loads(out.read_text())["rows"]
    assert (exported["kills"], exported["wrong"]) == (int(EXPORTS), [])
    assert (labelled["kills"], labelled["wrong"]) == (int(LABELS), [])
