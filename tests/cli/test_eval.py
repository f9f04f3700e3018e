"""edgedepth eval: figures on stdout and in files, and runs that are killed, interrupted and refused."""

from __future__ import annotations

import csv
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgedepth import EdgeDepth, evaluate
from edgedepth.datasets import open_dataset
from edgedepth.verify.evaluation import METRICS
from edgedepth.verify.score_log import SCORES

from .conftest import Cli, draw_photo

SIZE = (96, 64)


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """A plain folder: pictures, their depth in millimetres, and the focal length of them all."""
    return make_rooms(tmp_path / "rooms", 3)


def make_rooms(folder: Path, count: int) -> Path:
    folder.mkdir()
    width, height = SIZE
    for index in range(count):
        draw_photo(folder / f"room{index}.png", seed=index, size=SIZE)
        depth = np.full((height, width), 3000 + 500 * index, np.uint16)
        depth[8:24, 8:40] = 1200
        depth[:4] = 0  # unknown
        cv2.imwrite(str(folder / f"room{index}.depth.png"), depth)
    (folder / "intrinsics.json").write_text('{"focal_px": 90.0}')
    return folder


def test_a_table_and_files(cli: Cli, mini_bundle: Path, rooms: Path, tmp_path: Path) -> None:
    out = tmp_path / "eval"
    done = cli("eval", rooms, "--bundle", mini_bundle, "--out", out, "--gallery", "1")
    assert done.code == 0
    head, *lines = done.out.splitlines()
    assert head == "UNTRAINED weights: the figures tell nothing about the architecture"
    assert "depth-pro-mini" in lines[0]
    assert "mean depth map *" in lines[0]
    facts = json.loads((out / "report.json").read_text("utf-8"))
    table = {line.split("  ")[0]: line.split()[-3:] for line in lines}
    assert table["AbsRel ↓"] == [
        f"{figures['abs_rel']:.4f}"
        for figures in (facts["metrics"], facts["baselines"]["constant_depth"], facts["baselines"]["mean_depth_map"])
    ]
    assert "boundary recall" not in done.out  # no masks
    assert "means over 3 pictures of plain; fp32 on onnx, cpu; the model's own focal length" in done.out
    assert "flattered" in done.out
    assert "[0/3] fitting the baselines: room0" in done.err
    assert "[2/3] room2" in done.err
    names = {path.name for path in out.iterdir()}
    assert names == {"scores.jsonl", "report.json", "images.csv", "gallery"}
    rows = list(csv.DictReader((out / "images.csv").read_text("utf-8").splitlines()))
    assert np.mean([float(row["delta1"]) for row in rows]) == pytest.approx(facts["metrics"]["delta1"])


def test_the_json_contract(cli: Cli, tiny_bundle: Path, rooms: Path, tmp_path: Path) -> None:
    run = ("eval", rooms, "--bundle", tiny_bundle, "--json")
    facts = cli(*run, "--out", tmp_path / "own").json
    assert set(facts) == {
        *("images", "metrics", "baselines", "skipped", "images_with"),
        *("model", "data_set", "settings", "environment", "gallery"),
    }
    assert facts["images"] == 3
    assert set(facts["metrics"]) == set(METRICS)
    assert facts["images_with"] == {"focal_length": 3, "mask": 0}
    assert set(facts["baselines"]) == {"constant_depth", "mean_depth_map", "constant_fov"}
    assert facts["baselines"]["constant_fov"]["focal_delta25"] == 1.0  # all have 90 px
    assert facts["data_set"]["place"] == str(rooms)
    given = cli(*run, "--out", tmp_path / "given", "--focal", "given", "--align", "median", "--max-depth", "3.2",
                "--limit", "2", "--no-baselines", "--gallery", "0").json  # fmt: skip
    assert given["images"] == 2
    assert given["settings"] == {
        "focal": "given", "align": "median", "max_depth_m": 3.2, "limit": 2, "baselines": False,
    }  # fmt: skip
    assert (given["metrics"]["focal_delta25"], given["baselines"], given["gallery"]) == (None, {}, [])
    assert not (tmp_path / "given" / "gallery").exists()


def test_the_reference_itself_gives_the_same_figures(cli: Cli, mini_bundle: Path, rooms: Path, tmp_path: Path) -> None:
    run = ("eval", rooms, "--no-baselines", "--gallery", "0", "--json", "--out")
    onnx = cli(*run, tmp_path / "onnx", "--bundle", mini_bundle).json
    torch = cli(*run, tmp_path / "torch", "--model", "depth-pro-mini", "--backend", "torch", "--weights", "random:0")
    assert (torch.json["model"]["backend"], torch.json["model"]["bundle"]) == ("torch", None)
    # Kernels add float32 products in another order: core/tolerances.py, fp32.
    assert torch.json["metrics"]["abs_rel"] == pytest.approx(onnx["metrics"]["abs_rel"], rel=1e-4)


def test_rendered_scenes(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    done = cli("eval", "synthetic:2", "--bundle", tiny_bundle, "--out", tmp_path / "eval", "--gallery", "1")
    assert done.code == 0
    assert "boundary recall ↑" in done.out
    assert "means over 2 pictures of synthetic:2" in done.out


def test_bad_samples_are_told_and_left_out(cli: Cli, tiny_bundle: Path, rooms: Path, tmp_path: Path) -> None:
    (rooms / "room1.depth.png").write_bytes((rooms / "room1.depth.png").read_bytes()[:60])
    cv2.imwrite(str(rooms / "room2.depth.png"), np.full((10, 10), 900, np.uint16))
    words = ("eval", rooms, "--bundle", tiny_bundle, "--out", tmp_path / "eval")
    done = cli(*words)
    assert done.code == 0
    assert "means over 1 pictures of plain, 2 skipped" in done.out
    assert "skipped: room1: " in done.out
    assert "skipped: room2: " in done.out
    skipped = json.loads((tmp_path / "eval" / "report.json").read_text("utf-8"))["skipped"]
    assert [(skip["name"], bool(skip["reason"])) for skip in skipped] == [("room1", True), ("room2", True)]


def test_nothing_but_bad_samples_is_a_failure(cli: Cli, tiny_bundle: Path, rooms: Path, tmp_path: Path) -> None:
    for path in rooms.glob("*.depth.png"):
        cv2.imwrite(str(path), np.zeros(SIZE[::-1], np.uint16))
    done = cli("eval", rooms, "--bundle", tiny_bundle, "--out", tmp_path / "eval", "--json")
    assert done.code == 1
    assert "none of the 3 samples of plain could be scored" in done.json["error"]["problem"]
    assert "docs/how-to/data-sets.md" in done.json["error"]["remedy"]


def test_a_second_run_is_refused_and_a_resumed_one_is_told_at_once(
    cli: Cli, tiny_bundle: Path, rooms: Path, tmp_path: Path
) -> None:
    words = ("eval", rooms, "--bundle", tiny_bundle, "--out", tmp_path / "eval", "--gallery", "0", "--json")
    first = cli(*words)
    refused = cli(*words)
    assert refused.code == 2
    assert "holds an evaluation already" in refused.err
    assert "--resume goes on with it" in refused.err
    assert cli(*words, "--resume").json == first.json
    other = cli(*words, "--resume", "--align", "median")
    assert other.code == 2
    assert "settings align 'none'; now it is 'median'" in other.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere",), "nowhere doesn't exist"),
        (("synthetic:none",), "synthetic:N needs a number"),
        (("ROOMS", "--layout", "lego"), "there is no layout 'lego'"),
        (("ROOMS", "--align", "affine"), "invalid choice: 'affine'"),
        (("ROOMS", "--limit", "0"), "the limit is 0 samples"),
        (("ROOMS", "--max-depth", "-1"), "the largest depth is -1.0"),
        (("ROOMS", "--gallery", "-1"), "allowed are 0 to 999"),
        (("ROOMS", "--bundle", "nowhere"), "there is no bundle at nowhere"),
        (("ROOMS", "--backend", "trt"), "there is no tensorrt bundle"),
        (("SCALED",), "knows its depth up to a scale only"),
        (("ROOMS", "--out", "ROOMS"), "holds something other than an evaluation"),
        (("ROOMS", "--out", "/proc/eval"), "can't be written"),
    ],
)
def test_a_mistake_is_one_line_and_its_cure(
    cli: Cli, tiny_bundle: Path, rooms: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    scaled = make_rooms(tmp_path / "scaled", 1)
    (scaled / "intrinsics.json").write_text('{"metric": false}')
    places = {"ROOMS": rooms, "SCALED": scaled}
    model = () if {"--bundle", "--backend"} & set(words) else ("--bundle", tiny_bundle)
    done = cli("eval", *model, "--out", tmp_path / "out", *(places.get(word, word) for word in words))
    assert done.code == 2, done.err
    assert said in done.err
    assert not (tmp_path / "out").exists()


# --- a process that ends early


@contextmanager
def hearing_ctrl_c() -> Iterator[None]:
    """Processes started in here hear Ctrl-C: a shell's background job ignores it, and its children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run_until(command: list[str], line: str, end: Callable[[subprocess.Popen[str]], None]) -> tuple[int, str]:
    """Start the program, end it once it has told a line, and give back its exit code and all that it told."""
    with hearing_ctrl_c():
        process = subprocess.Popen([sys.executable, "-m", "edgedepth", *command], stderr=subprocess.PIPE, text=True)
    with process:
        assert process.stderr is not None
        told = []
        for read in process.stderr:
            told.append(read)
            if read.startswith(line):
                end(process)
                break
        told += process.stderr.readlines()
        return process.wait(), "".join(told)


@dataclass(frozen=True)
class Whole:
    """A run that nobody ends."""

    rooms: Path
    report: dict[str, object]
    scores: bytes


@pytest.fixture(scope="module")
def whole(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    rooms = make_rooms(folder / "rooms", 10)
    with EdgeDepth(tiny_bundle, color="rgb", self_test="never") as model:
        report = evaluate(model, open_dataset(rooms), out=folder / "eval", place=str(rooms), gallery=0)
    return Whole(rooms, json.loads(json.dumps(report.to_dict())), (folder / "eval" / SCORES).read_bytes())


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has neither signal")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_an_ended_run_keeps_its_scores_and_goes_on(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, whole: Whole, name: str
) -> None:
    number = signal.Signals[name]
    out = tmp_path / "eval"
    words = ["eval", str(whole.rooms), "--bundle", str(tiny_bundle), "--gallery", "0", "--out", str(out), "--json"]
    code, told = run_until(words, "[3/10] room3", lambda process: process.send_signal(number))
    assert not (out / "report.json").exists()
    assert (out / SCORES).read_bytes().count(b'"score"') >= 3
    command = [*words, "--resume"]
    if number == signal.SIGINT:
        assert code == 130
        assert told.rstrip().endswith("edgedepth: interrupted")
        (line,) = (line for line in told.splitlines() if "scores so far are kept" in line)
        command = shlex.split(line.partition("to go on: ")[2])[1:]
        assert command == [*words, "--resume"]
    else:
        assert code == -number
    resumed = cli(*command)
    assert resumed.code == 0
    assert resumed.json == whole.report


def test_a_disk_that_fills_up_is_told_and_loses_nothing(
    cli: Cli, tiny_bundle: Path, tmp_path: Path, whole: Whole
) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limit on the size of files")
    words = ("eval", whole.rooms, "--bundle", tiny_bundle, "--gallery", "0", "--out", tmp_path / "eval", "--json")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    third = [index for index, byte in enumerate(whole.scores) if byte == ord("\n")][
        4
    ]  # header, baselines, three scores
    resource.setrlimit(resource.RLIMIT_FSIZE, (third + 50, hard))
    try:
        full = cli(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert full.code == 2
    assert "scores before are kept" in full.json["error"]["problem"]
    assert "--resume" in full.json["error"]["remedy"]
    assert cli(*words, "--resume").json == whole.report
