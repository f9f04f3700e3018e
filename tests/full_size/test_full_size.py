"""Depth Pro at its real size, on random weights: export, proof and memory. Minutes and gigabytes: marked slow.

Peaks are of whole processes. They are limits that the project promises (README.md), not measurements: benchmarks/
measures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgedepth.sample_photos import SAMPLES

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

# The child reports its own peak as its last line: ru_maxrss of children would be the largest of all of them.
PEAK = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)"
INFER = """
import numpy as np
from edgedepth import EdgeDepth
model = EdgeDepth({bundle!r}, self_test="never", resident={resident!r})
frame = np.random.default_rng(0).integers(0, 255, (1536, 1536, 3), np.uint8)
for _ in range(2):
    assert np.isfinite(model.infer(frame).depth).all()
"""


def peak_gb(code: str, home: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", code + "\n" + PEAK],
        env=os.environ | {"EDGEDEPTH_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


def command(*words: str) -> str:
    return f"import sys; from edgedepth.cli import main; code = main({list(words)!r}); assert code == 0, code"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A full-size bundle and the peak memory of the process that wrote it."""
    folder = tmp_path_factory.mktemp("full")
    words = ("export", "--model", "depth-pro", "--weights", "random:0", "--tile-batch", "5", "--out")
    peak = peak_gb(command(*words, str(folder / "bundle")), folder / "home")
    return folder / "bundle", peak


def test_the_export_stays_under_8_gb(exported: tuple[Path, float]) -> None:
    bundle, peak = exported
    assert peak <= 8
    assert json.loads((bundle / "manifest.json").read_text())["model"]["parameters"] == 951_991_330


def test_it_verifies_on_photographs(exported: tuple[Path, float], tmp_path: Path) -> None:
    skimage = pytest.importorskip("skimage", reason="the sample photographs")
    photos = [str(Path(skimage.__path__[0]) / "data" / name) for name in SAMPLES[:2]]
    peak_gb(command("verify", str(exported[0]), "--images", *photos), tmp_path)


@pytest.mark.parametrize(("resident", "limit_gb"), [("all", 6.0), ("one", 3.5)])
def test_inference_stays_under_its_limit(
    exported: tuple[Path, float], tmp_path: Path, resident: str, limit_gb: float
) -> None:
    code = INFER.format(bundle=str(exported[0]), resident=resident)
    assert peak_gb(code, tmp_path) <= limit_gb
