"""eval by several workers: the serial run's report to the last bit, whoever scored what."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedepth.evaluating import CSV, GALLERY, REPORT
from edgedepth.verify.score_log import SCORES

from .conftest import Cli
from .test_eval import make_rooms

CREWS = [
    pytest.param(("--workers", "2"), id="processes"),
    # Slow: half a minute of Ray's own processes.
    pytest.param(("--engine", "ray", "--workers", "2", "--threads", "1"), id="ray", marks=pytest.mark.slow),
]


def content(out: Path) -> dict[str, bytes]:
    files = [out / REPORT, out / CSV, *sorted((out / GALLERY).iterdir())]
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.filterwarnings("ignore")  # Ray's own: sockets and files left open
@pytest.mark.parametrize("crew", CREWS)
def test_workers_report_what_one_process_does(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, crew: tuple[str, ...]
) -> None:
    if "ray" in crew:
        pytest.importorskip("ray", reason="Ray (the extra ray) makes the cluster")
    rooms = make_rooms(tmp_path / "rooms", 7)
    (rooms / "room3.png").write_bytes(b"no picture")
    (rooms / "room5.depth.png").write_bytes((rooms / "room5.depth.png").read_bytes()[:80])
    words = ("eval", rooms, "--bundle", tiny_bundle, "--gallery", "2", "--json")
    serial = cli(*words, "--out", tmp_path / "serial")
    assert serial.code == 0
    spread = cli(*words, "--out", tmp_path / "spread", *crew)
    assert spread.code == 0, spread.err
    assert spread.json == serial.json
    assert [skip["name"] for skip in spread.json["skipped"]] == ["room3", "room5"]
    assert content(tmp_path / "spread") == content(tmp_path / "serial")
    assert len(content(tmp_path / "spread")) == 4
    # Begun by one process and killed, another crew goes on.
    half = tmp_path / "half"
    half.mkdir()
    lines = (tmp_path / "serial" / SCORES).read_bytes().splitlines(keepends=True)
    (half / SCORES).write_bytes(b"".join(lines[:4]) + lines[4][:20])  # header, baselines, two scores and a bit
    resumed = cli(*words, "--out", half, "--resume", *crew)
    assert resumed.json == serial.json
    assert content(half) == content(tmp_path / "serial")


def test_options_that_do_not_go_together(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    rooms = make_rooms(tmp_path / "rooms", 1)
    done = cli("eval", rooms, "--bundle", tiny_bundle, "--out", tmp_path / "eval", "--address", "auto")
    assert done.code == 2
    assert "--engine ray" in done.err
