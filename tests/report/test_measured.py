"""A page of what was really measured: the mini's bundles against the eager reference, and the command that makes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgedepth.cli import main
from edgedepth.core.runs import read_run
from edgedepth.exporters.base import ExportOptions, exporter_for
from edgedepth.models.loading import LoadedModel
from edgedepth.report.run_files import read_depth

from .measured_runs import Reference, measured_run
from .test_page import parsed


def pictures(count: int) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:96, 0:128]
    ramp = np.stack([x * 2, y * 2, (x + y) % 256], axis=-1)
    return {f"drawn {n}": (ramp + rng.integers(0, 40, ramp.shape)).clip(0, 255).astype(np.uint8) for n in range(count)}


def test_a_bundle_that_was_measured_has_a_page(
    mini: LoadedModel, mini_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference = Reference(pictures(2), mini)
    run = measured_run(tmp_path / "run", [("onnx fp32", mini_bundle)], reference, frames=2)
    assert read_run(tmp_path / "run") == run
    (entry,) = run.entries
    assert entry.status == "passed"
    # What the page draws is what was measured: fp32 on the same machine.
    for picture in entry.pictures:
        candidate, expected = (read_depth(tmp_path / "run", name) for name in (picture.candidate, picture.reference))
        np.testing.assert_allclose(candidate, expected, rtol=1e-3)
    out = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "run"), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"page": str(out), "bytes": out.stat().st_size}
    text = parsed(out).text
    assert "onnx fp32" in text
    assert "1 of 1" in text
    assert "patch_encoder" in text


@pytest.mark.slow
def test_fp16_beside_fp32(trained_mini: LoadedModel, tmp_path: Path, look: Callable[..., object]) -> None:
    """On the published weights and photographs, as the figures in the documentation are made."""
    from edgedepth.sample_photos import sample_photos

    bundles = []
    for precision in ("fp32", "fp16"):
        options = ExportOptions(precision=precision)  # type: ignore[arg-type]
        bundles.append(
            (f"onnx {precision}", exporter_for("onnx").export(trained_mini, options, tmp_path / precision).path)
        )
    photos = {photo.path.name: photo.pixels_rgb for photo in sample_photos()}
    run = measured_run(tmp_path / "run", bundles, Reference(photos, trained_mini))
    exact, half = (entry.parity["end_to_end"]["abs_rel"] for entry in run.entries if entry.parity)
    assert exact < half
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "report.html")]) == 0


def test_a_run_that_cannot_be_reported_is_told_in_two_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "nowhere"), "--out", str(tmp_path / "report.html")]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("edgedepth: error: ")
    assert told[1].startswith("  try: ")
