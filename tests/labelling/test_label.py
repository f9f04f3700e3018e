"""Labelling: each frame once, whatever happens."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgedepth import EdgeDepth
from edgedepth.cli import main
from edgedepth.core.bundle import MANIFEST
from edgedepth.core.errors import BundleBusyError, BundleTamperedError, OptionError, OutputError, SignatureError
from edgedepth.core.folders import locked
from edgedepth.core.signing import new_key, trusted_key_of_environment
from edgedepth.core.store import bundles_folder
from edgedepth.crew import CrewOptions
from edgedepth.labelling import label
from edgedepth.labelling.depth_files import Form
from edgedepth.labelling.labels import INDEX, JOURNAL, SUMMARY
from edgedepth.labelling.worker import Labeller, LabellerSettings
from edgedepth.photos import read_photo

from .conftest import encoded


def rows(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()[1:]]


def by_name(out: Path) -> dict[str, dict[str, object]]:
    return {Path(str(row["name"])).name: row for row in rows(out)}


def test_every_frame_is_labelled_once_or_named(photos: Path, shard: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    summary = label([str(photos), str(shard)], bundle=bundle, out=out)
    assert (summary.frames, summary.labelled, summary.duplicates, summary.failed, summary.already) == (7, 5, 1, 1, 0)
    [(kind, told)] = summary.reasons.items()
    assert kind == "PhotoError"
    assert "broken.jpg" in told
    found = by_name(out)
    assert found["same as a.png"]["status"] == "duplicate"
    assert found["same as a.png"]["file"] == found["a.png"]["file"]
    assert len(list((out / "depth").rglob("*.png"))) == 5
    with EdgeDepth(bundle, color="rgb") as model:
        photo = read_photo(photos / "b.jpg")
        expected = model.infer(photo.pixels_rgb, focal_px=photo.focal_px).depth
    written = cv2.imread(str(out / str(found["b.jpg"]["file"])), cv2.IMREAD_UNCHANGED) / 1000
    assert np.abs(written - np.minimum(expected, 65.535)).max() <= 5.1e-4  # half a millimetre, and float32
    assert found["b.jpg"]["focal_px"] == pytest.approx(photo.focal_px)
    assert str(found["a.png"]["focal_source"]).startswith("predicted")
    assert json.loads((out / SUMMARY).read_text())["labelled"] == 5


def test_the_index(photos: Path, bundle: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (the extra label) writes the index")
    label([str(photos)], bundle=bundle, out=tmp_path / "labels")
    table = parquet.read_table(tmp_path / "labels" / INDEX)
    assert sorted(table.column("status").to_pylist()) == ["duplicate", "failed", "labelled", "labelled", "labelled"]
    metadata = {key.decode(): json.loads(value) for key, value in table.schema.metadata.items()}
    assert metadata["model"] == "depth-pro-tiny"
    assert len(metadata["bundle_sha256"]) == 64


def test_a_second_run_does_nothing_and_opens_nothing(photos: Path, bundle: Path, tmp_path: Path) -> None:
    label([str(photos)], bundle=bundle, out=tmp_path / "labels")
    before = rows(tmp_path / "labels")
    (bundle / "golden.npz").unlink()  # it would not open
    again = label([str(photos)], bundle=bundle, out=tmp_path / "labels")
    assert (again.already, again.labelled, again.failed) == (5, 3, 1)
    assert rows(tmp_path / "labels") == before


def test_a_second_run_does_not_start_ray(
    photos: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label([str(photos)], bundle=bundle, out=tmp_path / "labels")
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it would raise
    again = label([str(photos)], bundle=bundle, out=tmp_path / "labels", crew=CrewOptions(engine="ray", workers=2))
    assert again.already == 5


def test_new_and_mended_frames_are_labelled_the_next_time(photos: Path, bundle: Path, tmp_path: Path) -> None:
    label([str(photos)], bundle=bundle, out=tmp_path / "labels")
    (photos / "new.png").write_bytes(encoded(11))
    (photos / "broken.jpg").write_bytes(encoded(4, "JPEG"))
    summary = label([str(photos)], bundle=bundle, out=tmp_path / "labels")
    assert (summary.already, summary.labelled, summary.failed) == (4, 5, 0)


def test_failed_ones_are_tried_again_when_asked(photos: Path, bundle: Path, tmp_path: Path) -> None:
    label([str(photos)], bundle=bundle, out=tmp_path / "labels")
    summary = label([str(photos)], bundle=bundle, out=tmp_path / "labels", retry_failed=True)
    assert (summary.already, summary.failed) == (4, 1)


def test_labels_of_different_settings_do_not_mix(photos: Path, bundle: Path, tmp_path: Path) -> None:
    label([str(photos)], bundle=bundle, out=tmp_path / "labels")
    before = rows(tmp_path / "labels")
    with pytest.raises(OptionError, match="focal_px"):
        label([str(photos)], bundle=bundle, out=tmp_path / "labels", focal_px=500)
    assert rows(tmp_path / "labels") == before


def test_npz_keeps_what_16_bits_cannot(photos: Path, bundle: Path, tmp_path: Path) -> None:
    label([str(photos / "a.png")], bundle=bundle, out=tmp_path / "labels", form="npz", focal_px=40)
    [row] = rows(tmp_path / "labels")
    with np.load(tmp_path / "labels" / str(row["file"])) as archive:
        depth = archive["depth"]
    with EdgeDepth(bundle, color="rgb") as model:
        expected = model.infer(read_photo(photos / "a.png").pixels_rgb, focal_px=40).depth
    assert np.array_equal(depth, expected)


@pytest.mark.parametrize("form", ["png16", "npz"])
def test_a_shard_holds_what_files_would(photos: Path, bundle: Path, tmp_path: Path, form: Form) -> None:
    label([str(photos)], bundle=bundle, out=tmp_path / "files", form=form)
    summary = label([str(photos)], bundle=bundle, out=tmp_path / "shards", form=form, shard=2)
    assert (summary.labelled, summary.duplicates, summary.failed) == (3, 1, 1)
    assert len(list((tmp_path / "shards" / "depth").rglob("*.*"))) == 2  # of three groups; one has its broken picture
    files, shards = by_name(tmp_path / "files"), by_name(tmp_path / "shards")
    for name in ("a.png", "b.jpg", "c.png", "same as a.png"):
        alone = tmp_path / "files" / str(files[name]["file"])
        shared, entry = tmp_path / "shards" / str(shards[name]["file"]), str(shards[name]["entry"])
        if form == "png16":
            with tarfile.open(shared) as archive:
                found = archive.extractfile(entry)
                assert found is not None
                assert found.read() == alone.read_bytes()
        else:
            with np.load(shared) as archive, np.load(alone) as single:
                assert np.array_equal(archive[entry], single["depth"])


def test_a_deleted_file_is_written_again(photos: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    label([str(photos)], bundle=bundle, out=out)
    gone = out / str(by_name(out)["b.jpg"]["file"])
    gone.unlink()
    summary = label([str(photos)], bundle=bundle, out=out)
    assert (summary.already, summary.labelled) == (4, 3)
    assert gone.exists()


def test_a_changed_frame_has_one_row_in_the_index(photos: Path, bundle: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (the extra label) writes the index")
    out = tmp_path / "labels"
    label([str(photos)], bundle=bundle, out=out)
    (photos / "a.png").write_bytes(encoded(12))  # the other picture of its old content has the label now
    (photos / "broken.jpg").write_bytes(encoded(4, "JPEG"))
    summary = label([str(photos)], bundle=bundle, out=out)
    assert (summary.labelled, summary.duplicates, summary.failed) == (5, 0, 0)
    table = parquet.read_table(out / INDEX)
    names = [Path(name).name for name in table.column("name").to_pylist()]
    assert sorted(names) == ["a.png", "b.jpg", "broken.jpg", "c.png", "same as a.png"]
    assert set(table.column("status").to_pylist()) == {"labelled"}


def test_known_contents_are_not_computed_again(photos: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    label([str(photos)], bundle=bundle, out=out)
    before = {name: row["focal_px"] for name, row in by_name(out).items()}
    os.utime(photos / "a.png", (1, 1))
    moved = photos.rename(tmp_path / "moved")
    (moved / "new.png").write_bytes(encoded(11))
    summary = label([str(moved)], bundle=bundle, out=out)
    assert (summary.labelled, summary.duplicates, summary.failed, summary.already) == (1, 4, 1, 0)
    for row in rows(out)[len(before) :]:
        name = Path(str(row["name"])).name
        assert row["status"] == {"new.png": "labelled", "broken.jpg": "failed"}.get(name, "duplicate")
        assert row["focal_px"] == before.get(name, row["focal_px"])
    assert main(["label", str(moved), "--bundle", str(bundle), "--out", str(out)]) == 0


def test_a_frame_whose_time_changed_keeps_its_label(photos: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    label([str(photos)], bundle=bundle, out=out)
    before = by_name(out)["b.jpg"]
    os.utime(photos / "b.jpg", (1, 1))
    summary = label([str(photos)], bundle=bundle, out=out)
    assert (summary.labelled, summary.duplicates, summary.already) == (3, 1, 4)
    assert rows(out)[-1] == before | {"version": rows(out)[-1]["version"]}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_without_a_row_is_written_anew(photos: Path, bundle: Path, tmp_path: Path, workers: int) -> None:
    """Its worker was killed before the row came; what it wrote could be of another model."""
    label([str(photos)], bundle=bundle, out=tmp_path / "right")
    out = tmp_path / "labels"
    for path in (tmp_path / "right" / "depth").rglob("*.png"):
        left = out / path.relative_to(tmp_path / "right")
        left.parent.mkdir(parents=True)
        left.write_bytes(b"of another model")
    summary = label([str(photos)], bundle=bundle, out=out, crew=CrewOptions(workers=workers))
    assert (summary.labelled, summary.duplicates, summary.failed) == (3, 1, 1)
    files = [{path.name: path.read_bytes() for path in run.rglob("*.png")} for run in (out, tmp_path / "right")]
    assert files[0] == files[1]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are Unicode")
def test_names_that_are_no_text(photos: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "broken.jpg").unlink()
    for name, content in ((b"\xff.png", encoded(13)), (b"\xfe.jpg", encoded(14)[:60])):
        Path(os.fsdecode(os.fsencode(photos) + b"/" + name)).write_bytes(content)
    out = tmp_path / "labels"
    assert main(["label", str(photos), "--bundle", str(bundle), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["labelled"], told["failed"]) == (4, 1)
    assert "\udcfe.jpg" in told["reasons"]["PhotoError"]
    assert label([str(photos)], bundle=bundle, out=out).already == 6
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow (the extra label) writes the index")
    assert any(name.endswith("\\udcff.png") for name in parquet.read_table(out / INDEX).column("name").to_pylist())


def test_a_worker_with_another_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    settings = LabellerSettings(bundle=str(bundle), bundle_sha256="0" * 64, out=str(tmp_path / "labels"))
    with pytest.raises(BundleTamperedError, match="these labels are of 000000000000"):
        Labeller(settings, threads=1)


def test_the_trusted_key_is_the_starters(
    photos: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers on other machines have another environment, and perhaps no such file."""
    pytest.importorskip("minisign", reason="py-minisign (the extra sign) checks signatures")
    key = new_key(tmp_path / "key", password=None)
    monkeypatch.setenv("EDGEDEPTH_TRUSTED_KEY", str(key))
    sent = trusted_key_of_environment()
    assert sent is not None
    assert sent in key.read_text()
    monkeypatch.delenv("EDGEDEPTH_TRUSTED_KEY")
    manifest = hashlib.sha256((bundle / MANIFEST).read_bytes()).hexdigest()
    settings = LabellerSettings(bundle=str(bundle), bundle_sha256=manifest, out=str(tmp_path), trusted_key=sent)
    with pytest.raises(SignatureError, match="is not signed"):
        Labeller(settings, threads=1)
    monkeypatch.setenv("EDGEDEPTH_TRUSTED_KEY", str(key))
    with pytest.raises(SignatureError, match="is not signed"):
        label([str(photos)], bundle=bundle, out=tmp_path / "labels")


@pytest.mark.skipif(os.name != "posix", reason="folders can't be opened")
def test_depth_is_on_the_disk_before_its_row(
    photos: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[tuple[int, int]] = []
    out, sync = tmp_path / "labels", os.fsync

    def told(descriptor: int) -> None:
        facts = os.fstat(descriptor)
        forced.append((facts.st_dev, facts.st_ino))
        sync(descriptor)

    def look(step: str, done: int, total: int) -> None:
        for path in (out / "depth").rglob("*.png"):
            assert (path.stat().st_dev, path.stat().st_ino) in forced

    monkeypatch.setattr(os, "fsync", told)
    label([str(photos)], bundle=bundle, out=out, progress=look)
    folders = [out, *(path for path in (out / "depth").rglob("*") if path.is_dir()), out / "depth"]
    for path in (*folders, out / SUMMARY):
        assert (path.stat().st_dev, path.stat().st_ino) in forced, path


def test_two_at_once_are_kept_apart(photos: Path, bundle: Path, tmp_path: Path) -> None:
    with locked((tmp_path / "labels").resolve()), pytest.raises(BundleBusyError, match="another process"):
        label([str(photos)], bundle=bundle, out=tmp_path / "labels")


def test_a_full_disk_is_nobodys_fault_and_ends_the_run(photos: Path, bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    out.mkdir()
    (out / "depth").write_text("in the way")
    with pytest.raises(OutputError):
        label([str(photos)], bundle=bundle, out=out)
    assert all(row["status"] != "labelled" for row in rows(out))


def test_a_video(video: Path, bundle: Path, tmp_path: Path) -> None:
    summary = label([str(video)], bundle=bundle, out=tmp_path / "labels")
    assert (summary.labelled, summary.failed) == (5, 0)


@pytest.mark.parametrize(("options", "said"), [({"shard": 0}, "shard is 0"), ({"focal_px": 0.0}, "focal")])
def test_options_that_are_none(
    photos: Path, bundle: Path, tmp_path: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(OptionError, match=said):
        label([str(photos)], bundle=bundle, out=tmp_path / "labels", **options)  # type: ignore[arg-type]


def test_processes_label_the_same(photos: Path, bundle: Path, tmp_path: Path) -> None:
    label([str(photos)], bundle=bundle, out=tmp_path / "one")
    summary = label([str(photos)], bundle=bundle, out=tmp_path / "two", crew=CrewOptions(workers=2))
    assert (summary.labelled, summary.duplicates, summary.failed) == (3, 1, 1)
    files = [{path.name: path.read_bytes() for path in (tmp_path / run).rglob("*.png")} for run in ("one", "two")]
    assert files[0] == files[1]


def test_a_model_that_cannot_be_opened_ends_the_run(photos: Path, bundle: Path, tmp_path: Path) -> None:
    (bundle / "golden.npz").unlink()
    with pytest.raises(BundleTamperedError, match="is missing"):
        label([str(photos)], bundle=bundle, out=tmp_path / "labels", crew=CrewOptions(workers=2))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_run_goes_on_where_it_was(photos: Path, bundle: Path, tmp_path: Path) -> None:
    for seed in range(20, 60):
        (photos / f"{seed}.png").write_bytes(encoded(seed))
    out = tmp_path / "labels"
    words = ["label", str(photos), "--bundle", str(bundle), "--out", str(out)]
    with subprocess.Popen([sys.executable, "-m", "edgedepth", *words], stderr=subprocess.DEVNULL) as process:
        while not (out / JOURNAL).exists() or len((out / JOURNAL).read_bytes().splitlines()) < 5:
            time.sleep(0.02)
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    done = len(rows(out))
    assert not (out / SUMMARY).exists()
    summary = label([str(photos)], bundle=bundle, out=out)
    assert (summary.frames, summary.labelled, summary.duplicates, summary.failed) == (45, 43, 1, 1)
    assert summary.already >= done - 1
    assert len({str(row["name"]) for row in rows(out)}) == len(rows(out)) == 45


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
def test_a_killed_worker_costs_no_frame(photos: Path, bundle: Path, tmp_path: Path) -> None:
    for seed in range(20, 32):
        (photos / f"{seed}.png").write_bytes(encoded(seed))
    killed: list[int] = []

    def kill_one(step: str, done: int, total: int) -> None:
        if done == 4 and not killed:
            workers = {str(row["worker"]).partition(":")[2] for row in rows(tmp_path / "labels")}
            killed.append(int(sorted(workers - {""})[0]))
            os.kill(killed[0], signal.SIGKILL)

    summary = label(
        [str(photos)], bundle=bundle, out=tmp_path / "labels", crew=CrewOptions(workers=2), progress=kill_one
    )
    assert killed
    assert (summary.frames, summary.labelled, summary.failed) == (17, 15, 1)
    assert len(rows(tmp_path / "labels")) == 17


def test_without_a_bundle_the_stores_newest_labels(
    photos: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["label", str(photos), "--out", str(tmp_path / "labels")]
    assert main(words) == 2
    assert "edgedepth export" in capsys.readouterr().err
    place = bundles_folder() / "stored"
    place.parent.mkdir(parents=True)
    shutil.copytree(bundle, place)
    assert main(words) == 0
    assert str(place) in capsys.readouterr().err
