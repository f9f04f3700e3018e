"""export and label, killed at any moment: nothing that opens is wrong.

EDGEDEPTH_KILLS_OF_EXPORT and EDGEDEPTH_KILLS_OF_LABEL say how often, instead of 10 times each.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgedepth.core.bundle import open_bundle
from edgedepth.core.errors import BundleNotFoundError
from edgedepth.labelling import label
from edgedepth.labelling.labels import JOURNAL, SUMMARY

from .conftest import draw_photo

EXPORTS, LABELS = (
    int(os.environ.get(f"EDGEDEPTH_KILLS_OF_{what}", few)) for what, few in (("EXPORT", 10), ("LABEL", 10))
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(0),
    pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL"),
]


def killed(words: list[str], after_s: float) -> bool:
    """Start a command and kill it; whether it was still running."""
    with subprocess.Popen(
        [sys.executable, "-m", "edgedepth", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        time.sleep(after_s)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def test_exports(tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    words = ["export", "--model", "depth-pro-mini", "--target", "onnx", "--out", str(out)]
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "edgedepth", *words], check=True, capture_output=True)
    whole_s, first = time.monotonic() - start, open_bundle(out).manifest
    rng, hits = random.Random(0), 0
    for number in range(EXPORTS):
        if number % 2:
            shutil.rmtree(out, ignore_errors=True)  # every second time there is no old bundle to keep
        hits += killed(words, rng.uniform(0, whole_s))
        try:
            manifest = open_bundle(out).manifest
        except BundleNotFoundError:
            continue
        assert manifest.model == first.model
        assert manifest.artefacts == first.artefacts
    assert hits > EXPORTS / 2


def test_labels(mini_bundle: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "labels"
    photos.mkdir()
    for seed in range(60):
        draw_photo(photos / f"{seed}.png", seed=seed)
    words = ["label", str(photos), "--bundle", str(mini_bundle), "--out", str(out)]
    rng, hits = random.Random(0), 0
    for _ in range(LABELS):
        hits += killed(words, rng.uniform(1, 12))
        if (out / SUMMARY).exists():
            shutil.rmtree(out)  # it was done: begin again
    assert hits > LABELS / 2
    summary = label([str(photos)], bundle=mini_bundle, out=out)
    files = {path.name for path in (out / "depth").rglob("*.png")}
    assert (summary.labelled + summary.duplicates, summary.failed) == (60, 0)
    assert len(files) == summary.labelled
    assert len((out / JOURNAL).read_bytes().splitlines()) == 61
