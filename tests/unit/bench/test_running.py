"""The real thing: processes, bundles, resuming, and bundles that break. No time is ever asserted."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgedepth.bench.children import Child, RefusedError
from edgedepth.bench.contenders import Contender, choose_contenders
from edgedepth.bench.run_folder import open_journal
from edgedepth.bench.running import SAMPLES, bench
from edgedepth.core.bundle import open_bundle, write_bundle
from edgedepth.core.errors import BundleNotFoundError, OptionError, RunError
from edgedepth.core.runs import Run, read_run
from edgedepth.models.work import flops_of

CHILD = """
import os, sys
from edgedepth.bench.children import serve
from edgedepth.core.errors import DeviceError
def start(job, tell):
    print("a library's chatter")
    if job["how"] == "refuse":
        raise DeviceError("no such device", remedy="buy one")
    if job["how"] == "crash":
        print("last words", file=sys.stderr, flush=True)
        os.abort()
    return lambda question: {"answer": question.upper()}
serve(start)
"""


@pytest.fixture
def child_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "child_of_a_test.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    return "child_of_a_test"


def test_a_child_answers_and_its_chatter_does_not_disturb(child_module: str) -> None:
    with Child(child_module, {"how": "serve"}) as child:
        for word in ("one", "two"):
            child.ask(word)
            assert child.answer() == {"answer": word.upper()}


def test_a_child_that_refuses_says_whether_it_cannot(child_module: str) -> None:
    with Child(child_module, {"how": "refuse"}) as child, pytest.raises(RefusedError, match="no such device") as told:
        child.answer()
    assert told.value.cannot


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_crash_is_an_answer_with_its_last_words(child_module: str) -> None:
    with Child(child_module, {"how": "crash"}) as child, pytest.raises(RefusedError, match="SIGABRT") as told:
        child.answer()
    assert "last words" in str(told.value)
    assert not told.value.cannot


def with_nan(bundle: Path, stage: str, out: Path) -> Path:
    """A bundle whose hashes are right and one of whose weights is NaN."""
    source = open_bundle(bundle)
    with write_bundle(out) as writer:
        for name in source.manifest.files:
            (writer.folder / name).parent.mkdir(exist_ok=True)
            (writer.folder / name).write_bytes(source.file(name).read_bytes())
        path = writer.folder / source.manifest.artefacts[stage].path
        model = onnx.load(path)
        weight = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
        broken = np.full_like(numpy_helper.to_array(weight), np.nan)
        weight.CopyFrom(numpy_helper.from_array(broken, weight.name))
        path.with_name(path.name + ".data").unlink()
        onnx.save(model, path, save_as_external_data=True, location=path.name + ".data")
        writer.finish(replace(source.manifest, files=writer.file_entries()))
    return out


def cut_off(folder: Path, *, frames: int) -> None:
    """What a kill after so many frames leaves: no run.json, and a journal that ends in the middle of a line."""
    (folder / "run.json").unlink()
    lines = (folder / SAMPLES).read_text().splitlines(keepends=True)
    kept, seen = [], 0
    for line in lines:
        if '"ms"' in line and '"opened"' not in line:
            seen += 1
        if seen > frames:
            kept.append(line[:20])
            break
        kept.append(line)
    (folder / SAMPLES).write_text("".join(kept))


@pytest.fixture(scope="module")
def taken(mini_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Contender], Path, Run]:
    """A run of a sound bundle, one that gives NaN, one for a machine that isn't this one, and the reference."""
    work = tmp_path_factory.mktemp("bench")
    broken = with_nan(mini_bundle, "image_encoder", work / "broken")
    foreign = work / "foreign"
    source = open_bundle(mini_bundle)
    with write_bundle(foreign) as writer:
        for name in source.manifest.files:
            (writer.folder / name).parent.mkdir(exist_ok=True)
            (writer.folder / name).write_bytes(source.file(name).read_bytes())
        target = "tensorrt" if sys.platform == "darwin" else "coreml"
        writer.finish(replace(source.manifest, target=target))
    contenders = choose_contenders([mini_bundle, broken, foreign], peers=["torch"])
    return contenders, work / "run", bench(contenders, work / "run", frames=3, warm_up=1)


def test_a_sound_bundle_and_its_peer_are_timed(taken: tuple[list[Contender], Path, Run]) -> None:
    _, folder, made = taken
    assert read_run(folder) == made
    by_name = {entry.name: entry for entry in made.entries}
    sound, peer = by_name["onnx fp32 bundle"], by_name["torch eager"]
    assert sound.status == peer.status == "unproven"
    assert "edgedepth verify" in sound.reason
    for entry in (sound, peer):
        timing = entry.timing
        assert timing is not None
        assert len(timing.samples_ms) == 3
        assert timing.frame.p50_ms == pytest.approx(np.median(timing.samples_ms))
        assert timing.load_ms
        assert timing.first_frame_ms
        assert timing.cpu_percent
        # Each process's own: an interpreter with numpy and OpenCV at least, and never all together.
        assert 50e6 < (timing.peak_rss_bytes or 0) < 3e9
        assert timing.flops == flops_of("depth-pro-mini")  # which tests/parity/test_work.py checks
        # It is a time, and may pass 1 where the ceiling was measured at a busier moment than the frames.
        assert (timing.ceiling_fraction or 0) > 0
    assert {"patch_encoder", "image_encoder", "decoder", "fov"} <= set(sound.timing.stages)  # type: ignore[union-attr]


def test_a_bundle_that_gives_nan_fails_with_the_stage(taken: tuple[list[Contender], Path, Run]) -> None:
    entry = next(entry for entry in taken[2].entries if "broken" in entry.name)
    assert entry.status == "failed"
    assert entry.timing is None
    assert "stage image_encoder gives image_features with" in entry.reason


def test_a_bundle_for_another_machine_is_skipped(taken: tuple[list[Contender], Path, Run]) -> None:
    entry = next(entry for entry in taken[2].entries if entry.target in ("coreml", "tensorrt"))
    assert entry.status == "skipped"
    assert entry.reason


def test_a_run_that_was_cut_off_goes_on(mini_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As where torch is missing: its rates take longer than all the frames, and are looked at above.
    monkeypatch.setattr("edgedepth.bench.running.is_installed", lambda module: module != "torch")
    contenders = choose_contenders([mini_bundle])
    first = bench(contenders, tmp_path / "run", frames=3, warm_up=1)
    with pytest.raises(RunError, match="holds a finished run"):
        bench(contenders, tmp_path / "run", frames=3, warm_up=1)
    cut_off(tmp_path / "run", frames=2)
    with pytest.raises(RunError, match="beginning of another run: frames differ"):
        bench(contenders, tmp_path / "run", frames=4, warm_up=1)
    second = bench(contenders, tmp_path / "run", frames=3, warm_up=1)
    before, after = first.entries[0].timing, second.entries[0].timing
    assert before is not None
    assert after is not None
    assert after.samples_ms[:2] == before.samples_ms[:2]
    assert len(after.samples_ms) == 3
    assert any("2 sittings" in line for line in after.notes)
    assert any("too few to tell" in line for line in after.notes)
    samples = [json.loads(line) for line in (tmp_path / "run" / SAMPLES).read_text().splitlines()]
    assert sum("ms" in line for line in samples) == 3


def test_the_store_is_searched_and_an_empty_one_is_told(
    mini_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEDEPTH_HOME", str(tmp_path / "home"))
    with pytest.raises(BundleNotFoundError, match="to time") as refused:
        choose_contenders(backend="openvino", model="depth-pro-mini")
    assert "edgedepth export --model depth-pro-mini --target openvino" in refused.value.remedy
    (tmp_path / "home" / "bundles").mkdir(parents=True)
    (tmp_path / "home" / "bundles" / "one").symlink_to(mini_bundle)
    assert [one.name for one in choose_contenders()] == ["onnx fp32"]


@pytest.mark.parametrize(
    ("choose", "said"),
    [
        (lambda path: choose_contenders([path, path]), "takes part twice"),
        (lambda path: choose_contenders([path], backend="openvino"), "is for onnx; openvino was asked for"),
        (lambda path: choose_contenders([path], peers=["tvm"]), "no peer 'tvm'"),
        (lambda path: bench([], path / "x"), "nothing to time"),
        (lambda path: bench(choose_contenders([path]), path / "x", frames=0), "frames is 0"),
    ],
)
def test_what_cannot_be_timed_is_refused(mini_bundle: Path, choose: Callable[[Path], object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        choose(mini_bundle)


def test_two_models_are_told_apart_by_name(mini_bundle: Path, tmp_path: Path) -> None:
    source = open_bundle(mini_bundle)
    other = tmp_path / "other"
    with write_bundle(other) as writer:
        for name in source.manifest.files:
            (writer.folder / name).parent.mkdir(exist_ok=True)
            (writer.folder / name).write_bytes(source.file(name).read_bytes())
        writer.finish(replace(source.manifest, model=replace(source.manifest.model, name="another")))
    names = [one.name for one in choose_contenders([mini_bundle, other])]
    assert names == ["depth-pro-mini onnx fp32", "another onnx fp32"]


def test_a_journal_of_something_else_is_not_written_over(tmp_path: Path) -> None:
    open_journal(tmp_path, "x.jsonl", {"what": 1}).close()
    open_journal(tmp_path, "x.jsonl", {"what": 1}).close()
    with pytest.raises(RunError, match="what differ"):
        open_journal(tmp_path, "x.jsonl", {"what": 2})
