"""bench, bench compare and matrix as they are typed. No time is ever asserted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgedepth.core.runs import read_run, write_run
from edgedepth.matrix.planning import plan_rows
from edgedepth.matrix.running import ROWS

from .conftest import Cli


def test_bench_prints_and_keeps_a_run(cli: Cli, mini_bundle: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(mini_bundle, tmp_path / "bundle")
    done = cli("bench", bundle, "--frames", "2", "--warm-up", "1", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "p50 ms" in done.out
    assert "patch_encoder" in done.out
    run = read_run(tmp_path / "run")
    assert run.kind == "bench"
    assert run.command.startswith("edgedepth bench ")
    assert {"cpu", "cores"} <= set(run.machine)
    kept = cli("inspect", bundle).out
    assert f"p50 {run.entries[0].timing.frame.p50_ms:.1f} ms" in kept
    again = cli("bench", bundle, "--frames", "2", "--warm-up", "1", "--out", tmp_path / "run")
    assert again.code == 2
    assert "holds a finished run" in again.err

    slower = [replace_timing(entry, 3.0) for entry in run.entries]
    (tmp_path / "slower").mkdir()
    write_run(tmp_path / "slower", replace(run, entries=tuple(slower)))
    few = cli("bench", "compare", tmp_path / "run", tmp_path / "slower", "--fail-if-slower", "5%")
    assert few.code == 2
    assert "too few for a verdict" in few.err
    told = cli("bench", "compare", tmp_path / "run", tmp_path / "slower", "--json")
    assert told.code == 0
    assert told.json["comparison"]["ratios"][0]["ratio"] == pytest.approx(3)


def replace_timing(entry, factor: float):  # type: ignore[no-untyped-def]
    samples = tuple(factor * sample for sample in entry.timing.samples_ms)
    return replace(entry, timing=replace(entry.timing, samples_ms=samples))


def made_run(folder: Path, center: float, seed: int, **machine: str) -> Path:
    samples = list(center * np.exp(np.random.default_rng(seed).normal(0, 0.01, 30)))
    quantiles = {"p50_ms": center, "p90_ms": center, "p99_ms": center, "mean_ms": center}
    timing = {"frame": quantiles, "stages": {}, "samples_ms": samples}
    entry = {"name": "onnx fp32", "model": "m", "target": "onnx", "precision": "fp32", "status": "passed"}
    run = {
        "kind": "bench",
        "command": "",
        "created_utc": "",
        "machine": {"cpu": "one", **machine},
        "versions": {},
        "entries": [entry | {"timing": timing}],
    }
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(run))
    return folder


def test_compare_exits_1_when_something_became_slower(cli: Cli, tmp_path: Path) -> None:
    before, after = made_run(tmp_path / "a", 100, 0), made_run(tmp_path / "b", 120, 1)
    failed = cli("bench", "compare", before, after, "--fail-if-slower", "5%")
    assert failed.code == 1
    assert "FAILED: onnx fp32: +" in failed.out
    assert cli("bench", "compare", before, after, "--fail-if-slower", "30%").code == 0
    assert cli("bench", "compare", after, before / "run.json", "--fail-if-slower", "5%").code == 0


def test_compare_refuses_two_machines(cli: Cli, tmp_path: Path) -> None:
    before, after = made_run(tmp_path / "a", 1, 0), made_run(tmp_path / "b", 1, 1, cpu="two")
    refused = cli("bench", "compare", before, after)
    assert refused.code == 2
    assert "--cross-device" in refused.err
    assert "differs: cpu: one and two" in cli("bench", "compare", before, after, "--cross-device").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("bench",), "there is no bundle in"),
        (("bench", "--backend", "tvm"), "no backend 'tvm'"),
        (("bench", "nowhere"), "there is no bundle at nowhere"),
        (("bench", "compare", "one"), "compare takes two runs; got 1"),
        (("bench", "compare", "one", "two"), "can't be read"),
        (("bench", "compare", "one", "two", "--fail-if-slower", "much"), "is no share"),
        (("bench", "--cross-device"), "--cross-device goes with compare"),
        (("matrix", "--model", "depth-proo"), "no model 'depth-proo'"),
        (("matrix", "--targets", "tflite"), "no target 'tflite'"),
        (("matrix", "--precisions", "fp4"), "no precision 'fp4'"),
        (("matrix", "--targets", "onnx", "--precisions", "bf16"), "none of onnx is exported at bf16"),
        (("matrix", "--frames", "0"), "frames is 0"),
        (("matrix", "--warm-up", "-1"), "warm-up is -1"),
        (("matrix", "--model", "depth-pro-mini", "--calib", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_measured_says_why(cli: Cli, tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    out = () if "compare" in words else ("--out", tmp_path / "out")
    done = cli(*words, *out)
    assert done.code == 2, done.out
    assert said in done.err


def test_every_export_is_a_row() -> None:
    rows = [row.name for row in plan_rows()]
    assert {"onnx fp32", "onnx int8", "openvino bf16", "openvino int8", "tensorrt fp16", "coreml fp16"} <= set(rows)
    assert [row.name for row in plan_rows(["ov"], ["fp32"])] == ["openvino fp32"]


def test_matrix_makes_a_table_and_goes_on_where_it_was_cut_off(
    cli: Cli, mini_bundle: Path, photos: Path, tmp_path: Path
) -> None:
    """With a row that passes, and one that fails: its bundle can't be written where a file stands.

    The first was killed once before, when its bundle was made and not yet verified. docs/how-to/matrix.md, whose
    command runs in test_docs.py, begins with nothing.
    """
    out = tmp_path / "matrix"
    (out / "bundles").mkdir(parents=True)
    made = shutil.copytree(mini_bundle, out / "bundles" / "onnx-fp32") / "manifest.json"
    before = made.stat().st_mtime_ns
    blocked = out / "bundles" / "onnx-fp16"
    blocked.write_text("in the way")
    words = ("matrix", "--model", "depth-pro-mini", "--weights", "random:0", "--targets", "onnx")
    words = (
        *words,
        "--precisions",
        "fp32",
        "fp16",
        "--images",
        str(photos),
        "--frames",
        "2",
        "--warm-up",
        "1",
        "--out",
        str(out),
    )
    first = cli(*words)
    assert first.code == 1, first.err
    sound, failed = read_run(out).entries
    assert (sound.name, sound.status) == ("onnx fp32", "passed")
    assert sound.parity is not None
    assert sound.parity["end_to_end"]["abs_rel"] < 1e-4
    assert sound.timing is not None
    assert len(sound.pictures) == 2
    assert all((out / path).is_file() for one in sound.pictures for path in (one.rgb, one.reference, one.candidate))
    assert failed.status == "failed"
    assert "is not a folder" in failed.reason
    table = (out / "matrix.md").read_text()
    assert "| onnx fp32 | passed |" in table
    assert "| onnx fp16 | failed |" in table
    assert "boundary F1" in first.out

    # Cut off after the rows; what failed is tried again, what passed is not.
    (out / "run.json").unlink()
    (out / "samples.jsonl").unlink()
    rows = (out / ROWS).read_text()
    again = cli(*words, "--json")
    assert again.code == 1
    assert [entry["status"] for entry in again.json["entries"]] == ["passed", "failed"]
    assert (out / ROWS).read_text().startswith(rows)
    assert "onnx fp32: starting" not in again.err
    assert made.stat().st_mtime_ns == before
