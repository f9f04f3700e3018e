"""Runs beside each other: different machines are refused, and a proof and a timing of one bundle become one row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgedepth.core.errors import RunError
from edgedepth.core.runs import Quantiles, Run, write_run
from edgedepth.report.gathering import gather, machine_differences
from edgedepth.report.page import write_report

Copied = Callable[..., tuple[Path, Run]]


def split(copied: Copied, **of_bench: object) -> tuple[Path, Path]:
    """The drawn run's first entry as a verification and as a bench."""
    proof, run = copied("proof")
    timing, _ = copied("timing")
    entry = run.entries[0]
    write_run(proof, replace(run, kind="verify", entries=(replace(entry, timing=None, status="failed", reason="off"),)))
    timed = replace(entry, parity=None, pictures=(), status="unproven", where="", **of_bench)  # type: ignore[arg-type]
    write_run(timing, replace(run, kind="bench", entries=(timed,)))
    return proof, timing


@pytest.mark.parametrize("order", [1, -1])
def test_a_proof_and_a_timing_of_one_bundle_become_one_row(copied: Copied, order: int) -> None:
    proof, timing = split(copied)
    _, rows = gather([proof, timing][::order])
    (row,) = rows
    assert row.name == "onnx fp32 0 · A+B"
    assert row.entry.parity is not None
    assert row.entry.timing is not None
    assert (row.entry.status, row.entry.reason) == ("failed", "off")
    assert row.pictures_folder == proof


@pytest.mark.parametrize("change", [{"provenance": {"made": "later"}}, {"bundle": "another"}, {"size_bytes": 1}])
def test_another_bundle_keeps_its_row(copied: Copied, change: dict[str, object]) -> None:
    _, rows = gather(split(copied, **change))
    assert [row.name for row in rows] == ["onnx fp32 0 · A", "onnx fp32 0 · B"]


def test_different_machines_are_refused_and_then_labelled(copied: Copied, tmp_path: Path) -> None:
    here, run = copied("here")
    there, _ = copied("there")
    write_run(there, replace(run, machine=run.machine | {"cpu": "Cortex-A78AE", "power_mode": "MAXN"}))
    with pytest.raises(RunError, match=r"different machines \(cpu: .* and 'Cortex-A78AE'\)") as caught:
        gather([here, there])
    assert "--cross-device" in caught.value.remedy
    sources, rows = gather([here, there], cross_device=True)
    assert [source.label for source in sources] == ["A", "B"]
    assert len(rows) == 2 * len(run.entries)
    page = write_report([here, there], tmp_path / "report.html", cross_device=True, pictures=0).read_text()
    assert "Different machines" in page
    assert "cpu is Cortex-A78AE" in page


def test_a_fact_that_one_machine_alone_tells_is_no_difference(copied: Copied) -> None:
    folder, run = copied("one")
    other, _ = copied("two")
    write_run(other, replace(run, machine=run.machine | {"cpu_flags": "avx512_bf16"}))
    sources, _ = gather([folder, other])
    assert machine_differences(sources[0].run, sources[1].run) == []


def test_a_run_is_named_once(drawn: Path) -> None:
    with pytest.raises(RunError, match="named twice"):
        gather([drawn, drawn / "run.json"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"frame": Quantiles(p50_ms=0, p90_ms=1, p99_ms=1, mean_ms=1)},
        {"frame": Quantiles(p50_ms=1, p90_ms=1, p99_ms=-1, mean_ms=1)},
        {"samples_ms": (1.0, -1.0)},
        {"ceiling_flops_s": 0.0},
    ],
)
def test_timings_that_no_clock_gives_are_refused(copied: Copied, wrong: dict[str, object]) -> None:
    folder, run = copied()
    first, *others = run.entries
    assert first.timing is not None
    bad = replace(first, timing=replace(first.timing, **wrong))  # type: ignore[arg-type]
    write_run(folder, replace(run, entries=(bad, *others)))
    with pytest.raises(RunError, match="timings of nothing or less"):
        gather([folder])


def test_json_without_an_end_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match="is not a run"):
        gather([tmp_path])


def test_runs_without_entries_are_nothing_to_report(copied: Copied) -> None:
    folder, run = copied()
    write_run(folder, replace(run, entries=()))
    with pytest.raises(RunError, match="nothing to report"):
        gather([folder])
