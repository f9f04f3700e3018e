"""A real export that is killed, and two that meet: the old bundle stays."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgedepth.core.bundle import open_bundle

from .conftest import Cli


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_second_export_is_refused_and_a_killed_one_leaves_the_old_bundle(
    cli: Cli, mini_bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "bundle"
    shutil.copytree(mini_bundle, out)
    before = open_bundle(out).manifest
    words = ["export", "--model", "depth-pro-mini", "--layout", "single", "--out", str(out)]
    with subprocess.Popen([sys.executable, "-m", "edgedepth", *words], stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        # The step is told from inside the block that holds the lock.
        next(line for line in first.stderr if line.startswith("[0/"))
        second = cli(*words)
        assert second.code == 2
        assert f"another process is writing {out}" in second.err
        time.sleep(2)  # somewhere between the first stage and the last; unit/core kills at every single step
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert open_bundle(out).manifest == before
    assert cli("inspect", out).code == 0
