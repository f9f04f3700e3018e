"""Reports in bundles: beside the seal, about one manifest, and never in the way."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgedepth.core.bundle import REPORT_FILES, Bundle, open_bundle, write_bundle
from edgedepth.core.errors import BundleTamperedError, OutputError
from edgedepth.core.reports import read_report, save_report
from edgedepth.proof import parity_line, tell_parity

REPORT = {"passed": True, "images": 2, "end_to_end": {"abs_rel": 1e-6}, "where": "verified on the device"}


@pytest.fixture
def bundle(tmp_path: Path, make_bundle: Callable[..., Bundle]) -> Path:
    return make_bundle(tmp_path / "bundle").path


@pytest.fixture(autouse=True)
def _nothing_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every small bundle has the same manifest, and a process warns of one once."""
    monkeypatch.setattr("edgedepth.proof._told", set())


def test_a_report_comes_back_and_the_seal_holds(bundle: Path) -> None:
    opened = open_bundle(bundle)
    assert read_report(opened, "parity") is None
    save_report(opened, "parity", REPORT, runtime="onnx 1.32 on cpu")
    save_report(opened, "latency", {"frame": {"p50_ms": 3.0, "p90_ms": 4.0}}, runtime="onnx 1.32 on cpu")
    again = open_bundle(bundle)
    stored = read_report(again, "parity")
    assert stored is not None
    assert stored.report == REPORT
    assert stored.runtime == "onnx 1.32 on cpu"
    assert stored.machine["cpu"]
    assert read_report(again, "latency") is not None
    assert "passed on 2 pictures, AbsRel 1.00e-06, verified on the device" in parity_line(again)


def test_only_reports_may_be_added(bundle: Path) -> None:
    (bundle / "reports").mkdir()
    (bundle / "reports" / "other.json").write_text("{}")
    with pytest.raises(BundleTamperedError, match=r"other\.json is not a file of this bundle"):
        open_bundle(bundle)


def test_a_report_of_another_manifest_is_passed_over(bundle: Path, tmp_path: Path) -> None:
    opened = open_bundle(bundle)
    save_report(opened, "parity", REPORT, runtime="r")
    with write_bundle(tmp_path / "anew") as writer:
        shutil.copytree(bundle, writer.folder, dirs_exist_ok=True)
        files = writer.file_entries()
        writer.finish(replace(opened.manifest, files=files, created_utc="2030-01-01T00:00:00Z"))
    assert not set(files) & set(REPORT_FILES.values())  # copied along, and not sealed
    assert read_report(open_bundle(tmp_path / "anew"), "parity") is None
    assert parity_line(open_bundle(tmp_path / "anew")).startswith("not measured yet: edgedepth verify ")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 1}', b"\xff\xfe"])
def test_a_damaged_report_is_none(bundle: Path, content: bytes) -> None:
    opened = open_bundle(bundle)
    save_report(opened, "parity", REPORT, runtime="r")
    (bundle / REPORT_FILES["parity"]).write_bytes(content)
    assert read_report(open_bundle(bundle), "parity") is None


def test_a_folder_that_cannot_be_written_is_told(bundle: Path) -> None:
    opened = open_bundle(bundle)
    (bundle / "reports").write_text("in the way")
    with pytest.raises(OutputError, match="reports can't be made"):
        save_report(opened, "parity", REPORT, runtime="r")


def test_loading_warns_once_and_names_the_command(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened = open_bundle(bundle)
    with caplog.at_level(logging.WARNING, "edgedepth"):
        tell_parity(opened)
        tell_parity(opened)
    assert [f"edgedepth verify {bundle} --images DIR" in record.getMessage() for record in caplog.records] == [True]


def test_a_bundle_that_failed_warns_with_the_reason(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened = open_bundle(bundle)
    failed = REPORT | {"passed": False, "failures": ["stage decoder max_rel is inf; at most 1e-4 is allowed"]}
    save_report(opened, "parity", failed, runtime="r")
    with caplog.at_level(logging.WARNING, "edgedepth"):
        tell_parity(opened)
    (record,) = caplog.records
    assert "stage decoder max_rel is inf" in record.getMessage()
    assert f"edgedepth debug {bundle}" in record.getMessage()


def test_a_bundle_that_passed_says_nothing(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    opened = open_bundle(bundle)
    save_report(opened, "parity", REPORT, runtime="r")
    with caplog.at_level(logging.WARNING, "edgedepth"):
        tell_parity(opened)
    assert not caplog.records
